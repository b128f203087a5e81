// SPDX-License-Identifier: MIT
// What is said of all candidates together, and what the election makes of them.

import { clusterFindings } from '#src/check/cluster-findings.js';
import type { Inspected } from '#src/check/facts.js';
import { judge } from '#src/check/gather.js';
import type { Recollection } from '#src/check/gather.js';
import type { Observation } from '#src/probe/observation.js';
import { SESSION } from '../helpers/check-facts.js';
import { CLUSTER, failed, OTHER_CLUSTER, primary, standby } from '../helpers/observations.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('findings of the cluster');

const NOTHING: Recollection = { remembered: null, memoryProblem: undefined };

function remembering(systemId: string, timeline: number): Recollection {
  return { ...NOTHING, remembered: { systemId, timeline } };
}

function inspectedOf(observation: Observation): Inspected {
  const { candidate } = observation;
  return { candidate, inspection: { observation, session: SESSION }, source: undefined };
}

/** What is so, what was seen, what is remembered, the verdict, what is said. */
const CASES: readonly (readonly [string, readonly Observation[], Recollection, string, ...RegExp[]])[] = [
  ['a primary and its standby', [primary('a', 2), standby('b', 2)], NOTHING, 'a:5432'],
  ['the cluster that is remembered', [primary('a', 2)], remembering(CLUSTER, 2), 'a:5432'],
  ['nobody', [failed('a'), failed('b')], NOTHING, 'no-primary'],
  ['standbys alone', [standby('a', 2), standby('b', 2)], NOTHING, 'no-primary', /^all candidates are in recovery/],
  [
    'standbys, and one is down',
    [standby('a', 2), failed('b')],
    NOTHING,
    'no-primary',
    /^all that answer are in recovery/,
  ],
  [
    'a primary that is read-only to the probes, and its standby',
    [primary('a', 2, { readOnly: true }), standby('b', 2)],
    NOTHING,
    'no-primary',
    /^a:5432: it is out of recovery, but .* default_transaction_read_only is on/,
  ],
  ['a primary beside one that is in recovery still', [standby('a', 2), primary('b', 3)], NOTHING, 'b:5432'],
  [
    'a standby of another cluster',
    [primary('a', 2), standby('b', 2, { systemId: OTHER_CLUSTER })],
    NOTHING,
    'a:5432',
    new RegExp(`different clusters, .*: a:5432: ${CLUSTER}; b:5432: ${OTHER_CLUSTER}`),
  ],
  [
    'primaries of two clusters',
    [primary('a', 2), primary('b', 2, { systemId: OTHER_CLUSTER })],
    NOTHING,
    'several-clusters',
    /different clusters/,
    /2 servers are out of recovery/,
  ],
  [
    'two primaries on one timeline',
    [primary('a', 2), primary('b', 2)],
    NOTHING,
    'split-brain',
    /2 servers are out of recovery, .*: a:5432 on timeline 2, b:5432 on timeline 2/,
  ],
  [
    'an old primary beside the new one',
    [primary('a', 2), primary('b', 3)],
    NOTHING,
    'b:5432',
    /2 servers are out of recovery/,
    /^a:5432: it would get no client: .* on timeline 2, the cluster is on 3/,
  ],
  [
    'one server at two addresses',
    [primary('n/a', 2, { startedAt: '7' }), primary('n/b', 2, { startedAt: '7' })],
    NOTHING,
    'n:5432/192.0.2.97',
  ],
  ['an old primary alone', [primary('a', 2)], remembering(CLUSTER, 3), 'no-primary', /^a:5432: it would get no client/],
  [
    'another cluster than is remembered',
    [primary('a', 2)],
    remembering(OTHER_CLUSTER, 2),
    'no-primary',
    new RegExp(`remembers another cluster, ${OTHER_CLUSTER}, .*a:5432: ${CLUSTER}`),
  ],
  [
    'a memory that cannot be read',
    [primary('a', 2)],
    { remembered: null, memoryProblem: '/var/lib/x: EACCES' },
    'a:5432',
    /could not be read, .*: \/var\/lib\/x: EACCES/,
  ],
];

for (const [what, seen, recollection, verdict, ...says] of CASES) {
  test(what, () => {
    const facts = judge(seen.map(inspectedOf), recollection);
    const { verdict: found } = facts;
    assert.is(found.kind === 'primary' ? found.primary.candidate.name : found.reason, verdict);
    const texts = clusterFindings(facts).map(({ about, what: text }) => (about === '' ? text : `${about}: ${text}`));
    assert.is(texts.length, says.length, texts.join('\n'));
    for (const [index, pattern] of says.entries()) assert.match(texts[index] ?? '', pattern);
  });
}

test.run();
