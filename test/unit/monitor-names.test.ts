// SPDX-License-Identifier: MIT
// The monitor with names of several addresses: whom it watches, and that nothing is in
// doubt only because a name has got another address. `n/a` is the one of n's addresses
// that is a's.

import { ProbeFault } from '#src/probe/failure.js';
import { addressOf, candidate, failed, primary, standby } from '../helpers/observations.js';
import { assert, suite } from '../helpers/suite.js';
import { bench, isResolved, PROBE } from '../helpers/monitor-bench.js';
import type { Bench } from '../helpers/monitor-bench.js';

const test = suite('monitor, names');

interface NamesBench extends Bench {
  /** A look-up of n ends: with the addresses of these, or in vain. */
  readonly lookUp: (...labels: string[]) => Promise<void>;
}

/** n and c are configured. The resolver is asked when the test has it so, as a prober would. */
function namesBench(): NamesBench {
  let answer: readonly string[] = [];
  const given = bench(['n', 'c'], { lookup: () => Promise.resolve(answer) });
  return {
    ...given,
    lookUp: async (...labels) => {
      answer = labels.map(addressOf);
      const prober = given.monitor.candidates().find(({ host }) => host === 'n');
      if (prober === undefined) throw new Error('n is no candidate');
      const label = prober.address === undefined ? 'n' : `n/${String.fromCharCode(Number(prober.address.slice(8)))}`;
      const found = given.prober(label).options.resolver.addresses(new AbortController().signal);
      await found.catch(() => undefined);
      await given.settle();
    },
  };
}

/** n has the address of a alone, which is the primary on timeline 1; c is a standby. */
async function calmNames(): Promise<NamesBench> {
  const calm = namesBench();
  calm.monitor.start();
  await calm.lookUp('a');
  calm.prober('n').always = primary('n', 1, { address: addressOf('a') });
  calm.prober('n').answer(primary('n', 1, { address: addressOf('a') }));
  calm.prober('c').always = standby('c', 1);
  calm.prober('c').answer(standby('c', 1));
  await calm.settle();
  assert.equal(calm.verdicts, ['n#1 first-primary']);
  assert.equal(calm.watched, [], 'one address is no news');
  return calm;
}

/** n has two addresses: that of a, which is the primary, and that of b. */
async function calmPair(): Promise<NamesBench> {
  const calm = await calmNames();
  await calm.lookUp('b', 'a');
  calm.prober('n/a').always = primary('n/a', 1);
  calm.prober('n/b').always = standby('n/b', 1);
  calm.prober('n/a').answer(primary('n/a', 1));
  calm.prober('n/b').answer(standby('n/b', 1));
  await calm.settle();
  return calm;
}

test('the first round waits for each address that a name turns out to have', async () => {
  const { monitor, prober, verdicts, watched, settle, lookUp } = namesBench();
  monitor.start();
  prober('c').answer(standby('c', 1));
  await lookUp('b', 'a');
  assert.equal(watched, ['n/a n/b c']);
  assert.ok(prober('n').closed);
  assert.ok(prober('n/a').running && prober('n/b').running);
  prober('n').answer(primary('n', 1, { address: addressOf('b') }));
  await settle();
  assert.equal(verdicts, [], 'what the name said counts no more');
  prober('n/a').answer(standby('n/a', 1));
  await settle();
  assert.equal(verdicts, []);
  assert.not.ok(await isResolved(monitor.firstRound));
  prober('n/b').answer(primary('n/b', 1));
  await settle();
  assert.equal(verdicts, ['n/b#1 first-primary']);
});

test('a second address: the new one is probed at once, nothing is in doubt, nobody is cut', async () => {
  const { prober, verdicts, watched, suspicions, last, pass, lookUp } = await calmNames();
  await pass(500);
  await lookUp('b', 'a');
  assert.equal(watched, ['n/a n/b c']);
  assert.equal(prober('n/b').begun, [500]);
  assert.equal(verdicts, ['n#1 first-primary', 'n/a#2 moved']);
  assert.is(last()?.cut, null);
  assert.equal(suspicions, []);
});

test('and back to one', async () => {
  const { monitor, prober, verdicts, watched, suspicions, last, lookUp } = await calmPair();
  await lookUp('a');
  assert.equal(watched, ['n/a n/b c', 'n c']);
  assert.equal(verdicts, ['n#1 first-primary', 'n/a#2 moved', 'n#3 moved']);
  assert.is(last()?.cut, null);
  assert.equal(suspicions, []);
  assert.ok(prober('n/a').closed && prober('n/b').closed);
  assert.equal([...monitor.observations().keys()], ['n:5432', 'c:5432']);
});

