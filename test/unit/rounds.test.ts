// SPDX-License-Identifier: MIT
// Candidates that are down while all is well: how they rest. What else there is to
// rounds and searches is in monitor.test.ts, as the monitor asks for them.

import { ProbeFault } from '#src/probe/failure.js';
import { candidate, failed, primary, standby } from '../helpers/observations.js';
import { assert, suite } from '../helpers/suite.js';
import { PROBE, calmBench, probesIn } from '../helpers/monitor-bench.js';

const test = suite('rounds');

test('a standby that is down is probed after longer and longer rests, and logged once', async () => {
  const { prober, pass, lines, timers } = await calmBench();
  prober('c').always = failed('c');
  await pass(40_000);
  assert.equal(prober('c').begun.slice(1), [2000, 4000, 8000, 16_000, 26_000, 36_000]);
  assert.is(prober('b').begun.length, 21);
  assert.is(timers.pending, 2);
  assert.is(lines.filter((line) => line.includes('does not answer')).length, 1);
});

test('its first answer ends that: it keeps the interval of the others, and the next time it rests shortly again', async () => {
  const { prober, pass, timers } = await calmBench();
  prober('c').always = failed('c');
  await pass(15_000);
  prober('c').always = standby('c', 1);
  await pass(5000);
  assert.equal(prober('c').begun.slice(-3), [16_000, 18_000, 20_000]);
  assert.is(timers.pending, 1);
  prober('c').always = failed('c');
  await pass(8000);
  assert.equal(prober('c').begun.slice(-3), [22_000, 24_000, 28_000]);
});

test('two that went down together do not come back in step', async () => {
  const chances = [0, 0.75, 0.25, 0.5];
  const { prober, pass } = await calmBench(['a', 'b', 'c'], 2000, () => chances.shift() ?? 0.5);
  prober('b').always = failed('b');
  prober('c').always = failed('c');
  await pass(8000);
  assert.equal(prober('b').begun.slice(1), [2000, 3600, 7200]);
  assert.equal(prober('c').begun.slice(1), [2000, 4200]);
});

test('a rest that is measured from the end of a probe, not from the rounds: a silent host is not asked without end', async () => {
  const { prober, pass } = await calmBench(['a', 'b'], 200);
  prober('b').always = undefined;
  await pass(1000);
  prober('b').answer(failed('b', 'connect_timeout'));
  assert.is(await probesIn(prober('b'), () => pass(199)), 0);
  assert.is(await probesIn(prober('b'), () => pass(1)), 1);
});

test('whoever rests is probed in a requested round, and goes on resting as before', async () => {
  const { monitor, prober, pass, settle } = await calmBench();
  prober('c').always = failed('c');
  await pass(9000);
  prober('b').options.onBroken(new ProbeFault('broken', 'closed'));
  await settle();
  assert.is(prober('c').begun.at(-1), 9000);
  await pass(8000);
  assert.equal(prober('c').begun.slice(-2), [9000, 17_000]);
  monitor.reconfigure(['a', 'b', 'c'].map(candidate), { ...PROBE, checkEveryMs: 100 });
  await pass(1000);
  assert.equal(prober('c').begun.slice(-2), [17_000, 17_800], 'other settings count at once');
});

test('nobody rests in a search, and what it saw makes no rest longer', async () => {
  const { prober, pass } = await calmBench();
  prober('c').always = failed('c');
  await pass(9000);
  prober('a').always = failed('a');
  await pass(1010);
  assert.is(await probesIn(prober('c'), () => pass(1000)), 40);
  prober('a').always = primary('a', 1);
  await pass(100);
  const last = prober('c').begun.at(-1) ?? 0;
  await pass(6000);
  assert.equal(
    prober('c').begun.filter((at) => at > last),
    [last + 2000, last + 6000],
  );
});

test.run();
