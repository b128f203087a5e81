// SPDX-License-Identifier: MIT
// Medians, quantiles and spreads. Pure.

export interface Summary {
  readonly count: number;
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** Undefined if there are no values. */
export function summaryOf(values: readonly number[]): Summary | undefined {
  if (values.length === 0) return undefined;
  return { count: values.length, median: quantile(values, 0.5), min: Math.min(...values), max: Math.max(...values) };
}

/** Half of the way from the least to the greatest value, as a part of the median; 0 for one value. */
export function spreadOf({ median, min, max }: Summary): number {
  return median === 0 ? 0 : (max - min) / 2 / Math.abs(median);
}

/** With linear interpolation between the neighbours. @throws Error if there are no values */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const position = (sorted.length - 1) * q;
  const below = sorted[Math.floor(position)];
  const above = sorted[Math.ceil(position)];
  if (below === undefined || above === undefined) throw new Error('a quantile of no values');
  return below + (above - below) * (position - Math.floor(position));
}

export function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
