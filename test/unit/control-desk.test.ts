// SPDX-License-Identifier: MIT
// When orders are taken, and when a drain has the process end.

import { ControlDesk } from '#src/control/desk.js';
import type { DataPlane } from '#src/dataplane.js';
import { GatewayError } from '#src/errors.js';
import { createLogger } from '#src/log.js';
import { FakeTimers } from '../helpers/fake-timers.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('control desk');

class Bench {
  readonly timers = new FakeTimers();
  active = 1;
  held = 0;
  /** When it was told to end. */
  readonly stoppedAt: number[] = [];
  readonly #log: string[] = [];
  readonly desk = new ControlDesk({
    // Of the whole, a drain needs these two.
    dataPlane: {
      stopAccepting: () => undefined,
      stats: () => ({ active: this.active, held: this.held }),
    } as unknown as DataPlane,
    timers: this.timers,
    logger: createLogger({ level: 'debug', write: (line) => this.#log.push(line) }),
    stop: () => {
      this.stoppedAt.push(this.timers.now());
    },
    onHold: () => undefined,
    version: '1',
  } as unknown as ConstructorParameters<typeof ControlDesk>[0]);

  constructor(opened = true) {
    if (opened) this.desk.opened();
  }

  logged(message: string): number {
    return this.#log.filter((line) => line.includes(message)).length;
  }
}

test('a stop in the midst of it waits as it is configured; after its time sessions have been waited for', () => {
  const { desk, timers } = new Bench();
  assert.is(desk.drained, false);
  desk.drain({ seconds: 60, exit: false });
  timers.advance(59_999);
  assert.is(desk.drained, false);
  timers.advance(1);
  assert.is(desk.drained, true);
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

test.run();
