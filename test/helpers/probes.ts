// SPDX-License-Identifier: MIT
// Probes of servers that a test has made, as the monitor would make them. Owns what
// it opened until closeOpened().

import { atAddress, formatHostPort } from '#src/candidates.js';
import type { ProbeConfig } from '#src/config.js';
import { inspect } from '#src/probe/inspection.js';
import type { Inspection } from '#src/probe/inspection.js';
import type { Observation, ServerState } from '#src/probe/observation.js';
import { Prober } from '#src/probe/prober.js';
import { Resolver } from '#src/probe/resolver.js';
import type { Lookup } from '#src/probe/resolver.js';
import { TlsFiles } from '#src/probe/tls.js';
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
  /** The one of the host's addresses that is meant. */
  readonly address?: string;
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
  { host = '127.0.0.1', port, address }: Target,
  settings: Partial<ProbeConfig> = {},
  lookup?: Lookup,
  timers: Timers = systemTimers,
): Watched {
  const breaks: string[] = [];
  const named = { host, port, name: formatHostPort(host, port) };
  const prober = new Prober({
    candidate: address === undefined ? named : atAddress(named, address),
    settings: () => ({ ...PROBE, ...settings }),
    timers,
    onBroken: ({ reason }) => breaks.push(reason),
    resolver: new Resolver({ host, timers, ...(lookup === undefined ? {} : { lookup }) }),
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

/** One look of a check of the configuration. */
export function inspectOnce(
  { host = '127.0.0.1', port }: Target,
  settings: Partial<ProbeConfig> = {},
): Promise<Inspection> {
  const probe = { ...PROBE, ...settings };
  const timers = systemTimers;
  const candidate = { host, port, name: formatHostPort(host, port) };
  const target = {
    candidate,
    probe,
    resolver: new Resolver({ host, timers }),
    tlsFiles: new TlsFiles(probe.tls),
    timers,
  };
  return inspect(target, () => new Date().getTime());
}

export function stateOf(seen: Observation): ServerState {
  if (seen.kind === 'failed') throw new Error(`the probe failed: ${seen.reason}: ${seen.detail}`);
  return seen.state;
}

/** What `ServerState.startedAt` must be, by another way: microseconds since 1970. */
export async function startOf(server: PostgresServer): Promise<string> {
  const words = await server.query(
    `SELECT to_char(pg_postmaster_start_time() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z" US')`,
  );
  const [seconds = '', microseconds = ''] = words.split(' ');
  return (BigInt(Date.parse(seconds)) * 1000n + BigInt(microseconds)).toString();
}

/** Settings of a role that change how a server writes times and numbers. */
export const FOREIGN_WAYS = `
  ALTER ROLE plain SET DateStyle = 'German, DMY'; ALTER ROLE plain SET TimeZone = 'Asia/Kathmandu';
  ALTER ROLE plain SET IntervalStyle = 'sql_standard'; ALTER ROLE plain SET extra_float_digits = -15`;

export function failureOf(seen: Observation): string {
  assert.is(seen.kind, 'failed');
  if (seen.kind !== 'failed') return '';
  assert.not.match(seen.detail, PASSWORD);
  return seen.reason;
}

export function backends(server: PostgresServer, user: string): Promise<string> {
  return server.query(`SELECT pid FROM pg_stat_activity WHERE application_name = 'pg-gateway' AND usename = '${user}'`);
}
