// SPDX-License-Identifier: MIT

import { restMs, searchPauseMs } from '#src/cadence.js';
import type { Observation } from '#src/probe/observation.js';
import { failed, standby } from '../helpers/observations.js';
import { assert, suite } from '../helpers/suite.js';

const ROWS: readonly (readonly [number, number, Observation | undefined, number])[] = [
  [0, 2000, undefined, 25],
  [0, 2000, standby('a', 1), 25],
  [0, 2000, failed('a', 'refused'), 25],
  [0, 2000, failed('a', 'starting'), 25],
  [9_999, 2000, failed('a', 'connect_timeout'), 25],
  [10_000, 2000, undefined, 100],
  [59_999, 2000, undefined, 100],
  [60_000, 2000, undefined, 250],
  [3_600_000, 2000, undefined, 250],
  // Never slower than the calm cadence.
  [60_000, 100, undefined, 100],
  [60_000, 50, undefined, 50],
  // What costs with each try and does not pass in milliseconds.
  [0, 2000, failed('a', 'auth'), 250],
  [0, 2000, failed('a', 'tls'), 250],
  [0, 2000, failed('a', 'dns'), 250],
  [0, 2000, failed('a', 'protocol'), 250],
  [0, 2000, failed('a', 'too_many'), 250],
  [0, 50, failed('a', 'auth'), 50],
];

const test = suite('cadence');

test('the pause of a search', () => {
  for (const [searchedMs, checkEveryMs, seen, expected] of ROWS) {
    const what = `${String(searchedMs)} ms, every ${String(checkEveryMs)}, ${seen?.kind === 'failed' ? seen.reason : ''}`;
    assert.is(searchPauseMs(searchedMs, checkEveryMs, seen), expected, what);
  }
});

/** CHECK_EVERY, rests so far, chance -> milliseconds. */
const RESTS: readonly (readonly [number, number, number, number])[] = [
  [2000, 0, 0.5, 2000],
  [2000, 1, 0.5, 4000],
  [2000, 2, 0.5, 8000],
  // Ten seconds, or the calm cadence where that is longer.
  [2000, 3, 0.5, 10_000],
  [2000, 2000, 0.5, 10_000],
  [60_000, 0, 0.5, 60_000],
  [60_000, 9, 0.5, 60_000],
  // Eight times the calm cadence.
  [50, 3, 0.5, 400],
  [50, 4, 0.5, 400],
  // A fifth less, a fifth more.
  [2000, 0, 0, 1600],
  [2000, 0, 0.25, 1800],
  [2000, 1, 0.75, 4400],
  [2000, 3, 0, 8000],
  [2000, 3, 1, 12_000],
];

test('the rest of one that is down', () => {
  for (const [checkEveryMs, rests, random, expected] of RESTS) {
    const what = `${String(rests)} rests, every ${String(checkEveryMs)}, by chance ${String(random)}`;
    assert.is(Math.round(restMs(checkEveryMs, rests, random) * 1000) / 1000, expected, what);
  }
});

test.run();
