// SPDX-License-Identifier: MIT
// What the gateway is meant to reach, against what was measured. Pure. It is told, and fails nothing.

import { ALONE, AT_REST, BESIDE, clientsText, STARTED, workersText } from './cases.js';
import { bestPeer, DIRECT, GATEWAY, HAPROXY, ratio, ratioOf, summary, valuesOf } from './samples.js';
import type { Better, Key, Ratio, Sample } from './samples.js';
import { casesOf, format } from './table.js';
import type { Part } from './part.js';

export interface Target {
  readonly what: string;
  readonly met: boolean;
  /** The figures that decided. */
  readonly measured: string;
}

const CPU_TO_HAPROXY = 0.95;
const BULK_CPU_TO_HAPROXY = 0.6;
const IDLE_BYTES = 512;
const IDLE_DESCRIPTORS = 2;
const BESIDE_TO_DIRECT = 1.2;
/** 1.5 MB for the 150,000 that count: what a heap with a garbage collector does by itself. */
const CHURN_BYTES = 10;
const TWO_WORKERS = 1.6;
const READY_MS = 250;
const CTL_MS = 150;
const WAKE_UPS = 10;
const CPU_PERCENT = 0.2;
/** What a target for certain numbers of clients is about. */
const CPU_CLIENTS = [8, 64];

/** Those whose figures there are. */
export function targetsOf(samples: readonly Sample[], parts: readonly Part[], routes: readonly string[]): Target[] {
  const all = parts.flatMap((part) => casesOf(samples, part).map((what) => ({ part: part.name, case: what })));
  const of = (part: string): { part: string; case: string }[] => all.filter((one) => one.part === part);
  return [
    ...of('oltp').map((one) => atBestPeer(samples, { ...one, metric: 'tps' }, routes, 'more')),
    ...CPU_CLIENTS.map((clients) =>
      toHaproxy(samples, { part: 'oltp', case: clientsText(clients), metric: 'cpuUs' }, 'CPU/transaction', {
        atMost: CPU_TO_HAPROXY,
      }),
    ),
    ...of('oltp').map((one) => toHaproxy(samples, { ...one, metric: 'p99Ms' }, 'p99', { atMost: 1 })),
    ...of('copy').map((one) =>
      toHaproxy(samples, { ...one, metric: 'cpuSPerGb' }, 'CPU/GB', { atMost: BULK_CPU_TO_HAPROXY }),
    ),
    ...of('connections').map((one) => toHaproxy(samples, { ...one, metric: 'perS' }, 'rate', { atLeast: 1 })),
    ...of('idle')
      .slice(-1)
      .map((one) => idleSession(samples, one.case)),
    besideCopy(samples),
    ...of('churn').map((one) => flatMemory(samples, one.case)),
    twoWorkers(samples),
    ofService(samples, { case: STARTED, metric: 'readyMs' }, { atMost: READY_MS, unit: 'ms', digits: 0 }),
    ofService(
      samples,
      { case: STARTED, metric: 'ctlMs' },
      { atMost: CTL_MS, unit: 'ms for pg-gatewayctl status', digits: 0 },
    ),
    ofService(samples, { case: AT_REST, metric: 'wakeUps' }, { atMost: WAKE_UPS, unit: 'wake-ups/s', digits: 1 }),
    ofService(
      samples,
      { case: AT_REST, metric: 'cpuPercent' },
      { atMost: CPU_PERCENT, unit: '% of a core', digits: 3 },
    ),
  ].flatMap((target) => target ?? []);
}

export function targetLines(targets: readonly Target[]): string[] {
  return targets.map(({ what, met, measured }) => `${met ? 'met    ' : 'NOT MET'}  ${what}: ${measured}`);
}

/** At it counts as equal if the middle half of the rounds has both orders. */
function atBestPeer(
  samples: readonly Sample[],
  key: Key,
  routes: readonly string[],
  better: Better,
): Target | undefined {
  const peer = bestPeer(samples, key, routes, better);
  const seen = peer === undefined ? undefined : ratio(samples, key, GATEWAY, peer);
  if (peer === undefined || seen === undefined) return undefined;
  return {
    what: `${key.case}: transactions/s at or above the best peer`,
    met: seen.median >= 1 || seen.high >= 1,
    measured: `${ratioText(seen)} x ${peer}`,
  };
}

