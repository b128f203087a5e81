// SPDX-License-Identifier: MIT
// What pgbench prints and logs (PostgreSQL manual, pgbench, "Per-Transaction Logging"). Pure.

import { quantile } from './statistics.js';

export interface PgbenchSummary {
  /** Transactions a second; with -C the connections are in it, else the first ones are not. */
  readonly tps: number;
  readonly averageMs: number;
  readonly transactions: number;
}

/** @throws Error if it is no summary, or one of a run in which transactions failed */
export function parseSummary(text: string): PgbenchSummary {
  const number = (pattern: RegExp): number => {
    const match = pattern.exec(text);
    if (match === null) throw new Error(`pgbench did not say ${String(pattern)}:\n${text}`);
    return Number(match[1]);
  };
  const failed = /^number of failed transactions: (\d+)/m.exec(text);
  if (failed !== null && failed[1] !== '0') throw new Error(`transactions of pgbench failed:\n${text}`);
  return {
    tps: number(/^tps = ([\d.]+)/m),
    averageMs: number(/^latency average = ([\d.]+) ms/m),
    transactions: number(/^number of transactions actually processed: (\d+)/m),
  };
}

/** A transaction in a log. */
export interface Logged {
  readonly latencyMs: number;
  /** When it was over, in seconds since the epoch. */
  readonly at: number;
}

/** The third field of a line is the latency in microseconds, the fifth and sixth are seconds and microseconds. */
export function parseLog(text: string): Logged[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [, , latencyUs = NaN, , seconds = NaN, us = NaN] = line.split(' ').map(Number);
      const logged = { latencyMs: latencyUs / 1000, at: seconds + us / 1e6 };
      if (!Number.isFinite(logged.latencyMs + logged.at)) throw new Error(`no line of a log of pgbench: ${line}`);
      return logged;
    });
}

/** What pgbench says every second (`--progress=1 --progress-timestamp`). */
export interface Second {
  /** When it was over, in seconds since the epoch. */
  readonly at: number;
  readonly tps: number;
  /** NaN if there was no transaction. */
  readonly averageMs: number;
}

export function parseProgress(text: string): Second[] {
  return [...text.matchAll(/^progress: ([\d.]+) s, ([\d.]+) tps, lat (\S+) ms.*\n/gm)].map(([, at, tps, average]) => ({
    at: Number(at),
    tps: Number(tps),
    averageMs: Number(average),
  }));
}

/**
 * The seconds after the first `warmUp`, up to the number `to`.
 * @throws Error if there are not so many
 */
export function steady(seconds: readonly Second[], warmUp: number, to: number): PgbenchSummary & Window {
  const [before, ...counted] = seconds.slice(warmUp - 1, to);
  const last = counted.at(-1);
  if (before === undefined || last === undefined || seconds.length < to) {
    throw new Error(`pgbench told of ${seconds.length} seconds, not of ${to}`);
  }
  let transactions = 0;
  let sumMs = 0;
  let since = before.at;
  for (const { at, tps, averageMs } of counted) {
    const count = tps * (at - since);
    transactions += count;
    if (count > 0) sumMs += averageMs * count;
    since = at;
  }
  const averageMs = transactions > 0 ? sumMs / transactions : NaN;
  return { tps: transactions / (last.at - before.at), averageMs, transactions, from: before.at, to: last.at };
}

/** In seconds since the epoch. */
export interface Window {
  readonly from: number;
  readonly to: number;
}

/** @throws Error if the log is empty: sampling may have left nothing of a short run */
export function p99(latenciesMs: readonly number[]): number {
  if (latenciesMs.length === 0) throw new Error('pgbench has logged no transaction');
  return quantile(latenciesMs, 0.99);
}
