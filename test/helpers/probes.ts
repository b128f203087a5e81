// SPDX-License-Identifier: MIT
// Probes of servers that a test has made, as the monitor would make them. Owns what
// it opened until closeOpened().

import type { ProbeConfig } from '#src/config.js';
import type { Lookup } from '#src/probe/dial.js';
import type { Observation, ServerState } from '#src/probe/observation.js';
import { Prober } from '#src/probe/prober.js';
import { systemTimers } from '#src/timers.js';
import type { Timers } from '#src/timers.js';
import type { PostgresServer } from './postgres.js';
import { assert } from './suite.js';

export const PASSWORD = 'corréct: horse\\battery';

export const PROBE: ProbeConfig = {
  user: 'postgres',
  password: undefined,
  passfile: undefined,
  database: 'postgres',
  connectTimeoutMs: 5000,
  queryTimeoutMs: 5000,
  checkEveryMs: 2000,
  tls: { mode: 'disable' },
};

export interface Target {
  readonly host?: string;
  readonly port: number;
}

export interface Watched {
  readonly prober: Prober;
  /** Reasons for which the connection broke between probes. */
  readonly breaks: readonly string[];
}

/** What a test has opened. */
const opened: { close(): Promise<void> }[] = [];

export function keep<T extends { close(): Promise<void> }>(one: T): T {
  opened.push(one);
  return one;
}

export async function closeOpened(): Promise<void> {
  await Promise.all(opened.splice(0).map((one) => one.close()));
}

export function watch(
  { host = '127.0.0.1', port }: Target,
  settings: Partial<ProbeConfig> = {},
  lookup?: Lookup,
  timers: Timers = systemTimers,
): Watched {
  const breaks: string[] = [];
  const prober = new Prober({
    candidate: { host, port, name: `${host}:${String(port)}` },
    settings: () => ({ ...PROBE, ...settings }),
    timers,
    onBroken: ({ reason }) => breaks.push(reason),
    ...(lookup === undefined ? {} : { lookup }),
  });
  return { prober: keep(prober), breaks };
}

/** One probe on a connection of its own. */
export async function probeOnce(
  target: Target,
  settings: Partial<ProbeConfig> = {},
  lookup?: Lookup,
): Promise<Observation> {
  const { prober } = watch(target, settings, lookup);
  const seen = await prober.probe();
  await prober.close();
  return seen;
}

export function stateOf(seen: Observation): ServerState {
  if (seen.kind === 'failed') throw new Error(`the probe failed: ${seen.reason}: ${seen.detail}`);
  return seen.state;
}

export function failureOf(seen: Observation): string {
  assert.is(seen.kind, 'failed');
  if (seen.kind !== 'failed') return '';
  assert.not.match(seen.detail, PASSWORD);
  return seen.reason;
}

export function backends(server: PostgresServer, user: string): Promise<string> {
  return server.query(`SELECT pid FROM pg_stat_activity WHERE application_name = 'pg-gateway' AND usename = '${user}'`);
}
