// SPDX-License-Identifier: MIT
// Whether a figure grows: the line through its readings by least squares. Pure.

export interface Reading {
  /** Seconds. */
  readonly at: number;
  readonly value: number;
}

export interface Trend {
  readonly count: number;
  readonly perHour: number;
  /** Standard error of that. */
  readonly errorPerHour: number;
  readonly first: number;
  readonly last: number;
}

const SECONDS_PER_HOUR = 3600;

/** Undefined: of fewer than three readings, or of one moment, nothing can be said. */
export function trendOf(readings: readonly Reading[]): Trend | undefined {
  const count = readings.length;
  const first = readings[0];
  const last = readings.at(-1);
  if (count < 3 || first === undefined || last === undefined) return undefined;
  const meanAt = mean(readings.map(({ at }) => at));
  const meanValue = mean(readings.map(({ value }) => value));
  const sumOf = (term: (reading: Reading) => number): number => readings.map(term).reduce((sum, part) => sum + part, 0);
  const spread = sumOf(({ at }) => (at - meanAt) ** 2);
  if (spread === 0) return undefined;
  const slope = sumOf(({ at, value }) => (at - meanAt) * (value - meanValue)) / spread;
  const left = sumOf(({ at, value }) => (value - meanValue - slope * (at - meanAt)) ** 2);
  return {
    count,
    perHour: slope * SECONDS_PER_HOUR,
    errorPerHour: Math.sqrt(left / (count - 2) / spread) * SECONDS_PER_HOUR,
    first: first.value,
    last: last.value,
  };
}

/**
 * The least reading of each span of so many seconds. A heap with a garbage collector rises and falls back: what it falls
 * back to is what is in use.
 */
export function floorsOf(readings: readonly Reading[], spanSeconds: number): Reading[] {
  const floors = new Map<number, Reading>();
  for (const reading of readings) {
    const span = Math.floor(reading.at / spanSeconds);
    const floor = floors.get(span);
    if (floor === undefined || reading.value < floor.value) floors.set(span, reading);
  }
  return [...floors.values()];
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
