// SPDX-License-Identifier: MIT
// The figures of several failovers of one kind by one route. Pure.

import type { Refusal, RouteRecord } from './ledger.js';

export interface Figures {
  readonly failovers: number;
  /** Undefined: never recovered in one of them. */
  readonly medianMs: number | undefined;
  readonly worstMs: number | undefined;
  readonly medianOutageMs: number | undefined;
  readonly worstOutageMs: number | undefined;
  readonly refused: number;
  readonly refusals: Readonly<Partial<Record<Refusal, number>>>;
  readonly lastWords: RouteRecord['lastWords'];
  readonly broken: number;
  readonly misrouted: number;
}

export function figuresOf(records: readonly RouteRecord[]): Figures {
  const refusals: Partial<Record<Refusal, number>> = {};
  for (const record of records) {
    for (const [refusal, count] of Object.entries(record.refusals) as [Refusal, number][]) {
      refusals[refusal] = (refusals[refusal] ?? 0) + count;
    }
  }
  const recovered = records.map(({ recoveredMs }) => recoveredMs);
  const outages = records.map(({ outageMs }) => outageMs);
  return {
    failovers: records.length,
    medianMs: median(recovered),
    worstMs: worst(recovered),
    medianOutageMs: median(outages),
    worstOutageMs: worst(outages),
    refused: sum(records.map(({ refused }) => refused)),
    refusals,
    lastWords: {
      plain: sum(records.map(({ lastWords }) => lastWords.plain)),
      tls: sum(records.map(({ lastWords }) => lastWords.tls)),
    },
    broken: sum(records.map(({ broken }) => broken)),
    misrouted: sum(records.map(({ misrouted }) => misrouted)),
  };
}

/** One line. */
export function summaryOf(records: readonly RouteRecord[]): string {
  const { failovers, medianMs, worstMs, refused, lastWords, broken } = figuresOf(records);
  return [
    `${failovers} failovers, first write ${textOf(medianMs)} after the promotion in the median, ${textOf(worstMs)} at worst`,
    `${broken} sessions broken`,
    `${refused} attempts failed, of them under way when the old primary ended: ${lastWords.plain} in clear, ${lastWords.tls} with TLS`,
  ].join('; ');
}

export function textOf(ms: number | undefined): string {
  return ms === undefined ? 'never' : `${ms.toFixed(ms < 100 ? 1 : 0)} ms`;
}

function median(values: readonly (number | undefined)[]): number | undefined {
  const sorted = values.map((value) => value ?? Infinity).sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const [low, high] = [sorted[Math.ceil(middle) - 1], sorted[Math.floor(middle)]];
  const found = low === undefined || high === undefined ? Infinity : (low + high) / 2;
  return Number.isFinite(found) ? found : undefined;
}

function worst(values: readonly (number | undefined)[]): number | undefined {
  const found = Math.max(...values.map((value) => value ?? Infinity));
  return Number.isFinite(found) ? found : undefined;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
