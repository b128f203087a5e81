// SPDX-License-Identifier: MIT
// The monitor with probers and time in the test's hands: when whom it probes, and
// what it tells.

import { ProbeFault } from '#src/probe/failure.js';
import { candidate, failed, primary, standby } from '../helpers/observations.js';
import { assert, suite } from '../helpers/suite.js';
import { PROBE, bench, calmBench, isResolved, probesIn } from '../helpers/monitor-bench.js';

const test = suite('monitor');

test('the first decision waits for every candidate, answered or failed', async () => {
  const { monitor, prober, verdicts, settle } = bench(['a', 'b', 'c']);
  monitor.start();
  prober('a').answer(primary('a', 2));
  await settle();
  prober('b').answer(standby('b', 2));
  await settle();
  assert.equal(verdicts, []);
  assert.not.ok(await isResolved(monitor.firstRound));
  prober('c').answer(failed('c', 'connect_timeout'));
  await settle();
  assert.equal(verdicts, ['a#1 first-primary']);
  assert.ok(await isResolved(monitor.firstRound));
});

test('a remembered cluster alone does not end the first round: a promotion may have been missed', async () => {
  const remembered = { systemId: '7000000000000000001', timeline: 2 };
  const { monitor, prober, verdicts, settle } = bench(['a', 'b'], { remembered });
  monitor.start();
  prober('a').answer(primary('a', 2));
  await settle();
  assert.equal(verdicts, []);
  prober('b').answer(primary('b', 3));
  await settle();
  assert.equal(verdicts, ['b#1 first-primary']);
  assert.ok(await isResolved(monitor.firstRound));
});

test('with memory nothing is decided against the primary before it was asked', async () => {
  const remembered = { systemId: '7000000000000000001', timeline: 2 };
  const { monitor, prober, verdicts, settle } = bench(['a', 'b'], { remembered });
  monitor.start();
  prober('b').answer(standby('b', 2));
  await settle();
  assert.equal(verdicts, []);
  assert.not.ok(await isResolved(monitor.firstRound));
  prober('a').answer(failed('a'));
  await settle();
  assert.equal(verdicts, ['no-primary']);
  assert.ok(await isResolved(monitor.firstRound));
});

test('the first round ends and is told of when nobody is primary', async () => {
  const { monitor, prober, verdicts, settle } = bench(['a']);
  monitor.start();
  prober('a').answer(failed('a'));
  await settle();
  assert.equal(verdicts, ['no-primary']);
  assert.ok(await isResolved(monitor.firstRound));
});

test('calm: one timer, everybody at the interval', async () => {
  const { timers, prober, pass, verdicts } = await calmBench();
  assert.is(timers.pending, 1);
  await pass(10_000);
  for (const host of ['a', 'b', 'c']) assert.equal(prober(host).begun.slice(1), [2000, 4000, 6000, 8000, 10_000]);
  assert.is(timers.pending, 1);
  assert.equal(verdicts, ['a#1 first-primary']);
});

test('a slow candidate delays nobody', async () => {
  const { prober, pass } = await calmBench();
  prober('c').always = undefined;
  await pass(6000);
  assert.is(prober('a').begun.length, 4);
  assert.is(prober('c').begun.length, 2);
  assert.ok(prober('c').running);
});

test('a failed primary starts the search: everybody, 25 ms after the end of the last probe', async () => {
  const { prober, pass, verdicts } = await calmBench();
  prober('a').always = failed('a');
  await pass(2000);
  assert.equal(verdicts, ['a#1 first-primary', 'primary-in-doubt']);
  assert.is(await probesIn(prober('a'), () => pass(1000)), 40);
  prober('b').always = primary('b', 2);
  await pass(25);
  assert.equal(verdicts.slice(2), ['b#2 higher-timeline']);
  assert.is(await probesIn(prober('b'), () => pass(1900)), 0);
  assert.is(await probesIn(prober('b'), () => pass(200)), 1);
});

test('a search that lasts slows down by steps', async () => {
  const { prober, pass } = await calmBench(['a', 'b']);
  prober('a').always = failed('a');
  await pass(2000 + 10_000);
  assert.is(await probesIn(prober('b'), () => pass(1000)), 10);
  await pass(50_000);
  assert.is(await probesIn(prober('b'), () => pass(1000)), 4);
});

