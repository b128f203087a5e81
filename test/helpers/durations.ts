// SPDX-License-Identifier: MIT
// How long test files have taken on this machine, so that the next run can say how long it
// is going to take. A record that is lost or damaged is a record that begins anew.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { PROJECT_ROOT } from './paths.js';

const RECORD = join(PROJECT_ROOT, 'build/test-durations.json');

/** Name of a file -> seconds. */
type Durations = Record<string, number>;

/** One line on how long these files take, `atOnce` of them at the same time. */
export function forecast(names: readonly string[], atOnce: number): string {
  const known = read();
  const seconds = names.map((name) => known[name]);
  const files = names.length === 1 ? '1 test file' : `${names.length} test files`;
  if (!seconds.every((each) => each !== undefined)) return `${files}; the next time it is known how long they take`;
  // No sooner than the longest of them.
  const all = seconds.reduce((sum, each) => sum + each, 0) / atOnce;
  const longest = Math.max(all, ...seconds);
  return `${files}: about ${longest < 90 ? `${Math.ceil(longest)} seconds` : `${Math.ceil(longest / 60)} minutes`}, as the last time`;
}

/** For the next run. */
export function remember(name: string, seconds: number): void {
  const durations = { ...read(), [name]: Math.round(seconds * 10) / 10 };
  mkdirSync(dirname(RECORD), { recursive: true });
  writeFileSync(RECORD, `${JSON.stringify(durations, undefined, 2)}\n`);
}

function read(): Durations {
  try {
    return JSON.parse(readFileSync(RECORD, 'utf8')) as Durations;
  } catch {
    return {};
  }
}
