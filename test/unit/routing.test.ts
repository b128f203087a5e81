// SPDX-License-Identifier: MIT
// Where new clients go by a verdict, and which sessions it cuts, as a table.

import { routingFor } from '#src/routing.js';
import type { Circumstances, Routing } from '#src/routing.js';
import type { Verdict } from '#src/election.js';
import { NONE, PRIMARY } from '../helpers/status-input.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('routing');

const QUIET: Circumstances = {
  cutPolicy: 'proof',
  holdTimeoutMs: 15_000,
  provenEpoch: 7,
  suspected: false,
  holding: false,
  slotOf: () => 7,
};
const DEMOTED = { belowEpoch: 8, reason: 'demoted' } as const;
const OLD = { belowEpoch: 7, reason: 'superseded' } as const;

/** `address:port#epoch@slot`, or `none`; the cut as `below reason`. */
function wordOf({ route, cut }: Routing): string {
  const where = route === null ? 'none' : `${route.address}:${route.port}#${route.epoch}@${route.server}`;
  return cut === undefined ? where : `${where}, cut ${cut.belowEpoch} ${cut.reason}`;
}

const TABLE: readonly (readonly [what: string, verdict: Verdict, Partial<Circumstances>, expected: string])[] = [
  ['a primary', PRIMARY, {}, '192.0.2.97:5432#7@7'],
  [
    'a primary, whose predecessor was superseded',
    { ...PRIMARY, cut: OLD },
    {},
    '192.0.2.97:5432#7@7, cut 7 superseded',
  ],
  ['a suspicion', PRIMARY, { suspected: true }, 'none'],
  ['a suspicion, where nobody waits', PRIMARY, { suspected: true, holdTimeoutMs: 0 }, '192.0.2.97:5432#7@7'],
  ['a hold', { ...PRIMARY, cut: OLD }, { holding: true }, 'none, cut 7 superseded'],
  ['no primary', NONE, {}, 'none'],
  ['no primary, by proof', { ...NONE, cut: DEMOTED }, {}, 'none, cut 8 demoted'],
  ['no primary, eager', NONE, { cutPolicy: 'eager' }, 'none, cut 8 lost'],
  ['no primary, eager, by proof', { ...NONE, cut: DEMOTED }, { cutPolicy: 'eager' }, 'none, cut 8 demoted'],
  ['no primary, eager, after an older proof', { ...NONE, cut: OLD }, { cutPolicy: 'eager' }, 'none, cut 8 lost'],
  ['no primary yet, eager', NONE, { cutPolicy: 'eager', provenEpoch: 0 }, 'none'],
  ['a primary, eager', PRIMARY, { cutPolicy: 'eager' }, '192.0.2.97:5432#7@7'],
];

for (const [what, verdict, change, expected] of TABLE) {
  test(what, () => {
    assert.is(wordOf(routingFor(verdict, { ...QUIET, ...change })), expected);
  });
}

test.run();
