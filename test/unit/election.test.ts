// SPDX-License-Identifier: MIT
// The election's rules, as histories. Those about names with several addresses are in
// election-names.test.ts.

import { emptyWorld, take, testRows } from '../helpers/election-table.js';
import type { Row } from '../helpers/election-table.js';
import { addressOf, CLUSTER, failed, OTHER_CLUSTER, primary, standby } from '../helpers/observations.js';
import { assert, suite } from '../helpers/suite.js';

const ROWS: readonly Row[] = [
  // The first decision.
  { what: 'one primary', steps: [[primary('a', 1)]], expect: 'a/1#1', reason: 'first-primary', timeline: 1 },
  {
    what: 'the primary among standbys, wherever it is listed',
    steps: [[standby('a', 3), standby('b', 3), primary('c', 3)]],
    expect: 'c/3#1',
  },
  {
    what: 'a dead first candidate does not matter',
    steps: [[failed('a', 'connect_timeout'), primary('b', 1), standby('c', 1)]],
    expect: 'b/1#1',
  },
  { what: 'nobody was probed', steps: [{ candidates: ['a', 'b'], seen: [] }], expect: 'first-round' },
  {
    what: 'without memory a claim waits for the rest',
    steps: [{ candidates: ['a', 'b'], seen: [primary('a', 2)] }],
    expect: 'first-round',
  },
  {
    what: 'and the rest then shows that the claim was an old one',
    steps: [{ candidates: ['a', 'b'], seen: [primary('a', 2)] }, [primary('b', 3)]],
    expect: 'b/3#1',
    fenced: ['a:stale-timeline'],
  },
  {
    what: 'a remembered timeline does not make the first to answer the primary',
    remembered: { systemId: CLUSTER, timeline: 3 },
    steps: [{ candidates: ['a', 'b'], seen: [primary('a', 3)] }],
    expect: 'first-round',
  },
  {
    what: 'for another may be writable on it too',
    remembered: { systemId: CLUSTER, timeline: 3 },
    steps: [{ candidates: ['a', 'b'], seen: [primary('a', 3)] }, [primary('b', 3)]],
    expect: 'split-brain',
    fenced: ['a:rival', 'b:rival'],
  },
  {
    what: 'or on a higher one',
    remembered: { systemId: CLUSTER, timeline: 3 },
    steps: [{ candidates: ['a', 'b'], seen: [primary('a', 3)] }, [primary('b', 4)]],
    expect: 'b/4#1',
    fenced: ['a:stale-timeline'],
  },
  {
    what: 'which is not forgotten when its server is gone before all have been heard',
    remembered: { systemId: CLUSTER, timeline: 3 },
    steps: [
      { candidates: ['a', 'b', 'c'], seen: [primary('a', 3), primary('b', 4)] },
      { candidates: ['a', 'b', 'c'], seen: [standby('b', 4)] },
      [failed('c')],
    ],
    expect: 'no-primary',
    fenced: ['a:stale-timeline'],
    timeline: 4,
  },
  {
    what: 'or nobody: who is alone on the remembered timeline is the primary',
    remembered: { systemId: CLUSTER, timeline: 3 },
    steps: [{ candidates: ['a', 'b'], seen: [primary('a', 3)] }, [failed('b')]],
    expect: 'a/3#1',
  },
  { what: 'all down', steps: [[failed('a'), failed('b')]], expect: 'no-primary' },
  { what: 'only standbys', steps: [[standby('a', 1), standby('b', 1)]], expect: 'no-primary' },
  {
    what: 'default_transaction_read_only is not a primary',
    steps: [[primary('a', 1, { readOnly: true })]],
    expect: 'no-primary',
  },

  // Timelines.
  {
    what: 'the higher timeline wins, the lower is fenced',
    steps: [[primary('a', 2), primary('b', 3)]],
    expect: 'b/3#1',
    fenced: ['a:stale-timeline'],
  },
  {
    what: 'the resurrected old primary as the only one reachable',
    steps: [[primary('a', 2), standby('b', 2)], [failed('a')], [primary('b', 3)], [failed('b'), primary('a', 2)]],
    expect: 'primary-in-doubt',
    fenced: ['a:stale-timeline'],
    cut: '2 superseded',
    timeline: 3,
  },
  {
    what: 'the same after a restart of the gateway that remembers',
    remembered: { systemId: CLUSTER, timeline: 3 },
    steps: [[primary('a', 2), failed('b')]],
    expect: 'no-primary',
    fenced: ['a:stale-timeline'],
    timeline: 3,
  },
  {
    what: 'a standby that streams a newer timeline speaks against electing an old one',
    steps: [[primary('a', 2), failed('b'), standby('c', 3, { streaming: true })]],
    expect: 'no-primary',
    fenced: ['a:stale-timeline'],
  },
  {
    what: 'but what only stands in its control file does not',
    steps: [[primary('a', 2), failed('b'), standby('c', 3)]],
    expect: 'a/2#1',
  },
  {
    what: 'nor does any standby unseat an elected primary',
    steps: [[primary('a', 2), standby('c', 2)], [standby('c', 3, { streaming: true })]],
    expect: 'a/2#1',
    timeline: 2,
  },
  {
    what: "a standby's timeline is never remembered",
    steps: [[primary('a', 2), standby('c', 9, { streaming: true })], [standby('c', 2)]],
    expect: 'a/2#1',
    timeline: 2,
  },

  // Failover and switchover.
  {
    what: 'a failed probe withdraws the route and cuts nothing',
    steps: [[primary('a', 1), standby('b', 1)], [failed('a', 'query_timeout')]],
    expect: 'primary-in-doubt',
  },
  {
    what: 'it answers again: the same epoch',
    steps: [[primary('a', 1), standby('b', 1)], [failed('a')], [primary('a', 1)]],
    expect: 'a/1#1',
    reason: 'still-primary',
  },
  {
    what: 'promotion of a standby supersedes the dead primary',
    steps: [[primary('a', 1), standby('b', 1)], [failed('a')], [primary('b', 2)]],
    expect: 'b/2#2',
    reason: 'higher-timeline',
    cut: '2 superseded',
  },
  {
    what: 'also while the old one still answers as primary',
    steps: [[primary('a', 1), standby('b', 1)], [primary('b', 2)]],
    expect: 'b/2#2',
    cut: '2 superseded',
    fenced: ['a:stale-timeline'],
  },
  {
    what: 'a primary that answers from recovery is proven demoted',
    steps: [[primary('a', 1), standby('b', 1)], [standby('a', 1)]],
    expect: 'primary-demoted',
    cut: '2 demoted',
  },
  {
    what: 'what another name of it said before its promotion is no proof, also when its own name has moved on',
    steps: [
      [standby('d', 1, { at: 1 }), standby('b', 1, { at: 1 })],
      [primary('b', 2, { at: 2, address: addressOf('d') })],
      [standby('b', 2, { at: 3 })],
    ],
    expect: 'primary-in-doubt',
  },
  {
    what: 'the proof outlives its silence',
    steps: [[primary('a', 1)], [standby('a', 1)], [failed('a')]],
    expect: 'primary-demoted',
    cut: '2 demoted',
  },
  {
    what: 'then the next one is elected, and there is nothing more to cut',
    steps: [[primary('a', 1), standby('b', 1)], [standby('a', 1)], [primary('b', 2)]],
    expect: 'b/2#2',
    cut: '2 demoted',
  },
  {
    what: 'a demoted primary that comes back gets a new epoch',
    steps: [[primary('a', 1)], [standby('a', 1)], [primary('a', 1)]],
    expect: 'a/1#2',
    reason: 'predecessor-gone',
    cut: '2 demoted',
  },
  {
    what: 'recovery at another address of the same name is no proof',
    steps: [[primary('a', 1)], [standby('a', 1, { address: '198.51.100.9' })]],
    expect: 'primary-in-doubt',
  },
  {
    what: 'recovery of a server of another cluster is no proof',
    steps: [[primary('a', 1)], [standby('a', 1, { systemId: OTHER_CLUSTER })]],
    expect: 'primary-in-doubt',
    fenced: ['a:foreign-cluster'],
  },
  {
    what: 'read-only out of recovery withdraws the route and cuts nothing',
    steps: [[primary('a', 1)], [primary('a', 1, { readOnly: true })]],
    expect: 'primary-read-only',
  },
  {
    what: 'the same server on a higher timeline: its old sessions are dead',
    steps: [[primary('a', 1)], [primary('a', 2)]],
    expect: 'a/2#2',
    cut: '2 superseded',
  },
  {
    what: 'two failovers: two cuts',
    steps: [
      [primary('a', 1), standby('b', 1)],
      [failed('a'), primary('b', 2)],
      [failed('b'), primary('a', 3)],
    ],
    expect: 'a/3#3',
    cut: '3 superseded',
  },

  // One timeline, two servers.
  {
    what: 'a rival on the same timeline does not replace the current primary',
    steps: [[primary('a', 2), standby('b', 2)], [primary('b', 2)]],
    expect: 'a/2#1',
    fenced: ['b:rival'],
  },
  {
    what: 'not even while the current primary is in doubt',
    steps: [[primary('a', 2), standby('b', 2)], [primary('b', 2)], [failed('a')]],
    expect: 'primary-in-doubt',
    fenced: ['b:rival'],
  },
  {
    what: 'nor while it is read-only',
    steps: [
      [primary('a', 2), standby('b', 2)],
      [primary('a', 2, { readOnly: true }), primary('b', 2)],
    ],
    expect: 'primary-read-only',
    fenced: ['b:rival'],
  },
  {
    what: 'but once it is proven demoted',
    steps: [
      [primary('a', 2), standby('b', 2)],
      [standby('a', 2), primary('b', 2)],
    ],
    expect: 'b/2#2',
    reason: 'predecessor-gone',
    cut: '2 demoted',
  },
  {
    what: 'two of them, nobody current',
    steps: [[primary('a', 2), primary('b', 2)]],
    expect: 'split-brain',
    fenced: ['a:rival', 'b:rival'],
    timeline: 2,
  },
  {
    what: 'two above the current primary supersede it, though none is chosen',
    steps: [
      [primary('a', 2), standby('b', 2), standby('c', 2)],
      [primary('b', 3), primary('c', 3)],
    ],
    expect: 'split-brain',
    fenced: ['a:stale-timeline', 'b:rival', 'c:rival'],
    cut: '2 superseded',
    timeline: 3,
  },
  {
    what: 'and the old one does not come back when they are gone',
    steps: [
      [primary('a', 2), standby('b', 2), standby('c', 2)],
      [primary('b', 3), primary('c', 3)],
      [failed('b'), failed('c')],
    ],
    expect: 'no-primary',
    fenced: ['a:stale-timeline'],
    cut: '2 superseded',
  },
  {
    what: 'one of the two stops: the other is elected',
    steps: [[primary('a', 2), primary('b', 2)], [failed('b')]],
    expect: 'a/2#1',
  },

  // Clusters.
  {
    what: 'a foreign server is fenced, primary or not',
    steps: [
      [primary('a', 1), primary('b', 9, { systemId: OTHER_CLUSTER }), standby('c', 1, { systemId: OTHER_CLUSTER })],
    ],
    remembered: { systemId: CLUSTER, timeline: 1 },
    expect: 'a/1#1',
    fenced: ['b:foreign-cluster', 'c:foreign-cluster'],
  },
  {
    what: 'a foreign primary as the only one reachable',
    steps: [
      [primary('a', 1), standby('b', 1)],
      [failed('a'), primary('b', 5, { systemId: OTHER_CLUSTER })],
    ],
    expect: 'primary-in-doubt',
    fenced: ['b:foreign-cluster'],
    timeline: 1,
  },
  {
    what: 'primaries of two clusters at the beginning: no guess',
    steps: [[primary('a', 1), primary('b', 9, { systemId: OTHER_CLUSTER })]],
    expect: 'several-clusters',
  },
  {
    what: 'one goes away: the other is the cluster',
    steps: [[primary('a', 1), primary('b', 9, { systemId: OTHER_CLUSTER })], [failed('b')]],
    expect: 'a/1#1',
  },
  {
    what: 'a standby of another cluster does not keep the primary from being elected',
    steps: [[primary('a', 1), standby('b', 9, { systemId: OTHER_CLUSTER, streaming: true })]],
    expect: 'a/1#1',
    fenced: ['b:foreign-cluster'],
  },

  // Names and addresses.
  {
    what: 'one server under two names is no split brain',
    steps: [[primary('a', 1), primary('b', 1, { address: addressOf('a') })]],
    expect: 'a/1#1',
  },
  {
    what: 'and goes on under its other name, without a cut',
    steps: [[primary('a', 1), primary('b', 1, { address: addressOf('a') })], [failed('a', 'dns')]],
    expect: 'b/1#2',
    reason: 'moved',
  },
  {
    what: 'what it said last counts under both names: promoted',
    steps: [
      [standby('a', 1), standby('b', 1, { address: addressOf('a') }), primary('c', 1)],
      [failed('c'), primary('a', 2, { at: 5 })],
    ],
    expect: 'a/2#2',
    cut: '2 superseded',
  },
  {
    what: 'what it said last counts under both names: demoted',
    steps: [
      [primary('a', 1), primary('b', 1, { address: addressOf('a') })],
      [standby('b', 1, { at: 5, address: addressOf('a') })],
    ],
    expect: 'primary-demoted',
    cut: '2 demoted',
  },
  {
    what: 'a name that moved to a new address: a new route, no cut',
    steps: [[primary('a', 1)], [primary('a', 1, { address: '198.51.100.9' })]],
    expect: 'a/1#2',
    reason: 'moved',
  },

  {
    what: 'but not by what it said there before it fell silent here',
    steps: [
      [primary('a', 1, { at: 1 }), primary('b', 1, { at: 1, address: addressOf('a') })],
      [failed('a', 'query_timeout', 2)],
    ],
    expect: 'primary-in-doubt',
  },

  // Reconfiguration.
  {
    what: 'a removed primary loses the route, its sessions stay',
    steps: [[primary('a', 1), standby('b', 1)], { candidates: ['b'], seen: [] }],
    expect: 'primary-removed',
  },
  {
    what: 'until another server is proven primary',
    steps: [[primary('a', 1), standby('b', 1)], { candidates: ['b'], seen: [primary('b', 2)] }],
    expect: 'b/2#2',
    cut: '2 superseded',
  },
  {
    what: 'removal is proof enough for a successor on the same timeline',
    steps: [[primary('a', 1), standby('b', 1)], { candidates: ['b'], seen: [primary('b', 1)] }],
    expect: 'b/1#2',
    reason: 'predecessor-gone',
    cut: '2 superseded',
  },
  {
    what: 'listed again: as if nothing had been',
    steps: [
      [primary('a', 1), standby('b', 1)],
      { candidates: ['b'], seen: [] },
      { candidates: ['a', 'b'], seen: [primary('a', 1)] },
    ],
    expect: 'a/1#1',
  },
];

const table = suite('election');

testRows(table, ROWS);

table('the address is that of the connection that answered', () => {
  const world = emptyWorld();
  const { verdict } = take(world, [primary('a', 1, { address: '2001:db8::7' })]);
  assert.equal(verdict.kind === 'primary' && verdict.primary.address, { address: '2001:db8::7', port: 5432 });
});

table.run();