test('kept addresses keep their connections, and a resolver that takes turns changes nothing', async () => {
  const { prober, verdicts, watched, settle, lookUp } = await calmPair();
  const kept = prober('n/a');
  await lookUp('a', 'b');
  await lookUp('b', 'a', 'b');
  assert.is(watched.length, 1);
  await lookUp('d', 'a');
  assert.equal(watched.slice(1), ['n/a n/d c']);
  await settle();
  assert.is(prober('n/a'), kept);
  assert.not.ok(kept.closed);
  assert.ok(prober('n/b').closed);
  assert.ok(prober('n/d').running);
  assert.is(verdicts.length, 2);
});

test('a look-up that finds nothing leaves the name the addresses that it had', async () => {
  const { watched, verdicts, pass, lookUp } = await calmPair();
  await lookUp();
  await pass(10_000);
  assert.is(watched.length, 1);
  assert.is(verdicts.length, 2);
});

test('a dead address delays no other, and rests by itself', async () => {
  const { prober, pass } = await calmPair();
  prober('n/b').always = undefined;
  await pass(6000);
  assert.equal(prober('n/a').begun.slice(-3), [2000, 4000, 6000]);
  prober('n/b').answer(failed('n/b', 'connect_timeout'));
  prober('n/b').always = failed('n/b');
  await pass(20_000);
  assert.equal(prober('n/b').begun.slice(-4), [2000, 8000, 12_000, 20_000]);
  assert.is(prober('n/a').begun.length, 14);
});

test('a failover behind one name', async () => {
  const { prober, verdicts, pass, last } = await calmPair();
  prober('n/a').always = failed('n/a');
  prober('n/b').always = primary('n/b', 2);
  await pass(2050);
  assert.is(verdicts.at(-1), 'n/b#3 higher-timeline');
  assert.equal(last()?.cut, { belowEpoch: 3, reason: 'superseded' });
});

test('split brain behind one name', async () => {
  const { prober, verdicts, pass, last } = await calmPair();
  prober('n/b').always = primary('n/b', 1);
  await pass(2000);
  assert.is(verdicts.at(-1), 'n/a#2 moved', 'the primary stays');
  assert.equal(
    last()?.fenced.map((one) => `${one.candidate.name} ${one.reason}`),
    ['n:5432/192.0.2.98 rival'],
  );
});

test('a suspicion is not ended by what was seen before it, under whatever name', async () => {
  const { prober, verdicts, suspicions, settle, lookUp } = await calmNames();
  prober('n').always = undefined;
  prober('n').options.onBroken(new ProbeFault('shutdown', 'FATAL 57P01'));
  await settle();
  assert.equal(suspicions, [true]);
  await lookUp('a', 'b');
  assert.equal(verdicts.slice(1), ['primary-in-doubt'], 'until its address has answered');
  prober('n/a').answer(primary('n/a', 1));
  await settle();
  assert.equal(verdicts.slice(2), ['n/a#2 moved']);
});

test('nor is a doubt: a last word at another address counts no more than it did', async () => {
  const { prober, verdicts, pass, lookUp } = await calmNames();
  await lookUp('a', 'b');
  const same = { startedAt: '1764021110000001' };
  prober('n/a').answer(primary('n/a', 1, same));
  prober('n/b').answer(primary('n/b', 1, same));
  await pass(2000);
  prober('n/b').answer(primary('n/b', 1, same));
  await pass(5);
  prober('n/a').answer(failed('n/a', 'query_timeout'));
  await pass(1);
  assert.is(verdicts.at(-1), 'primary-in-doubt');
  await lookUp('b');
  assert.is(verdicts.at(-1), 'primary-in-doubt');
  prober('n').answer(primary('n', 1, { ...same, address: addressOf('b') }));
  await pass(1);
  assert.is(verdicts.at(-1), 'n#3 moved');
});

test('a name that moves altogether is followed', async () => {
  const { prober, verdicts, watched, settle, last, lookUp } = await calmPair();
  await lookUp('d');
  assert.equal(watched.slice(1), ['n c']);
  assert.is(verdicts.at(-1), 'primary-in-doubt');
  prober('n').answer(primary('n', 1, { address: addressOf('d') }));
  await settle();
  assert.is(verdicts.at(-1), 'n#3 moved');
  assert.is(last()?.cut, null);
});

test('reconfigured: what is known of a name that stays is not forgotten', async () => {
  const { monitor, prober, verdicts, watched } = await calmPair();
  const kept = prober('n/a');
  monitor.reconfigure(['n', 'd'].map(candidate), PROBE);
  assert.equal(watched.slice(1), ['n/a n/b d']);
  assert.is(prober('n/a'), kept);
  monitor.reconfigure(['d'].map(candidate), PROBE);
  assert.equal(watched.slice(2), ['d']);
  assert.is(verdicts.at(-1), 'primary-removed');
});

test('closed: a look-up means nothing any more', async () => {
  const { monitor, prober, verdicts, watched, lookUp } = await calmNames();
  await monitor.close();
  await lookUp('a', 'b');
  assert.equal(watched, []);
  assert.equal(verdicts, ['n#1 first-primary']);
  assert.ok(prober('n').closed);
});

test.run();
