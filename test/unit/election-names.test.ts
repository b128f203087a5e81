// SPDX-License-Identifier: MIT
// The election where a name has several addresses: of one server, or of several. `n/a` is
// the one of n's addresses that is a's.

import { testRows } from '../helpers/election-table.js';
import type { Row } from '../helpers/election-table.js';
import { addressOf, CLUSTER, failed, OTHER_CLUSTER, primary, standby } from '../helpers/observations.js';
import { suite } from '../helpers/suite.js';

/** Servers, by when they were started. */
const ONE = { startedAt: '1764021110000001' };
const TWO = { startedAt: '1764021110000002' };
const THREE = { startedAt: '1764021110000003' };
/** One with an address that two names lead to. */
const FLOATING = { ...ONE, address: '192.0.2.200' };

const ROWS: readonly Row[] = [
  // One server at two addresses.
  {
    what: 'one server at two addresses is no split brain',
    steps: [[primary('n/a', 1, ONE), primary('n/b', 1, ONE)]],
    expect: 'n/a/1#1',
  },
  {
    what: 'whether they are of one name or of two',
    steps: [[primary('a', 1, ONE), primary('n/b', 1, ONE), standby('c', 1)]],
    expect: 'a/1#1',
  },
  {
    what: 'a start at the same moment makes no server of another cluster the same',
    steps: [[primary('n/a', 1, ONE), primary('n/b', 1, { ...ONE, systemId: OTHER_CLUSTER })]],
    remembered: { systemId: CLUSTER, timeline: 1 },
    expect: 'n/a/1#1',
    fenced: ['n/b:foreign-cluster'],
  },
  {
    what: 'it goes on at its other address, without a cut',
    steps: [
      [primary('n/a', 1, { ...ONE, at: 1 }), primary('n/b', 1, { ...ONE, at: 1 })],
      [failed('n/a', 'unreachable', 2)],
      [primary('n/b', 1, { ...ONE, at: 3 })],
    ],
    expect: 'n/b/1#2',
    reason: 'moved',
  },
  {
    what: 'when it has answered there since it fell silent here',
    steps: [
      [primary('n/a', 1, { ...ONE, at: 1 }), primary('n/b', 1, { ...ONE, at: 1 })],
      [failed('n/a', 'unreachable', 2)],
    ],
    expect: 'primary-in-doubt',
  },
  {
    what: 'and does not swing back',
    steps: [
      [primary('n/a', 1, { ...ONE, at: 1 }), primary('n/b', 1, { ...ONE, at: 1 })],
      [failed('n/a', 'unreachable', 2)],
      [primary('n/b', 1, { ...ONE, at: 3 })],
      [primary('n/a', 1, { ...ONE, at: 4 })],
    ],
    expect: 'n/b/1#2',
    reason: 'still-primary',
  },
  {
    what: 'what it said last counts at both addresses: promoted',
    steps: [
      [standby('n/a', 1, ONE), standby('n/b', 1, ONE), primary('c', 1)],
      [failed('c'), primary('n/b', 2, { ...ONE, at: 5 })],
    ],
    expect: 'n/b/2#2',
    cut: '2 superseded',
  },
  {
    what: 'a late answer under another name, asked for before its promotion, proves nothing',
    steps: [
      [standby('a', 1, FLOATING), standby('v', 1, FLOATING), primary('c', 1)],
      [failed('c'), primary('a', 2, { ...FLOATING, at: 5 })],
      [standby('v', 1, { ...FLOATING, at: 9, tookMs: 5 })],
    ],
    expect: 'a/2#2',
    cut: '2 superseded',
  },
  {
    what: 'one that was asked for since does',
    steps: [
      [standby('a', 1, FLOATING), standby('v', 1, FLOATING), primary('c', 1)],
      [failed('c'), primary('a', 2, { ...FLOATING, at: 5 })],
      [standby('v', 2, { ...FLOATING, at: 9, tookMs: 4 })],
    ],
    expect: 'primary-demoted',
    cut: '3 demoted',
  },
  {
    what: 'demoted at one address: what it said at the other was before its restart',
    steps: [
      [primary('n/a', 1, { ...ONE, at: 1 }), primary('n/b', 1, { ...ONE, at: 1 })],
      [standby('n/a', 1, { ...TWO, at: 5 })],
    ],
    expect: 'primary-demoted',
    cut: '2 demoted',
  },
  {
    what: 'also if that answer was only there later',
    steps: [
      [primary('n/a', 1, { ...ONE, at: 1 }), primary('n/b', 1, { ...ONE, at: 1 })],
      [standby('n/a', 1, { ...TWO, at: 5 })],
      [primary('n/b', 1, { ...ONE, at: 7, tookMs: 3 }), standby('n/a', 1, { ...TWO, at: 8 })],
    ],
    expect: 'primary-demoted',
    cut: '2 demoted',
  },
  {
    what: 'asked for since: it was not restarted, and its old address has become the one of a standby',
    steps: [
      [primary('v', 1, FLOATING), primary('a', 1, ONE), standby('b', 1, TWO)],
      [standby('v', 1, { ...TWO, address: FLOATING.address, at: 5 })],
      [primary('a', 1, { ...ONE, at: 7, tookMs: 2 }), standby('v', 1, { ...TWO, address: FLOATING.address, at: 8 })],
    ],
    expect: 'a/1#2',
    reason: 'predecessor-gone',
    cut: '2 demoted',
  },
  {
    what: 'demoted, what another name says of the same address was before that',
    steps: [
      [primary('v', 1, FLOATING), primary('a', 1, FLOATING)],
      [standby('v', 1, { ...FLOATING, ...TWO, at: 5, tookMs: 1 })],
      [standby('c', 1)],
    ],
    expect: 'primary-demoted',
    cut: '2 demoted',
  },
  {
    what: 'until it is promoted again',
    steps: [
      [primary('n/a', 1, { ...ONE, at: 1 }), primary('n/b', 1, { ...ONE, at: 1 })],
      [standby('n/a', 1, { ...TWO, at: 5 })],
      [primary('n/b', 2, { ...TWO, at: 6 })],
    ],
    expect: 'n/b/2#2',
    cut: '2 demoted',
  },
  {
    what: 'recovery at another address than that of the sessions is no proof',
    steps: [
      [primary('n/a', 1, { ...ONE, at: 1 }), primary('n/b', 1, { ...ONE, at: 1 })],
      [failed('n/a', 'refused', 5), standby('n/b', 1, { ...TWO, at: 6 })],
    ],
    expect: 'primary-in-doubt',
  },

  // Its address is another server's, and it lives on at its own.
  {
    what: 'where a server answers that was left behind, sessions may be on it',
    steps: [
      [primary('v', 2, FLOATING), primary('a', 2, ONE)],
      [primary('v', 1, { ...TWO, address: FLOATING.address, at: 5 }), failed('a')],
    ],
    expect: 'primary-in-doubt',
    cut: '2 superseded',
    fenced: ['v:stale-timeline'],
  },
  {
    what: 'or one of another cluster',
    steps: [
      [primary('v', 2, FLOATING), primary('a', 2, ONE)],
      [primary('v', 2, { ...TWO, systemId: OTHER_CLUSTER, address: FLOATING.address, at: 5 }), failed('a')],
    ],
    expect: 'primary-in-doubt',
    cut: '2 superseded',
    fenced: ['v:foreign-cluster'],
  },
  {
    what: 'the primary goes on at its own',
    steps: [
      [primary('v', 2, FLOATING), primary('a', 2, ONE)],
      [primary('v', 1, { ...TWO, address: FLOATING.address, at: 5 })],
    ],
    expect: 'a/2#2',
    reason: 'moved',
    cut: '2 superseded',
    fenced: ['v:stale-timeline'],
  },
  {
    what: 'or where it was, when that has come back',
    steps: [
      [primary('v', 2, FLOATING), failed('a')],
      [primary('v', 1, { ...TWO, address: FLOATING.address, at: 5 })],
      [primary('v', 2, { ...FLOATING, at: 6 })],
    ],
    expect: 'v/2#2',
    reason: 'moved',
    cut: '2 superseded',
  },
  {
    what: 'but nobody takes over from it: it may live on where nobody looks',
    steps: [
      [primary('v', 2, FLOATING), standby('c', 2)],
      [primary('v', 1, { ...TWO, address: FLOATING.address, at: 5 }), primary('c', 2, { ...THREE, at: 6 })],
    ],
    expect: 'primary-in-doubt',
    cut: '2 superseded',
    fenced: ['v:stale-timeline', 'c:rival'],
  },
  {
    what: 'the address that it left too, when it answers again',
    steps: [
      [primary('v', 2, FLOATING), primary('a', 2, ONE)],
      [failed('v', 'query_timeout', 5), primary('a', 2, { ...ONE, at: 6 })],
      [primary('v', 1, { ...TWO, address: FLOATING.address, at: 7 })],
    ],
    expect: 'a/2#2',
    reason: 'still-primary',
    cut: '2 superseded',
    fenced: ['v:stale-timeline'],
  },
  {
    what: 'also by another name: what was said there before counts no more',
    steps: [
      [primary('v', 2, FLOATING), primary('w', 2, FLOATING)],
      [primary('w', 1, { ...TWO, address: FLOATING.address, at: 7 })],
    ],
    expect: 'primary-in-doubt',
    cut: '2 superseded',
    fenced: ['w:stale-timeline'],
  },
  {
    what: 'by an answer that was asked for since',
    steps: [
      [primary('v', 2, FLOATING), primary('a', 2, ONE)],
      [failed('v', 'query_timeout', 5), primary('a', 2, { ...ONE, at: 6 })],
      [primary('v', 1, { ...TWO, address: FLOATING.address, at: 7, tookMs: 2 })],
    ],
    expect: 'a/2#2',
    fenced: ['v:stale-timeline'],
  },

  // Several servers behind one name.
  {
    what: 'the primary behind a name, wherever it is among the addresses',
    steps: [[standby('n/a', 3, ONE), primary('n/b', 3, TWO), failed('n/c')]],
    expect: 'n/b/3#1',
  },
  {
    what: 'a failover behind one name',
    steps: [[primary('n/a', 1, ONE), standby('n/b', 1, TWO)], [failed('n/a')], [primary('n/b', 2, TWO)]],
    expect: 'n/b/2#2',
    reason: 'higher-timeline',
    cut: '2 superseded',
  },
  {
    what: 'the old primary comes back behind it',
    steps: [
      [primary('n/a', 1, ONE), standby('n/b', 1, TWO)],
      [failed('n/a'), primary('n/b', 2, TWO)],
      [failed('n/b'), primary('n/a', 1, ONE)],
    ],
    expect: 'primary-in-doubt',
    cut: '2 superseded',
    fenced: ['n/a:stale-timeline'],
  },
  {
    what: 'split brain behind one name',
    steps: [[primary('n/a', 2, ONE), primary('n/b', 2, TWO)]],
    expect: 'split-brain',
    fenced: ['n/a:rival', 'n/b:rival'],
  },
  {
    what: 'who is not known to be one server is two',
    steps: [[primary('n/a', 2), primary('n/b', 2)]],
    expect: 'split-brain',
    fenced: ['n/a:rival', 'n/b:rival'],
  },
  {
    what: 'a rival behind the name of the primary does not replace it',
    steps: [[primary('n/a', 2, ONE), standby('n/b', 2, TWO)], [primary('n/b', 2, TWO)]],
    expect: 'n/a/2#1',
    fenced: ['n/b:rival'],
  },
  {
    what: 'not even while the primary is in doubt',
    steps: [[primary('n/a', 2, ONE), standby('n/b', 2, TWO)], [primary('n/b', 2, TWO)], [failed('n/a')]],
    expect: 'primary-in-doubt',
    fenced: ['n/b:rival'],
  },

  // From one address to several and back.
  {
    what: 'a name that gets a second address: a new route, no cut',
    steps: [
      [primary('n', 1, { ...ONE, address: addressOf('a') })],
      { candidates: ['n/a', 'n/b'], seen: [primary('n/a', 1, ONE), standby('n/b', 1, TWO)] },
    ],
    expect: 'n/a/1#2',
    reason: 'moved',
  },
  {
    what: 'before the primary is heard again nothing is proven against it',
    steps: [
      [primary('n', 1, { ...ONE, address: addressOf('a') })],
      { candidates: ['n/a', 'n/b'], seen: [standby('n/b', 1, TWO)] },
    ],
    expect: 'primary-in-doubt',
  },
  {
    what: 'and back: the same',
    steps: [
      [primary('n', 1, { ...ONE, address: addressOf('a') })],
      { candidates: ['n/a', 'n/b'], seen: [primary('n/a', 1, ONE), standby('n/b', 1, TWO)] },
      { candidates: ['n'], seen: [primary('n', 1, { ...ONE, address: addressOf('a') })] },
    ],
    expect: 'n/1#3',
    reason: 'moved',
  },
  {
    what: 'one of several moves to a new address, with a restart: a new route, no cut',
    steps: [
      [primary('n/a', 1, ONE), standby('n/b', 1, TWO)],
      { candidates: ['n/b', 'n/c'], seen: [primary('n/c', 1, THREE)] },
    ],
    expect: 'n/c/1#2',
    reason: 'moved',
  },
  {
    what: 'not while the name leads to the old address too',
    steps: [
      [primary('n/a', 1, ONE), standby('n/b', 1, TWO)],
      { candidates: ['n/a', 'n/b', 'n/c'], seen: [failed('n/a'), primary('n/c', 1, THREE)] },
    ],
    expect: 'primary-in-doubt',
    fenced: ['n/c:rival'],
  },
  {
    what: 'nor if it is not clear which one it has become',
    steps: [
      [primary('n/a', 1, ONE), standby('n/b', 1, TWO)],
      { candidates: ['n/b', 'n/c'], seen: [primary('n/b', 1, TWO), primary('n/c', 1, THREE)] },
    ],
    expect: 'split-brain',
    fenced: ['n/b:rival', 'n/c:rival'],
  },
  {
    what: 'a name without the address of its primary is on the list all the same',
    steps: [[primary('n/a', 1, ONE), standby('n/b', 1, TWO)], { candidates: ['n'], seen: [standby('n', 1, TWO)] }],
    expect: 'primary-in-doubt',
  },
  {
    what: 'until the name is removed',
    steps: [[primary('n/a', 1, ONE), standby('n/b', 1, TWO), standby('c', 1)], { candidates: ['c'], seen: [] }],
    expect: 'primary-removed',
  },
];

const table = suite('election, names');

testRows(table, ROWS);

table.run();
