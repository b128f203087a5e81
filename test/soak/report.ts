// SPDX-License-Identifier: MIT
// What is made of the results. Pure.

import { lineOf } from './check.js';
import type { PartResult } from './part.js';

/** The rows of the table "Reliability" of the README. */
export function markdownOf(results: readonly PartResult[], machine: string): string {
  const rows = results.flatMap(({ rows: some }) => some.map(([what, figure]) => `| ${what} | ${figure} |`));
  return ['| | |', '| --- | --- |', ...rows, '', `(${machine}.)`].join('\n');
}

export function checkLines(results: readonly PartResult[]): string[] {
  return results.flatMap(({ checks }) => checks.map(lineOf));
}

export function countsOf(results: readonly PartResult[]): { passed: number; failed: number } {
  const all = results.flatMap(({ checks }) => checks);
  const passed = all.filter((check) => check.passed).length;
  return { passed, failed: all.length - passed };
}
