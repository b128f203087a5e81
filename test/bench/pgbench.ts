// SPDX-License-Identifier: MIT
// One run of pgbench by one route, and what the proxy's threads spent on it.

import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';

import { clientProgram } from '../helpers/psql.js';
import { cpuBetween, cpuTimes } from './costs.js';
import type { CpuUse } from './costs.js';
import { p99, parseLog, parseSummary } from './pgbench-output.js';
import type { PgbenchSummary } from './pgbench-output.js';
import type { Route } from './routes.js';
import type { Settings } from './settings.js';
import type { Stand } from './stand.js';

export interface PgbenchOptions {
  readonly clients: number;
  /** A connection for each transaction; it is not logged then. */
  readonly connect?: boolean;
}

export interface PgbenchRun extends PgbenchSummary {
  /** 0 if nothing is logged. */
  readonly p99Ms: number;
  readonly cpu: CpuUse;
}

/** So much of a timed run is logged: enough for its hundredth part, little enough not to be felt. */
const SAMPLING_RATE = 0.2;
const GRACE_MS = 60_000;

export async function pgbench(
  { folder }: Stand,
  route: Route,
  settings: Settings,
  { clients, connect = false }: PgbenchOptions,
): Promise<PgbenchRun> {
  const logs = await mkdtemp(join(folder, 'pgbench-'));
  const { seconds, transactions } = settings;
  const args = [
    ...['-n', '-S', '-c', String(clients), '-j', String(Math.min(clients, availableParallelism()))],
    ...(seconds === undefined ? ['-t', String(transactions)] : ['-T', String(seconds)]),
    ...(connect ? ['-C'] : ['-M', 'prepared', '--log', `--log-prefix=${join(logs, 'log')}`]),
    ...(connect || seconds === undefined ? [] : [`--sampling-rate=${SAMPLING_RATE}`]),
  ];
  const before = cpuTimes(route.pids);
  const deadlineMs = (seconds ?? 0) * 1000 + GRACE_MS;
  const { status, stdout, stderr } = await clientProgram(route, 'pgbench', args, deadlineMs);
  const cpu = cpuBetween(before, cpuTimes(route.pids));
  if (status !== 0) throw new Error(`pgbench by ${route.name} failed (status ${String(status)}): ${stderr}${stdout}`);
  const summary = parseSummary(stdout);
  const p99Ms = connect ? 0 : p99(await latencies(logs));
  await rm(logs, { recursive: true });
  return { ...summary, p99Ms, cpu };
}

/** Each thread of pgbench has a file of its own. */
async function latencies(folder: string): Promise<number[]> {
  const texts = await Promise.all((await readdir(folder)).map((name) => readFile(join(folder, name), 'utf8')));
  return texts.flatMap(parseLog);
}
