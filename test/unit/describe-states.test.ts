// SPDX-License-Identifier: MIT

import { describeStates } from '#src/describe-states.js';
import type { Observation } from '#src/probe/observation.js';
import { candidate, failed, primary, standby } from '../helpers/observations.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('candidate states in words');

test('one word each, in the order of the candidates', () => {
  const seen = [standby('b', 3), primary('a', 3), failed('c'), primary('d', 2), primary('e', 3, { readOnly: true })];
  const observations = new Map<string, Observation>(seen.map((one) => [one.candidate.name, one]));
  const fenced = [{ candidate: candidate('d'), reason: 'stale-timeline', detail: '' }] as const;
  assert.is(
    describeStates(['a', 'b', 'c', 'd', 'e', 'f'].map(candidate), observations, fenced),
    'a:5432=primary/tl3 b:5432=standby/tl3 c:5432=failed/refused d:5432=fenced/stale-timeline/tl2 ' +
      'e:5432=read-only/tl3 f:5432=unprobed',
  );
});

test.run();
