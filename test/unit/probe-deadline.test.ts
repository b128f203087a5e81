// SPDX-License-Identifier: MIT
// The bound in time of a probe, on a loop that runs and on one that has stood still.

import { setImmediate as turn } from 'node:timers/promises';

import { startDeadline } from '#src/probe/deadline.js';
import type { Timers } from '#src/timers.js';
import { FakeTimers } from '../helpers/fake-timers.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('deadline');

/** Whose timers are late: the loop stands still, and what fell due meanwhile comes after that. */
class StallingTimers implements Timers {
  readonly #timers = new FakeTimers();
  #lateMs = 0;

  now(): number {
    return this.#timers.now() + this.#lateMs;
  }

  after(delayMs: number, run: () => void): () => void {
    return this.#timers.after(delayMs, run);
  }

  advance(byMs: number): void {
    this.#timers.advance(byMs);
  }

  /** Time passes, and nothing runs. */
  stall(ms: number): void {
    this.#lateMs += ms;
  }
}

function begin(timers: Timers, outer = new AbortController()): { signal: AbortSignal; close: () => void } {
  return startDeadline(timers, 500, outer.signal, () => new Error('late'));
}

test('on a loop that runs: when it is time, and not before', async () => {
  const timers = new StallingTimers();
  const { signal } = begin(timers);
  timers.advance(499);
  await turn();
  assert.not(signal.aborted);
  timers.advance(1);
  await turn();
  assert.is(String(signal.reason), 'Error: late');
});

test('what has come by then is read first', async () => {
  const timers = new StallingTimers();
  const deadline = begin(timers);
  timers.advance(500);
  assert.not(deadline.signal.aborted, 'the sockets have their turn before');
  deadline.close();
  await turn();
  assert.not(deadline.signal.aborted);
});

test('a loop that is a little late has no more time', async () => {
  const timers = new StallingTimers();
  const { signal } = begin(timers);
  timers.stall(99);
  timers.advance(500);
  await turn();
  assert.ok(signal.aborted);
});

test('after a stall the whole time runs once more, but only once', async () => {
  const timers = new StallingTimers();
  const { signal } = begin(timers);
  timers.stall(60_000);
  timers.advance(500);
  await turn();
  assert.not(signal.aborted);
  timers.advance(499);
  await turn();
  assert.not(signal.aborted);
  timers.stall(60_000);
  timers.advance(1);
  await turn();
  assert.ok(signal.aborted, 'a loop that stands still again and again must not wait for ever');
});

test('closed in the time that was given again: nothing is aborted', async () => {
  const timers = new StallingTimers();
  const deadline = begin(timers);
  timers.stall(1000);
  timers.advance(500);
  deadline.close();
  timers.advance(1000);
  await turn();
  assert.not(deadline.signal.aborted);
});

test('the outer signal ends it at once, with its own reason', () => {
  const outer = new AbortController();
  const { signal } = begin(new StallingTimers(), outer);
  outer.abort(new Error('closed'));
  assert.is(String(signal.reason), 'Error: closed');
});

test.run();