test('but is never slower than the calm cadence', async () => {
  const { prober, pass } = await calmBench(['a', 'b'], 50);
  prober('a').always = failed('a');
  await pass(61_000);
  assert.is(await probesIn(prober('b'), () => pass(1000)), 20);
});

test('every answer is decided on when it comes', async () => {
  const { prober, pass, verdicts } = await calmBench();
  prober('a').always = failed('a');
  prober('b').always = undefined;
  prober('c').always = undefined;
  await pass(2100);
  prober('c').answer(primary('c', 2));
  await pass(1);
  assert.is(verdicts.at(-1), 'c#2 higher-timeline');
  assert.ok(prober('b').running);
});

test('the primary answers again: the same epoch, calm again', async () => {
  const { prober, pass, verdicts, timers } = await calmBench();
  prober('a').always = failed('a', 'query_timeout');
  await pass(2010);
  prober('a').always = primary('a', 1);
  await pass(50);
  assert.equal(verdicts, ['a#1 first-primary', 'primary-in-doubt', 'a#1 still-primary']);
  await pass(50);
  assert.is(timers.pending, 1);
});

test('a broken connection to the primary starts a round at once and the search until it has answered', async () => {
  const { prober, pass, verdicts, settle, timers } = await calmBench();
  await pass(500);
  prober('a').always = undefined;
  prober('a').options.onBroken(new ProbeFault('shutdown', 'FATAL 57P01'));
  await settle();
  for (const host of ['a', 'b', 'c']) assert.is(prober(host).begun.at(-1), 500);
  assert.is(await probesIn(prober('b'), () => pass(100)), 4);
  assert.equal(verdicts, ['a#1 first-primary'], 'a broken connection alone is no proof');
  prober('a').answer(primary('a', 1));
  await settle();
  await pass(25);
  assert.is(timers.pending, 1);
  assert.is(await probesIn(prober('b'), () => pass(1900)), 0);
});

test('suspicion is told when it begins, and when the primary has answered a probe begun since then', async () => {
  const { monitor, prober, pass, settle, suspicions } = await calmBench();
  prober('a').always = undefined;
  await pass(2100);
  assert.equal(suspicions, []);
  monitor.triggerRound('a backend connection failed');
  monitor.triggerRound('another one');
  assert.equal(suspicions, [true], 'at once, and once');
  prober('a').answer(primary('a', 1));
  await settle();
  assert.equal(suspicions, [true], 'that answer may be from before');
  prober('a').answer(primary('a', 1));
  await settle();
  assert.equal(suspicions, [true, false]);
});

test('suspicion ends with the verdict that it was about', async () => {
  const { prober, pass, settle, suspicions, verdicts } = await calmBench();
  await pass(500);
  prober('a').always = undefined;
  prober('a').options.onBroken(new ProbeFault('shutdown', 'FATAL 57P01'));
  await settle();
  assert.equal(suspicions, [true]);
  prober('b').always = primary('b', 2);
  await pass(30);
  assert.equal(verdicts, ['a#1 first-primary', 'b#2 higher-timeline']);
  assert.equal(suspicions, [true, false], 'the new primary is not under suspicion');
});

test('the suspicion of a standby is none', async () => {
  const { prober, pass, suspicions } = await calmBench();
  await pass(500);
  prober('b').options.onBroken(new ProbeFault('broken', 'closed'));
  await pass(100);
  assert.equal(suspicions, []);
});

test('a probe that began before the event does not settle it', async () => {
  const { monitor, prober, pass, settle } = await calmBench();
  prober('a').always = undefined;
  await pass(2100);
  assert.ok(prober('a').running);
  monitor.triggerRound('a backend connection failed');
  await settle();
  prober('a').answer(primary('a', 1));
  await settle();
  assert.is(prober('a').begun.at(-1), 2100, 'asked again at once');
  assert.ok(prober('a').running);
  assert.is(await probesIn(prober('b'), () => pass(100)), 4);
});