function toHaproxy(
  samples: readonly Sample[],
  key: Key,
  figure: string,
  { atMost, atLeast }: { readonly atMost?: number; readonly atLeast?: number },
): Target | undefined {
  const seen = ratio(samples, key, GATEWAY, HAPROXY);
  if (seen === undefined) return undefined;
  const bound = atMost === undefined ? `at least ${atLeast ?? 0}` : `at most ${atMost}`;
  // A bound of 1 means "as good": equal within the spread is as good. Others leave room enough.
  const low = atMost === 1 ? seen.low : seen.median;
  const high = atLeast === 1 ? seen.high : seen.median;
  return {
    what: `${key.case}: ${figure} ${bound} x HAProxy`,
    met: low <= (atMost ?? Infinity) && high >= (atLeast ?? 0),
    measured: `${ratioText(seen)} x`,
  };
}

function idleSession(samples: readonly Sample[], what: string): Target | undefined {
  const bytes = summary(samples, { part: 'idle', case: what, metric: 'bytes' }, GATEWAY)?.median;
  const descriptors = summary(samples, { part: 'idle', case: what, metric: 'descriptors' }, GATEWAY)?.median;
  if (bytes === undefined || descriptors === undefined) return undefined;
  return {
    what: `${what}: at most ${IDLE_BYTES} B and ${IDLE_DESCRIPTORS} descriptors each`,
    // The pipes of the worker are few, and not the session's.
    met: bytes <= IDLE_BYTES && Math.round(descriptors) <= IDLE_DESCRIPTORS,
    measured: `${format(bytes, 0)} B, ${format(descriptors, 2)} descriptors`,
  };
}

/** The COPY also takes CPU time from the server and the clients: the direct way shows how much of it is theirs. */
function besideCopy(samples: readonly Sample[]): Target | undefined {
  const byRound = (what: string, route: string): ReadonlyMap<number, number> =>
    valuesOf(samples, { part: 'mixed', case: what, metric: 'p99Ms' }, route);
  const toAlone = (route: string): Ratio | undefined => ratioOf(byRound(BESIDE, route), byRound(ALONE, route));
  const seen = toAlone(GATEWAY);
  const direct = toAlone(DIRECT);
  if (seen === undefined || direct === undefined) return undefined;
  const haproxy = toAlone(HAPROXY);
  const others = haproxy === undefined ? '' : `, HAProxy ${haproxy.median.toFixed(2)} x`;
  return {
    what: `p99 beside a COPY to alone: at most ${BESIDE_TO_DIRECT} x what it is without a proxy`,
    met: seen.median <= BESIDE_TO_DIRECT * direct.median,
    measured: `${(seen.median / direct.median).toFixed(2)} x (${ratioText(seen)} x alone; direct ${direct.median.toFixed(2)} x${others})`,
  };
}

function flatMemory(samples: readonly Sample[], what: string): Target | undefined {
  const value = (metric: string): number | undefined =>
    summary(samples, { part: 'churn', case: what, metric }, GATEWAY)?.median;
  const [bytes, before, after, rest] = ['bytes', 'beforeMb', 'afterMb', 'restMb'].map(value);
  if (bytes === undefined || before === undefined || after === undefined || rest === undefined) return undefined;
  return {
    what: `${what}: memory flat`,
    met: bytes <= CHURN_BYTES,
    measured: `${format(before, 2)} MB after a quarter of them, ${format(after, 2)} MB after all; ${format(rest, 2)} MB of that also at rest`,
  };
}

function twoWorkers(samples: readonly Sample[]): Target | undefined {
  const capacity = (count: number): ReadonlyMap<number, number> =>
    valuesOf(samples, { part: 'workers', case: workersText(count), metric: 'capacity' }, GATEWAY);
  const seen = ratioOf(capacity(2), capacity(1));
  if (seen === undefined) return undefined;
  return {
    what: `2 workers carry at least ${TWO_WORKERS} x what 1 does, by the CPU time of the busiest`,
    met: seen.median >= TWO_WORKERS,
    measured: `${ratioText(seen)} x`,
  };
}

function ofService(
  samples: readonly Sample[],
  key: Omit<Key, 'part'>,
  { atMost, unit, digits }: { readonly atMost: number; readonly unit: string; readonly digits: number },
): Target | undefined {
  const seen = summary(samples, { part: 'service', ...key }, GATEWAY);
  if (seen === undefined) return undefined;
  return {
    what: `${key.case}: at most ${atMost} ${unit}`,
    met: seen.median <= atMost,
    measured: `${format(seen.median, digits)} ${unit}`,
  };
}

function ratioText({ median, low, high }: Ratio): string {
  const middle = low === high ? '' : ` (${low.toFixed(3)} to ${high.toFixed(3)})`;
  return `${median.toFixed(3)}${middle}`;
}
