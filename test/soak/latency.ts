// SPDX-License-Identifier: MIT
// Eight sessions that work, by pgbench: how long their transactions took while something was done to the gateway.

import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { p99 } from '../bench/pgbench-output.js';
import { Child } from '../helpers/child.js';
import { plainEnvironment, postgresProgram, SUPERUSER } from '../helpers/postgres-install.js';
import type { Target } from '../helpers/psql.js';
import { eventually, observeFor, within } from '../helpers/wait.js';

export const CLIENTS = 8;

/** What begins with it, and what is done for it, is not counted. */
const SETTLE_MS = 300;
/** pgbench writes its log 4096 bytes at a time: so long it goes on at full speed, and all that counts is in its file. */
const FLUSH_MS = 300;
const GRACE_MS = 60_000;

export interface LatencyOptions {
  readonly target: Target;
  /** For the log of the transactions. */
  readonly folder: string;
  /** What they run: `-S -M prepared` or a script. */
  readonly script: readonly string[];
  /** How long is measured. */
  readonly seconds: number;
  /** Whether the clients have been connected: what is done to them comes after that. */
  readonly connected: () => Promise<boolean>;
}

/**
 * The 99th percentile in milliseconds while `meanwhile` is in place: what it returns is called at the end.
 * @throws Error if a transaction failed, or a connection
 */
export async function p99While(
  { target, folder, script, seconds, connected }: LatencyOptions,
  meanwhile: () => Promise<() => Promise<unknown>>,
): Promise<number> {
  const logs = await mkdtemp(join(folder, 'latency-'));
  const args = ['-n', '-c', String(CLIENTS), '-j', '1', ...script, '--log', `--log-prefix=${join(logs, 'log')}`];
  // It is ended by a signal when all has been measured.
  const child = new Child([postgresProgram('pgbench'), ...args, '-T', String(Math.ceil(seconds + GRACE_MS / 1000))], {
    env: plainEnvironment({
      PGHOST: target.host,
      PGPORT: String(target.port),
      PGUSER: SUPERUSER,
      PGDATABASE: 'postgres',
    }),
    input: '',
  });
  try {
    await eventually('the eight sessions to be there', connected, { everyMs: 50 });
    const end = await meanwhile();
    await observeFor(SETTLE_MS);
    const from = wallSeconds();
    await observeFor(seconds * 1000);
    const to = wallSeconds();
    const { result } = child;
    await end();
    await observeFor(FLUSH_MS);
    if (result !== undefined) throw new Error(`pgbench has ended: ${result.stderr}`);
    child.kill('SIGINT');
    await within(GRACE_MS, 'the end of pgbench', child.ended);
    if (/aborted|failed|error/i.test(child.stderr)) throw new Error(`the others have failed: ${child.stderr}`);
    return p99(await latencies(logs, from, to));
  } finally {
    await child.close();
    await rm(logs, { recursive: true });
  }
}

/** Milliseconds of the transactions that ended in that time (PostgreSQL manual, pgbench, "Per-Transaction Logging"). */
async function latencies(folder: string, from: number, to: number): Promise<number[]> {
  const texts = await Promise.all((await readdir(folder)).map((name) => readFile(join(folder, name), 'utf8')));
  return texts.flatMap((text) =>
    text
      .split('\n')
      .map((line) => line.split(' ').map(Number))
      .filter((fields) => fields.length >= 6)
      .map(([, , us = 0, , second = 0, rest = 0]) => ({ ms: us / 1000, at: second + rest / 1e6 }))
      .filter(({ at }) => at >= from && at <= to)
      .map(({ ms }) => ms),
  );
}

/** Of the clock that pgbench's log has. */
function wallSeconds(): number {
  return (performance.timeOrigin + performance.now()) / 1000;
}
