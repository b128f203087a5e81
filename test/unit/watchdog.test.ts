// SPDX-License-Identifier: MIT

import { createLogger } from '#src/log.js';
import { silentWorkers, Watchdog } from '#src/watchdog.js';
import { FakeTimers } from '../helpers/fake-timers.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('watchdog');

/** A data plane of which workers can be made to hang, under a watchdog of 3 s (a tick per second). */
function setUp(workers: number, intervalMs = 3000) {
  const timers = new FakeTimers();
  const beats = Array.from({ length: workers }, () => 0n);
  const seen = { hanging: new Set<number>(), broken: false, pings: 0, sentAt: [] as number[], log: [] as string[] };
  const watchdog = new Watchdog({
    intervalMs,
    timers,
    logger: createLogger({ level: 'debug', journal: true, write: (line) => seen.log.push(line.trimEnd()) }),
    beats: () => {
      if (seen.broken) throw new Error('data plane is closed');
      return [...beats];
    },
    ping: () => {
      seen.pings += 1;
      for (const worker of beats.keys()) if (!seen.hanging.has(worker)) beats[worker] = (beats[worker] ?? 0n) + 1n;
    },
    send: () => seen.sentAt.push(timers.now()),
  });
  return { timers, seen, watchdog };
}

const TABLE: readonly (readonly [what: string, before: bigint[], after: bigint[], silent: number[]])[] = [
  ['all advanced', [1n, 2n], [2n, 9n], []],
  ['one stands still', [1n, 2n], [1n, 3n], [0]],
  ['all stand still', [1n, 2n], [1n, 2n], [0, 1]],
  ['a worker without history must have answered once', [], [0n, 1n], [0]],
  ['counts beyond 2^53', [2n ** 53n], [2n ** 53n + 1n], []],
];

for (const [what, before, after, silent] of TABLE) {
  test(`silent workers: ${what}`, () => {
    assert.equal(silentWorkers(before, after), silent);
  });
}

test('pings go out at a third of the interval while all workers answer', () => {
  const { timers, seen, watchdog } = setUp(2);
  watchdog.start();
  timers.advance(5000);
  assert.equal(seen.sentAt, [1000, 2000, 3000, 4000, 5000]);
  assert.equal(seen.log, []);
});

test('one hanging worker stops the pings; it is named once; they go on when it answers', () => {
  const { timers, seen, watchdog } = setUp(4);
  watchdog.start();
  timers.advance(1000);
  seen.hanging.add(2); // it has answered the heartbeat asked for at 1000
  timers.advance(4000);
  assert.equal(seen.sentAt, [1000, 2000]);
  assert.equal(seen.log, ['<3>no heartbeat from a worker, so systemd gets no watchdog ping workers=2']);
  seen.hanging.clear();
  timers.advance(2000); // asked again at 6000, seen at 7000
  assert.equal(seen.sentAt, [1000, 2000, 7000]);
  assert.equal(seen.log.slice(1), ['<5>every worker answers its heartbeat again workers=2']);
});

test('a worker that hangs from the start gives no ping at all', () => {
  const { timers, seen, watchdog } = setUp(2);
  seen.hanging.add(0).add(1);
  watchdog.start();
  timers.advance(10_000);
  assert.equal(seen.sentAt, []);
  assert.match(seen.log.join(), /workers=0,1/);
});

test('a JS loop that stood still sends late, not twice', () => {
  const { timers, seen, watchdog } = setUp(1);
  const skewed = timers.after.bind(timers);
  timers.after = (delayMs, run) => skewed(delayMs + 2000, run);
  watchdog.start();
  timers.advance(6000);
  assert.equal(seen.sentAt, [3000, 6000]);
});

test('no workers prove nothing', () => {
  const { timers, seen, watchdog } = setUp(0);
  watchdog.start();
  timers.advance(3000);
  assert.equal(seen.sentAt, []);
  assert.match(seen.log.join(), /workers=all/);
});

test('a data plane that throws gives no ping and no crash', () => {
  const { timers, seen, watchdog } = setUp(1);
  watchdog.start();
  seen.broken = true;
  timers.advance(2000);
  assert.equal(seen.sentAt, []);
  assert.match(seen.log.join(), /watchdog check failed reason="data plane is closed"/);
  seen.broken = false;
  timers.advance(1000);
  assert.equal(seen.sentAt, [3000]);
});

test('no interval, no timer; close is idempotent and final', () => {
  const off = setUp(1, 0);
  off.watchdog.start();
  assert.is(off.timers.pending + off.seen.pings, 0);
  const on = setUp(1);
  on.watchdog.start();
  on.watchdog.start();
  assert.is(on.timers.pending, 1, 'starting twice is starting once');
  on.watchdog.close();
  on.watchdog.close();
  assert.is(on.timers.pending, 0);
});

test.run();
