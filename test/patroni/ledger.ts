// SPDX-License-Identifier: MIT
// What the events of the load say about one failover, and whether anything was lost or written where it must not be. Pure.

import { routeOf } from './load.js';
import type { LoadEvent, Refused, Row } from './load.js';

/** One failover and the time it was watched for. */
export interface Window {
  /** Seconds since 1970. */
  readonly from: number;
  readonly to: number;
  readonly oldPort: number;
  readonly newPort: number;
}

/** Why a connection attempt failed. */
export type Refusal =
  /** A server that shuts down has answered, or closed the connection that it had accepted. */
  | 'dying'
  | 'closed'
  /** One that does not let anybody in yet. */
  | 'starting'
  /** Nobody listens. */
  | 'nobody'
  /** The gateway's own answer when it knows no primary. */
  | 'no_primary'
  /** libpq was there, and did not want to stay. */
  | 'read_only'
  | 'other';

/** In this order: of several hosts that were tried, what says most. */
const REFUSALS: readonly (readonly [Refusal, RegExp])[] = [
  ['no_primary', /no PostgreSQL primary is available/],
  ['dying', /the database system is shutting down|terminating connection/],
  ['starting', /the database system is (?:starting up|in recovery mode|not yet accepting connections)/],
  ['closed', /closed the connection unexpectedly|closed unexpectedly|reset by peer|SSL SYSCALL error|Broken pipe/],
  ['read_only', /session is read-only/],
  ['nobody', /Connection refused/],
];

const READ_ONLY = '25006';

/** After its death nobody may be led to a server any more: by then a gateway knows, also on a machine that is busy. */
const KNOWN_AFTER_S = 0.5;

export interface RouteRecord {
  readonly route: string;
  /** When the old primary ended and when the new one accepted writes, in seconds since 1970. */
  readonly diedAt: number;
  readonly promotedAt: number;
  /** From "the new primary accepts writes" to the first acknowledged row there; undefined: never. */
  readonly recoveredMs: number | undefined;
  /** From the last acknowledged row on the old primary to the first one on the new. */
  readonly outageMs: number | undefined;
  readonly refused: number;
  readonly refusals: Readonly<Partial<Record<Refusal, number>>>;
  /** Of those refused: what the old primary answered, or closed, in the moment of its death. See `isLastWord`. */
  readonly lastWords: { readonly plain: number; readonly tls: number };
  /** Sessions that ended in the middle of a statement. */
  readonly broken: number;
  /** Statements that a server in recovery has turned down. */
  readonly misrouted: number;
}

export function refusalOf({ error }: Pick<Refused, 'error'>): Refusal {
  return REFUSALS.find(([, pattern]) => pattern.test(error))?.[0] ?? 'other';
}

/** When the new primary was first seen to accept writes. @throws Error if that was not seen */
export function promotedAt(events: readonly LoadEvent[], { from, to, newPort }: Window): number {
  const found = events.find(
    (event) =>
      event.event === 'state' &&
      event.port === newPort &&
      event.state === 'primary' &&
      event.at >= from &&
      event.at <= to,
  );
  if (found === undefined) throw new Error(`nobody saw the promotion of ${newPort}`);
  return found.at;
}

/** When the old primary was first seen to be none any more. @throws Error if that was not seen */
export function diedAt(events: readonly LoadEvent[], { from, to, oldPort }: Window): number {
  const found = events.find(
    (event) =>
      event.event === 'state' &&
      event.port === oldPort &&
      event.state !== 'primary' &&
      event.at >= from &&
      event.at <= to,
  );
  if (found === undefined) throw new Error(`nobody saw the end of ${oldPort} as the primary`);
  return found.at;
}

/**
 * Whether a connection attempt failed because it was under way to the old primary when that ended. It had been accepted
 * by the server, which then took leave of it: with TLS nobody in between can see that.
 */
export function isLastWord(refused: Refused, died: number): boolean {
  return ['dying', 'closed'].includes(refusalOf(refused)) && refused.begun <= died + KNOWN_AFTER_S;
}

