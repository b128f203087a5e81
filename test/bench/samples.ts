// SPDX-License-Identifier: MIT
// What was measured, and what is compared with what. Pure.
//
// Figures of two routes are compared round by round, and the median of these ratios
// counts: within a round the routes follow each other closely, so what disturbs the
// machine for some minutes disturbs both.

import { quantile, summaryOf } from './statistics.js';
import type { Summary } from './statistics.js';

/** One run of one route. */
export interface Sample {
  readonly part: string;
  /** What of it: `8 clients`. */
  readonly case: string;
  readonly route: string;
  readonly round: number;
  readonly figures: Readonly<Record<string, number>>;
}

export interface Key {
  readonly part: string;
  readonly case: string;
  readonly metric: string;
}

/** What of two values is the good one. */
export type Better = 'more' | 'less';

export const DIRECT = 'direct';
export const GATEWAY = 'pg-gateway';
export const HAPROXY = 'HAProxy';

export interface Ratio {
  readonly median: number;
  /** The quartiles: the middle half of the rounds is between them. */
  readonly low: number;
  readonly high: number;
}

/** The value of each round. */
export function valuesOf(samples: readonly Sample[], key: Key, route: string): ReadonlyMap<number, number> {
  const values = new Map<number, number>();
  for (const sample of samples) {
    const value = sample.figures[key.metric];
    if (sample.part !== key.part || sample.case !== key.case || sample.route !== route || value === undefined) continue;
    values.set(sample.round, value);
  }
  return values;
}

export function summary(samples: readonly Sample[], key: Key, route: string): Summary | undefined {
  return summaryOf([...valuesOf(samples, key, route).values()]);
}

/** `route` as a multiple of `other`; undefined if they have no round in common. */
export function ratio(samples: readonly Sample[], key: Key, route: string, other: string): Ratio | undefined {
  const own = valuesOf(samples, key, route);
  return ratioOf(own, valuesOf(samples, key, other));
}

/** The same for values of any two things that were measured in the same rounds. */
export function ratioOf(own: ReadonlyMap<number, number>, other: ReadonlyMap<number, number>): Ratio | undefined {
  const ratios = [...own].flatMap(([round, value]) => {
    const against = other.get(round);
    return against === undefined || against === 0 ? [] : [value / against];
  });
  if (ratios.length === 0) return undefined;
  return { median: quantile(ratios, 0.5), low: quantile(ratios, 0.25), high: quantile(ratios, 0.75) };
}

/** Of the routes that are neither direct nor the gateway, the one with the best median. */
export function bestPeer(
  samples: readonly Sample[],
  key: Key,
  routes: readonly string[],
  better: Better,
): string | undefined {
  let best: { readonly route: string; readonly median: number } | undefined;
  for (const route of routes) {
    if (route === DIRECT || route === GATEWAY) continue;
    const median = summary(samples, key, route)?.median;
    if (median === undefined) continue;
    const wins = best === undefined || (better === 'more' ? median > best.median : median < best.median);
    if (wins) best = { route, median };
  }
  return best?.route;
}

/** Names in the order in which they came first. */
export function distinct(names: readonly string[]): string[] {
  return [...new Set(names)];
}
