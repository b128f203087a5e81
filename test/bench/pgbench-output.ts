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

/** Milliseconds of each transaction in a log: the third field of a line, in microseconds. */
export function parseLog(text: string): number[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const us = Number(line.split(' ')[2]);
      if (!Number.isFinite(us)) throw new Error(`no line of a log of pgbench: ${line}`);
      return us / 1000;
    });
}

/** @throws Error if the log is empty: sampling may have left nothing of a short run */
export function p99(latenciesMs: readonly number[]): number {
  if (latenciesMs.length === 0) throw new Error('pgbench has logged no transaction');
  return quantile(latenciesMs, 0.99);
}
