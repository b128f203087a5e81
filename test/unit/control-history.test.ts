// SPDX-License-Identifier: MIT
// What is remembered for the telling: failovers with their steps, and how long a hold lasts.

import { FailoverHistory } from '#src/control/failover-history.js';
import { AdministratorHold } from '#src/control/hold.js';
import { MAX_HOLD_MS } from '#src/dataplane.js';
import type { Outcome } from '#src/failovers.js';
import { FakeTimers } from '../helpers/fake-timers.js';
import { NONE, NOON, PRIMARY, proven } from '../helpers/status-input.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('control history');

const DOUBT = { since: 1000, cause: 'the probe connection to b:5432 broke' };
const NOTHING: Outcome = { lastPrimary: undefined, decidedInMs: undefined, failover: undefined };
const FAILOVER: Outcome = {
  lastPrimary: proven('b', 2),
  decidedInMs: 31.44,
  failover: { old: proven('b', 2), new: proven('a', 3), doubt: DOUBT, decidedInMs: 31.44, cut: 5, held: 2 },
};

test('a failover has the times of its steps', () => {
  const history = new FailoverHistory();
  history.decided(NONE, DOUBT, NOTHING, 1010, { now: 1010.2, wall: NOON });
  history.decided(PRIMARY, DOUBT, FAILOVER, 1031.44, { now: 1032, wall: NOON });
  assert.equal(history.list(), [
    {
      at: '2026-11-30T11:59:59.999Z',
      old: 'b:5432',
      new: 'a:5432',
      old_timeline: 2,
      new_timeline: 3,
      cause: DOUBT.cause,
      decided_in_ms: 31.4,
      sessions_cut: 5,
      clients_held: 2,
      steps: [
        { at: '2026-11-30T11:59:59.968Z', step: 'doubt', ms: 0, detail: DOUBT.cause },
        { at: '2026-11-30T11:59:59.978Z', step: 'lost', ms: 10, detail: 'primary-in-doubt: a:5432 does not answer' },
        { at: '2026-11-30T11:59:59.999Z', step: 'proven', ms: 31.4, detail: 'first-primary: a:5432 on timeline 3' },
        { at: '2026-11-30T12:00:00.000Z', step: 'routed', ms: 32, detail: 'new clients go to a:5432 at 192.0.2.97' },
      ],
    },
  ]);
});

test('a doubt that ended well is forgotten', () => {
  const history = new FailoverHistory();
  history.decided(NONE, { since: 1, cause: 'an earlier one' }, NOTHING, 2, { now: 2, wall: NOON });
  history.decided(PRIMARY, { since: 1, cause: 'an earlier one' }, NOTHING, 3, { now: 3, wall: NOON });
  assert.equal(history.list(), []);
  history.decided(PRIMARY, DOUBT, FAILOVER, 1031, { now: 1031, wall: NOON });
  assert.equal(history.list()[0]?.steps.map(({ step, detail }) => `${step} ${detail}`)[0], `doubt ${DOUBT.cause}`);
});

test('the latest comes first, and of too many the oldest go', () => {
  const history = new FailoverHistory();
  for (let count = 0; count < 150; count += 1) {
    const doubt = { since: count, cause: String(count) };
    const { failover } = FAILOVER;
    assert.ok(failover);
    for (let lost = 0; lost < 30; lost += 1) history.decided(NONE, doubt, NOTHING, count, { now: count, wall: NOON });
    history.decided(PRIMARY, doubt, { ...FAILOVER, failover: { ...failover, doubt } }, count, {
      now: count,
      wall: NOON,
    });
  }
  const list = history.list();
  assert.equal([list.length, history.total], [100, 150], 'they are counted all the same');
  assert.equal([list[0]?.cause, list[99]?.cause], ['149', '50']);
  assert.ok((list[0]?.steps.length ?? 0) <= 22);
});

/** A hold, what HOLD_TIMEOUT_MS is now, and what was told of it. */
function setUpHold() {
  const timers = new FakeTimers();
  const changes: boolean[] = [];
  const configured = { ms: 15_000 };
  const hold = new AdministratorHold(
    timers,
    () => configured.ms,
    (expired) => {
      changes.push(expired);
    },
  );
  return { timers, changes, configured, hold };
}

test('a hold ends by itself, once, and a new one of the same time keeps its beginning', () => {
  const { timers, changes, configured, hold } = setUpHold();
  configured.ms = 0;
  assert.is(hold.timeoutMs(15_000), 15_000);
  assert.equal(hold.begin(60), { since: 0, until: 60_000 });
  assert.is(hold.timeoutMs(15_000), 75_000);
  timers.advance(10_000);
  assert.is(hold.timeoutMs(0), 60_000, 'for who came when it began');
  assert.equal(hold.begin(60), { since: 0, until: 70_000 });
  assert.is(hold.timeoutMs(15_000), 85_000, 'for who came when it began');
  timers.advance(60_000);
  assert.equal([changes[0], hold.span], [true, undefined]);
  timers.advance(1);
  assert.is(timers.pending, 0);
  assert.is(hold.end(), false);
});

test('who came while it lasted waits on from its end as long as anybody, and then it is as configured', () => {
  const { timers, changes, hold } = setUpHold();
  hold.begin(600);
  timers.advance(100_000);
  assert.is(hold.end(), true);
  assert.is(hold.timeoutMs(15_000), 115_000);
  timers.advance(14_999);
  assert.is(hold.timeoutMs(15_000), 115_000);
  assert.equal(changes, []);
  timers.advance(1);
  assert.is(hold.timeoutMs(15_000), 15_000);
  assert.equal(changes, [false], 'the data plane is to be told');
  assert.is(timers.pending, 0);
});

test('one that begins in that time takes over who still waits', () => {
  const { timers, changes, hold } = setUpHold();
  hold.begin(100);
  timers.advance(100_000);
  timers.advance(10_000);
  hold.begin(50);
  assert.is(hold.timeoutMs(15_000), 175_000);
  timers.advance(49_999);
  assert.equal(changes, [true], 'the end of the first one’s time told nothing');
});

test('renewed, it has who came first wait for all of it, and then as long as anybody', () => {
  const { timers, hold } = setUpHold();
  hold.begin(600);
  assert.is(hold.timeoutMs(15_000), 615_000);
  timers.advance(540_000);
  assert.equal(hold.begin(600), { since: 0, until: 1_140_000 });
  assert.is(hold.timeoutMs(15_000), 1_155_000);
  timers.advance(600_000);
  assert.is(hold.span, undefined);
  assert.is(hold.timeoutMs(15_000), 1_155_000);
});

test('a hold that is ended is not ended again, and clients never wait for longer than the data plane can be told', () => {
  const { timers, changes, hold } = setUpHold();
  for (let renewals = 0; renewals < MAX_HOLD_MS / 500_000; renewals += 1) {
    hold.begin(600);
    timers.advance(500_000);
  }
  assert.equal(changes, [], 'it has never ended');
  assert.is(hold.timeoutMs(15_000), MAX_HOLD_MS);
  assert.is(hold.end(), true);
  assert.is(hold.span, undefined);
  hold.close();
  timers.advance(1_000_000);
  assert.equal(changes, []);
});

test.run();
