// SPDX-License-Identifier: MIT
// What is told of a change of the primary.

import type { Cut } from '#src/memory.js';
import type { DataPlaneStats } from '#src/dataplane-stats.js';
import type { PrimaryReason, ProvenPrimary, Verdict } from '#src/election.js';
import { Failovers } from '#src/failovers.js';
import { addressOf, candidate, CLUSTER } from '../helpers/observations.js';
import { FakeTimers } from '../helpers/fake-timers.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('failovers');

function proven(host: string, timeline: number): ProvenPrimary {
  return { candidate: candidate(host), address: { address: addressOf(host), port: 5432 }, timeline, systemId: CLUSTER };
}

const NONE: Verdict = { kind: 'none', reason: 'primary-in-doubt', detail: 'x', fenced: [], cut: null };

function primary(
  host: string,
  timeline: number,
  epoch: number,
  cut: Cut | null = null,
  reason: PrimaryReason = 'higher-timeline',
): Verdict {
  return {
    kind: 'primary',
    primary: proven(host, timeline),
    epoch,
    reason,
    detail: 'x',
    fenced: [],
    cut,
  };
}

function superseded(belowEpoch: number): Cut {
  return { belowEpoch, reason: 'superseded' };
}

/** Slots: a has 0, b has 1. */
function setUp(lastPrimary?: ProvenPrimary) {
  const timers = new FakeTimers();
  const counts = { sessions: [0, 0], demoted: 0n, superseded: 0n, lost: 0n, shutdown: 0n, heldEver: 0n };
  const failovers = new Failovers({
    lastPrimary,
    stats: () => {
      const servers = counts.sessions.map((sessions, server) => ({ server, sessions }));
      const { demoted, superseded, lost, shutdown, heldEver } = counts;
      return { servers, heldEver, cut: { demoted, superseded, lost, shutdown } } as unknown as DataPlaneStats;
    },
    timers,
  });
  const decided = (verdict: Verdict, since = timers.now()) => failovers.decided(verdict, { since, cause: 'why' });
  return { timers, counts, decided };
}

test('another server or a higher timeline is a failover; an outage in between is none', () => {
  const { decided } = setUp();
  const verdicts: readonly (readonly [verdict: Verdict, failover: boolean])[] = [
    [NONE, false],
    [primary('a', 1, 1), false], // the first primary
    [NONE, false],
    [primary('a', 1, 1), false], // back again
    [primary('b', 2, 2), true],
    [primary('b', 2, 3), false], // at another address, say
    [NONE, false],
    [primary('a', 3, 4), true],
    [primary('a', 4, 5), true], // it was promoted again
    [primary('a', 4, 5), false], // somebody was fenced
  ];
  assert.equal(
    verdicts.map(([verdict]) => decided(verdict).failover !== undefined),
    verdicts.map(([, failover]) => failover),
  );
});

test('behind one name: the same server at another address is none, another server is one', () => {
  const { decided } = setUp();
  const isFailover = (label: string, epoch: number, reason: PrimaryReason): boolean =>
    decided(primary(label, 1, epoch, null, reason)).failover !== undefined;
  assert.not(isFailover('n', 1, 'first-primary'));
  assert.not(isFailover('n/a', 2, 'moved'), 'the name has got a second address');
  assert.not(isFailover('n/b', 3, 'moved'));
  assert.ok(isFailover('n/c', 4, 'predecessor-gone'));
  decided(NONE);
  assert.not(isFailover('n/c', 5, 'predecessor-gone'), 'it was demoted, and is back');
});

test('the last primary is told also if there was none in between', () => {
  const { decided } = setUp();
  assert.is(decided(primary('a', 1, 1)).lastPrimary, undefined);
  assert.equal(decided(NONE).lastPrimary, proven('a', 1));
  assert.equal(decided(NONE).lastPrimary, proven('a', 1));
  assert.equal(decided(primary('b', 2, 2)).lastPrimary, proven('a', 1));
});

test('a decision takes from the doubt to the proof, whoever is proven', () => {
  const { decided, timers } = setUp();
  const took = (verdict: Verdict, since?: number): number | undefined => decided(verdict, since).decidedInMs;
  timers.advance(500);
  assert.is(took(primary('a', 1, 1), 0), undefined, 'the start is no doubt');
  timers.advance(100);
  assert.is(took(NONE, 600), undefined);
  timers.advance(30);
  assert.is(took(primary('a', 1, 1), 600), 30);
  assert.is(took(primary('a', 1, 1), 600), undefined, 'it is proven already');
  timers.advance(70);
  assert.is(took(primary('b', 2, 2), 650), 50);
});

test('a failover while the gateway was restarted counts, the same primary again does not', () => {
  const moved = setUp(proven('a', 1)).decided(primary('b', 2, 2));
  assert.equal([moved.failover?.old, moved.failover?.new], [proven('a', 1), proven('b', 2)]);
  assert.is(moved.decidedInMs, 0);
  const same = setUp(proven('a', 1)).decided(primary('a', 1, 1));
  assert.equal([same.failover, same.decidedInMs], [undefined, undefined]);
});

test('what is cut: since the doubt, and by the decision itself', () => {
  const { counts, decided } = setUp();
  counts.demoted = 7n; // long ago
  decided(primary('a', 1, 1));
  counts.sessions = [10, 0];
  assert.is(decided(primary('b', 2, 2, superseded(2))).failover?.cut, 10);
  counts.superseded = 10n;
  counts.sessions = [3, 4];
  // Three are on it since it went by another name. Demoted first, which cuts; the successor comes later, when one is left.
  decided({ ...NONE, cut: { belowEpoch: 3, reason: 'demoted' } });
  counts.demoted += 6n;
  counts.sessions = [1, 0];
  assert.is(decided(primary('a', 3, 3, superseded(3))).failover?.cut, 7);
});

test('who had to wait since the doubt', () => {
  const { counts, decided } = setUp();
  counts.heldEver = 5n; // long ago
  decided(primary('a', 1, 1));
  decided(NONE);
  counts.heldEver += 3n;
  assert.is(decided(primary('b', 2, 2, superseded(2))).failover?.held, 3);
  assert.is(decided(primary('a', 3, 3, superseded(3))).failover?.held, 0);
});

test('sessions that ended by themselves, or with a stop, were not cut', () => {
  const { counts, decided } = setUp();
  counts.sessions = [10, 0];
  decided(primary('a', 1, 1));
  decided(NONE);
  counts.sessions = [0, 0];
  counts.shutdown = 5n;
  assert.is(decided(primary('b', 2, 2, superseded(2))).failover?.cut, 0);
});

test('a server under another name keeps its sessions', () => {
  const { counts, decided } = setUp();
  counts.sessions = [10, 0];
  decided(primary('a', 1, 1));
  assert.is(decided(primary('b', 1, 2)).failover?.cut, 0);
});

test.run();
