// SPDX-License-Identifier: MIT
// What is judged: a claim, whether it held, and what was measured. Pure.

import { format } from '../bench/table.js';
import type { Range } from './tally.js';

export interface Check {
  readonly what: string;
  readonly passed: boolean;
  readonly measured: string;
}

export function isWithin(what: string, value: number, { low, high }: Range): Check {
  const range = low === high ? count(low) : `${count(low)} to ${count(high)}`;
  return { what, passed: value >= low && value <= high, measured: `${count(value)}; the clients: ${range}` };
}

export function equals(what: string, value: number, truth: number): Check {
  return isWithin(what, value, { low: truth, high: truth });
}

export function count(value: number): string {
  return format(value, 0);
}

export function lineOf({ what, passed, measured }: Check): string {
  return `${passed ? 'ok  ' : 'FAIL'} ${what}: ${measured}`;
}
