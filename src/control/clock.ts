// SPDX-License-Identifier: MIT
// Monotonic times as people read them. The wall clock is read once for each document,
// so that all times of one agree, whatever is done to the clock.

export interface Clock {
  /** Monotonic milliseconds. */
  readonly now: number;
  /** The same moment in milliseconds since 1970. */
  readonly wall: number;
}

export function readClock(now: number): Clock {
  return { now, wall: new Date().getTime() };
}

/** `2026-11-30T00:12:35.123Z` */
export function isoTime({ now, wall }: Clock, at: number): string {
  return new Date(Math.round(wall - (now - at))).toISOString();
}
