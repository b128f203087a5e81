// SPDX-License-Identifier: MIT
// One run of pgbench by one route, and what the proxy's threads spent on it.

import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';

import { Child } from '../helpers/child.js';
import { postgresProgram } from '../helpers/postgres-install.js';
import { clientEnvironment, clientProgram } from '../helpers/psql.js';
import { within } from '../helpers/wait.js';
import { cpuBetween, cpuTimes } from './costs.js';
import type { CpuTimes, CpuUse } from './costs.js';
import { p99, parseLog, parseProgress, parseSummary, steady } from './pgbench-output.js';
import type { Logged, PgbenchSummary } from './pgbench-output.js';
import type { Route } from './routes.js';
import { warmUpSeconds } from './settings.js';
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
/** A slow machine connects so many clients in a second, and pgbench counts that time as part of its run. */
const CONNECTED_A_SECOND = 50;

export async function pgbench(
  { folder }: Stand,
  route: Route,
  settings: Settings,
  { clients, connect = false }: PgbenchOptions,
): Promise<PgbenchRun> {
  const logs = await mkdtemp(join(folder, 'pgbench-'));
  const args = [
    ...['-n', '-S', '-c', String(clients), '-j', String(Math.min(clients, availableParallelism()))],
    ...(connect ? ['-C'] : ['-M', 'prepared', '--log', `--log-prefix=${join(logs, 'log')}`]),
  ];
  try {
    const { seconds, transactions } = settings;
    return await (seconds === undefined
      ? counted(route, [...args, '-t', String(transactions)], logs)
      : timed(route, args, { seconds, warmUp: warmUpSeconds(clients), clients, logs: connect ? undefined : logs }));
  } finally {
    await rm(logs, { recursive: true });
  }
}

/** All of it counts. */
async function counted(route: Route, args: readonly string[], logs: string): Promise<PgbenchRun> {
  const before = cpuTimes(route.pids);
  const { status, stdout, stderr } = await clientProgram(route, 'pgbench', args, GRACE_MS);
  const cpu = cpuBetween(before, cpuTimes(route.pids));
  if (status !== 0) throw new Error(`pgbench by ${route.name} failed (status ${String(status)}): ${stderr}${stdout}`);
  const logged = await transactionsIn(logs);
  return { ...parseSummary(stdout), p99Ms: logged.length === 0 ? 0 : p99(logged.map(latencyMs)), cpu };
}

interface TimedOptions {
  readonly seconds: number;
  readonly warmUp: number;
  readonly clients: number;
  /** undefined: there are none. */
  readonly logs: string | undefined;
}

/** What counts are the `seconds` after the warm-up; there are more, so that the last of them is told of. */
async function timed(route: Route, args: readonly string[], options: TimedOptions): Promise<PgbenchRun> {
  const { seconds, warmUp, clients, logs } = options;
  const to = warmUp + seconds;
  const duration = to + 1 + Math.ceil(clients / CONNECTED_A_SECOND);
  const sampling = logs === undefined ? [] : [`--sampling-rate=${SAMPLING_RATE}`];
  const child = new Child(
    [postgresProgram('pgbench'), ...args, ...sampling, '-T', String(duration), '-P', '1', '--progress-timestamp'],
    { env: clientEnvironment(route) },
  );
  try {
    const timesAfter = async (count: number): Promise<CpuTimes> => {
      const told = (_: string, stderr: string): true | undefined => parseProgress(stderr).length >= count || undefined;
      await child.output(`second ${count} of pgbench`, told, count * 1000 + GRACE_MS);
      return cpuTimes(route.pids);
    };
    const before = await timesAfter(warmUp);
    const cpu = cpuBetween(before, await timesAfter(to));
    const { status, stdout, stderr } = await within(GRACE_MS, 'the end of pgbench', child.ended);
    if (status !== 0) throw new Error(`pgbench by ${route.name} failed (status ${String(status)}): ${stderr}${stdout}`);
    parseSummary(stdout); // it tells of failed transactions
    const figures = steady(parseProgress(stderr), warmUp, to);
    const logged = logs === undefined ? [] : await transactionsIn(logs);
    const counting = logged.filter(({ at }) => at > figures.from && at <= figures.to);
    return { ...figures, p99Ms: logs === undefined ? 0 : p99(counting.map(latencyMs)), cpu };
  } finally {
    await child.close();
  }
}

function latencyMs(logged: Logged): number {
  return logged.latencyMs;
}

/** Each thread of pgbench has a file of its own. */
async function transactionsIn(folder: string): Promise<Logged[]> {
  const texts = await Promise.all((await readdir(folder)).map((name) => readFile(join(folder, name), 'utf8')));
  return texts.flatMap(parseLog);
}
