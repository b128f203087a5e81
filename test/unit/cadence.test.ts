// SPDX-License-Identifier: MIT

import { searchPauseMs } from '#src/cadence.js';
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

test.run();