export function recordOf(route: string, events: readonly LoadEvent[], window: Window): RouteRecord {
  const promoted = promotedAt(events, window);
  const died = diedAt(events, window);
  const lastWords = { plain: 0, tls: 0 };
  const inTime = (at: number): boolean => at >= window.from && at <= window.to;
  let first: number | undefined;
  let last: number | undefined;
  let broken = 0;
  let misrouted = 0;
  const refusals: Partial<Record<Refusal, number>> = {};
  for (const event of events) {
    if (event.event === 'state' || routeOf(event) !== route || !inTime(event.at)) continue;
    if (event.event === 'row') {
      if (event.port === window.newPort) first = Math.min(first ?? Infinity, event.at);
      else last = Math.max(last ?? 0, event.at);
    } else if (event.event === 'refused') {
      const refusal = refusalOf(event);
      refusals[refusal] = (refusals[refusal] ?? 0) + 1;
      if (isLastWord(event, died)) lastWords[event.writer.endsWith('-tls') ? 'tls' : 'plain'] += 1;
    } else if (event.event === 'broken') broken += 1;
    else if (event.code === READ_ONLY) misrouted += 1;
  }
  return {
    route,
    diedAt: died,
    promotedAt: promoted,
    recoveredMs: first === undefined ? undefined : (first - promoted) * 1000,
    outageMs: first === undefined || last === undefined ? undefined : (first - last) * 1000,
    refused: Object.values(refusals).reduce((sum, count) => sum + count, 0),
    refusals,
    lastWords,
    broken,
    misrouted,
  };
}

/** The words of the failed attempts, each with its number, but for last words. */
export function refusedIn(events: readonly LoadEvent[], route: string, window: Window): string[] {
  const died = diedAt(events, window);
  const counts = new Map<string, number>();
  for (const event of events) {
    if (event.event !== 'refused' || routeOf(event) !== route || event.at < window.from || event.at > window.to)
      continue;
    if (isLastWord(event, died)) continue;
    const words = `${event.writer}: ${event.error}`;
    counts.set(words, (counts.get(words) ?? 0) + 1);
  }
  return [...counts].map(([words, count]) => `${count} x ${words}`);
}

export function keyOf({ writer, n }: Pick<Row, 'writer' | 'n'>): string {
  return `${writer} ${n}`;
}

/** Acknowledged rows that are not there any more. */
export function lostRows(events: readonly LoadEvent[], there: ReadonlySet<string>): Row[] {
  return rowsOf(events).filter((row) => !there.has(keyOf(row)));
}

/** Acknowledged rows that the old primary has accepted after the new one was. */
export function lateRows(events: readonly LoadEvent[], window: Window): Row[] {
  const promoted = promotedAt(events, window);
  return rowsOf(events).filter(({ port, written }) => {
    return port !== window.newPort && written > promoted && written <= window.to;
  });
}

/** All that one timeline has written. */
export interface TimelineSpan {
  readonly timeline: number;
  readonly port: number;
  /** By the server's clock, in seconds. */
  readonly first: number;
  readonly last: number;
}

/** What is wrong: a timeline is of one server, and nothing is written on it after the next one has begun. */
export function spanProblems(spans: readonly TimelineSpan[]): string[] {
  const sorted = [...spans].sort((a, b) => a.timeline - b.timeline || a.first - b.first);
  return sorted.flatMap((span, index) => {
    const previous = sorted[index - 1];
    if (previous === undefined) return [];
    if (previous.timeline === span.timeline) {
      return [`timeline ${span.timeline} was written by ${previous.port} and by ${span.port}`];
    }
    return previous.last < span.first
      ? []
      : [`${previous.port} wrote on timeline ${previous.timeline} after ${span.port} had begun ${span.timeline}`];
  });
}

/** The spans of acknowledged rows, from what the servers said when they took them. */
export function spansOf(events: readonly LoadEvent[]): TimelineSpan[] {
  const spans = new Map<string, TimelineSpan>();
  for (const { timeline, port, written } of rowsOf(events)) {
    const key = `${timeline} ${port}`;
    const { first, last } = spans.get(key) ?? { first: written, last: written };
    spans.set(key, { timeline, port, first: Math.min(first, written), last: Math.max(last, written) });
  }
  return [...spans.values()];
}

function rowsOf(events: readonly LoadEvent[]): Row[] {
  return events.filter((event) => event.event === 'row');
}