test('many events make one round, and rounds are 25 ms apart', async () => {
  const { monitor, prober, pass } = await calmBench();
  await pass(100);
  for (let event = 0; event < 1000; event += 1) monitor.triggerRound('again');
  await pass(1);
  assert.equal(prober('b').begun.slice(1), [100]);
  const flood = async (): Promise<void> => {
    for (let ms = 0; ms < 1000; ms += 1) {
      monitor.triggerRound('again');
      await pass(1);
    }
  };
  assert.is(await probesIn(prober('b'), flood), 40);
});

test('a primary that drops each new connection makes no busy loop', async () => {
  const { prober, pass } = await calmBench(['a', 'b']);
  const { options, begun } = prober('a');
  const flap = async (): Promise<void> => {
    for (let ms = 0; ms < 1000; ms += 1) {
      if (begun.length > 0 && !prober('a').running) options.onBroken(new ProbeFault('broken', 'closed'));
      await pass(1);
    }
  };
  assert.is(await probesIn(prober('a'), flap), 40);
});

test('a standby that does makes one round a second', async () => {
  const { prober, pass } = await calmBench(['a', 'b']);
  await pass(500);
  const { options } = prober('b');
  const flap = async (): Promise<void> => {
    for (let ms = 0; ms < 1000; ms += 1) {
      options.onBroken(new ProbeFault('broken', 'closed'));
      await pass(1);
    }
  };
  assert.is(await probesIn(prober('a'), flap), 1);
});

test('proof of demotion is told with the cut', async () => {
  const { prober, pass, verdicts, last } = await calmBench();
  prober('a').always = standby('a', 1);
  await pass(2000);
  assert.is(verdicts.at(-1), 'primary-demoted');
  assert.equal(last()?.cut, { belowEpoch: 2, reason: 'demoted' });
});

test('the old primary coming back is told once, and its reason stays that of the election', async () => {
  const { prober, pass, verdicts, last } = await calmBench();
  prober('a').always = failed('a');
  prober('b').always = primary('b', 2);
  await pass(2000);
  prober('a').always = primary('a', 1);
  await pass(10_000);
  assert.is(verdicts.at(-1), 'b#2 higher-timeline');
  assert.equal(
    last()?.fenced.map((one) => `${one.candidate.host} ${one.reason}`),
    ['a stale-timeline'],
  );
  assert.is(verdicts.filter((verdict) => verdict === 'b#2 higher-timeline').length, 2);
});

test('each verdict tells since when there was doubt, and why', async () => {
  const { prober, pass, doubts } = await calmBench();
  assert.equal(doubts, ['0 ms: start']);
  // A failed probe, then a promotion.
  prober('a').always = failed('a', 'query_timeout');
  await pass(2000);
  prober('b').always = primary('b', 2);
  await pass(25);
  const cause = 'a:5432: query_timeout: as the test says';
  assert.equal(doubts.slice(1), [`0 ms: ${cause}`, `25 ms: ${cause}`]);
});

test('a doubt begins with what first speaks against the primary, and ends when it has answered', async () => {
  const { monitor, prober, pass, settle, doubts } = await calmBench();
  await pass(100);
  prober('a').always = undefined;
  monitor.triggerRound('a backend connection failed');
  await pass(30);
  monitor.triggerRound('another one');
  prober('a').answer(primary('a', 1));
  await pass(1);
  prober('a').answer(primary('a', 1));
  await pass(300);
  assert.equal(doubts, ['0 ms: start'], 'it was unfounded');

  monitor.triggerRound('once more');
  await pass(40);
  prober('a').answer(failed('a'));
  await settle();
  await pass(60);
  prober('a').answer(failed('a'));
  prober('b').always = primary('b', 2);
  await pass(30);
  assert.equal(doubts.slice(1), ['40 ms: once more', '125 ms: once more']);
});

test('an orderly switchover is no doubt before it is a decision', async () => {
  const { prober, pass, doubts } = await calmBench();
  prober('b').always = primary('b', 2);
  await pass(2000);
  assert.equal(doubts.slice(1), ['0 ms: higher-timeline']);
});

