// SPDX-License-Identifier: MIT
// When orders are taken, when a drain has the process end, and since when things are as
// they are.

import { ControlDesk } from '#src/control/desk.js';
import type { DataPlane } from '#src/dataplane.js';
import type { DataPlaneStats } from '#src/dataplane-stats.js';
import type { Verdict } from '#src/election.js';
import { GatewayError } from '#src/errors.js';
import { createLogger } from '#src/log.js';
import { FakeTimers } from '../helpers/fake-timers.js';
import { candidate } from '../helpers/observations.js';
import { NONE, PRIMARY, proven, statusInput } from '../helpers/status-input.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('control desk');

class Bench {
  readonly timers = new FakeTimers();
  active = 1;
  held = 0;
  acceptPauses = 0n;
  drainsTold = 0;
  /** When it was told to end. */
  readonly stoppedAt: number[] = [];
  verdict: Verdict | undefined;
  readonly #log: string[] = [];
  readonly desk = new ControlDesk({
    facts: () => ({ ...statusInput(), verdict: this.verdict }),
    slots: { find: () => undefined },
    dataPlane: {
      stopAccepting: () => undefined,
      stats: () => this.stats,
      recovery: { kept: true },
    } as unknown as DataPlane,
    timers: this.timers,
    logger: createLogger({ level: 'debug', write: (line) => this.#log.push(line) }),
    stop: () => {
      this.stoppedAt.push(this.timers.now());
    },
    onHold: () => undefined,
    onDrain: () => {
      this.drainsTold += 1;
    },
    version: '1',
  } as unknown as ConstructorParameters<typeof ControlDesk>[0]);

  constructor(opened = true) {
    if (opened) this.desk.opened();
  }

  get stats(): DataPlaneStats {
    const { active, held, acceptPauses } = this;
    return { ...statusInput().stats, active, held, acceptPauses };
  }

  logged(message: string): number {
    return this.#log.filter((line) => line.includes(message)).length;
  }

  decide(verdict: Verdict): void {
    this.verdict = verdict;
    const now = this.timers.now();
    const outcome = { lastPrimary: undefined, decidedInMs: undefined, failover: undefined };
    this.desk.decided(verdict, { since: now, cause: 'the test says so' }, outcome, now);
  }

  /** When the verdict became what it is, in whole seconds since the desk is there. */
  get verdictSince(): number {
    const { started_at: started, uptime_seconds: uptime, verdict } = this.desk.status();
    return Math.round((Date.parse(verdict.since) - Date.parse(started) + this.timers.now()) / 1000 - uptime);
  }
}

test('a stop in the midst of it waits as it is configured; after its time sessions have been waited for', () => {
  const bench = new Bench();
  const { desk, timers } = bench;
  assert.equal([desk.drained, desk.draining, bench.drainsTold], [false, false, 0]);
  desk.drain({ seconds: 60, exit: false });
  assert.equal([desk.draining, bench.drainsTold], [true, 1]);
  timers.advance(59_999);
  assert.is(desk.drained, false);
  timers.advance(1);
  assert.equal([desk.drained, desk.draining], [true, true], 'for nobody is accepted again');
});

test('nothing can be ordered before clients are accepted, nor when it has ended', () => {
  const bench = new Bench(false);
  const refusal = (): unknown => {
    try {
      bench.desk.drain({ seconds: 60, exit: true });
      return 'none';
    } catch (error) {
      return error instanceof GatewayError ? `${error.code}: ${error.message}` : error;
    }
  };
  assert.is(refusal(), 'CONTROL_BUSY: the gateway starts');
  bench.desk.opened();
  assert.is(refusal(), 'none');
  bench.desk.close();
  assert.is(refusal(), 'CONTROL_BUSY: the gateway stops');
});

test('with nobody left it ends, once who waits for it has had time to see that', () => {
  const bench = new Bench();
  bench.desk.drain({ seconds: 60, exit: true });
  bench.timers.advance(10_000);
  assert.equal(bench.stoppedAt, []);
  bench.active = 0;
  bench.timers.advance(299);
  assert.equal(bench.stoppedAt, []);
  bench.timers.advance(1000);
  assert.is(bench.stoppedAt.length, 1);
  const [at = 0] = bench.stoppedAt;
  assert.ok(at >= 10_300 && at <= 10_350, String(at));
  assert.is(bench.logged('all sessions have ended'), 1);
  assert.is(bench.timers.pending, 0);
});

test('who becomes a session meanwhile is waited for', () => {
  const bench = new Bench();
  bench.active = 0;
  bench.desk.drain({ seconds: 60, exit: true });
  bench.timers.advance(100);
  bench.held = 1;
  bench.timers.advance(30_000);
  assert.equal(bench.stoppedAt, []);
  bench.held = 0;
  bench.timers.advance(400);
  assert.is(bench.stoppedAt.length, 1);
});

test('with sessions it ends when its time is over, at once', () => {
  const bench = new Bench();
  bench.desk.drain({ seconds: 2, exit: true });
  bench.timers.advance(1999);
  assert.equal(bench.stoppedAt, []);
  bench.timers.advance(51);
  assert.is(bench.stoppedAt.length, 1);
  assert.is(bench.logged('sessions were waited for long enough'), 1);
  assert.is(bench.timers.pending, 0);
});

test('who shall stay does not end', () => {
  const bench = new Bench();
  bench.active = 0;
  bench.desk.drain({ seconds: 2, exit: false });
  bench.timers.advance(10_000);
  assert.equal(bench.stoppedAt, []);
  assert.is(bench.logged('all sessions have ended'), 1);
  assert.is(bench.timers.pending, 0);
});

test('what the data plane lacked is told for five minutes, and from when it was counted', () => {
  const bench = new Bench();
  bench.decide(PRIMARY);
  const told = (): readonly string[] => bench.desk.status().problems.filter((problem) => problem.includes('run out'));
  assert.equal(told(), []);
  bench.acceptPauses = 2n;
  bench.desk.counted(bench.stats);
  bench.timers.advance(300_000);
  assert.is(told().length, 1);
  bench.timers.advance(1);
  assert.equal(told(), []);
});

const FENCED = [{ candidate: candidate('b'), reason: 'stale-timeline', detail: 'old' }] as const;
const AFTER_SECONDS: readonly (readonly [what: string, before: Verdict, after: Verdict, since: number])[] = [
  ['an old primary that is fenced leaves the primary what it is', PRIMARY, { ...PRIMARY, fenced: FENCED }, 10],
  ['so does a cut', PRIMARY, { ...PRIMARY, cut: { belowEpoch: 7, reason: 'superseded' } }, 10],
  ['another primary', PRIMARY, { ...PRIMARY, epoch: 8 }, 50],
  ['the loss of it', PRIMARY, NONE, 50],
  ['another reason to have none is the same outage', NONE, { ...NONE, reason: 'primary-demoted' }, 10],
  ['the end of an outage', NONE, PRIMARY, 50],
];

for (const [what, before, after, since] of AFTER_SECONDS) {
  test(`since when: ${what}`, () => {
    const bench = new Bench();
    assert.is(bench.verdictSince, 0, 'nothing is known since the start');
    bench.timers.advance(10_000);
    bench.decide(before);
    assert.is(bench.verdictSince, 10);
    bench.timers.advance(40_000);
    bench.decide(after);
    bench.timers.advance(5000);
    assert.is(bench.verdictSince, since);
  });
}

test('failovers are counted beyond those that are remembered', () => {
  const { desk } = new Bench();
  const doubt = { since: 0, cause: 'the test says so' };
  const failover = { old: proven('b', 2), new: proven('a', 3), doubt, decidedInMs: 1, cut: 0, held: 0 };
  for (let count = 0; count < 120; count += 1) {
    desk.decided(PRIMARY, doubt, { lastPrimary: failover.old, decidedInMs: 1, failover }, 0);
  }
  const { total, failovers } = desk.failovers();
  const { failovers: counted, last_failover: last } = desk.status();
  assert.equal([total, failovers.length, counted], [120, 100, 120]);
  assert.is(last?.new, 'a:5432');
});

test.run();