test('what is to be remembered is stored before it is told', async () => {
  const { prober, pass, store, monitor } = bench(['a']);
  monitor.start();
  prober('a').answer(primary('a', 7));
  await pass(1);
  assert.equal(store.load().cluster, { systemId: '7000000000000000001', timeline: 7 });
});

test('reconfigured: kept candidates keep their connections, removed ones are closed, added ones probed at once', async () => {
  const { monitor, prober, pass, verdicts, settle } = await calmBench();
  const kept = prober('a');
  const removed = prober('c');
  await pass(300);
  monitor.reconfigure(['a', 'b', 'd'].map(candidate), PROBE);
  await settle();
  assert.is(prober('a'), kept);
  assert.not.ok(kept.closed);
  assert.ok(removed.closed);
  assert.equal(prober('d').begun, [300]);
  assert.is(kept.begun.length, 1);
  assert.equal([...monitor.observations().keys()], ['a:5432', 'b:5432']);
  assert.equal(verdicts, ['a#1 first-primary']);
});

test('reconfigured with another log-in: all connect anew, and the route stays meanwhile', async () => {
  const { monitor, prober, pass, verdicts, settle } = await calmBench();
  const old = prober('a');
  old.always = undefined;
  await pass(2000);
  assert.ok(old.running);
  monitor.reconfigure(['a', 'b', 'c'].map(candidate), { ...PROBE, password: 'another' });
  await settle();
  assert.ok(old.closed);
  assert.is.not(prober('a'), old);
  assert.ok(prober('a').running);
  old.answer(failed('a', 'auth'));
  await settle();
  assert.equal(verdicts, ['a#1 first-primary'], 'what the old settings saw counts no more');
});

test('reconfigured with other times: they count at once', async () => {
  const { monitor, prober, pass } = await calmBench();
  monitor.reconfigure(['a', 'b', 'c'].map(candidate), { ...PROBE, checkEveryMs: 100, queryTimeoutMs: 7 });
  await pass(1000);
  assert.is(prober('a').begun.length, 11);
  assert.is(prober('a').options.settings().queryTimeoutMs, 7);
});

test('reconfigured again and again: the interval goes on', async () => {
  const { monitor, prober, pass } = await calmBench();
  for (let count = 0; count < 14; count += 1) {
    await pass(500);
    monitor.reconfigure(['a', 'b', count % 2 === 0 ? 'd' : 'c'].map(candidate), PROBE);
  }
  assert.equal(prober('a').begun.slice(1), [2000, 4000, 6000]);
});

test('reconfigured without the primary: no route, no cut', async () => {
  const { monitor, verdicts, last } = await calmBench();
  monitor.reconfigure(['b', 'c'].map(candidate), PROBE);
  assert.is(verdicts.at(-1), 'primary-removed');
  assert.is(last()?.cut, null);
});

test('closed: nothing is probed and nothing is told any more', async () => {
  const { monitor, prober, pass, verdicts, timers } = await calmBench();
  prober('a').always = undefined;
  await pass(2000);
  await monitor.close();
  await monitor.close();
  prober('a').answer(failed('a'));
  monitor.triggerRound('too late');
  prober('b').options.onBroken(new ProbeFault('broken', 'closed'));
  await pass(10_000);
  assert.is(timers.pending, 0);
  assert.ok(prober('a').closed && prober('b').closed);
  assert.equal(verdicts, ['a#1 first-primary']);
});

test('closed before the first round has ended: nobody waits for ever', async () => {
  const { monitor } = bench(['a']);
  monitor.start();
  await monitor.close();
  assert.ok(await isResolved(monitor.firstRound));
});

test('a candidate that flaps gets a bounded number of lines', async () => {
  const { prober, pass, lines } = await calmBench(['a', 'b'], 50);
  for (let turn = 0; turn < 200; turn += 1) {
    prober('b').always = turn % 2 === 0 ? failed('b') : standby('b', 1);
    await pass(50);
  }
  const about = lines.filter((line) => line.includes('b:5432'));
  assert.ok(about.length >= 6 && about.length <= 12, `${String(about.length)} lines in 10 s`);
});

test.run();
