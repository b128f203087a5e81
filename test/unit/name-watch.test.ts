// SPDX-License-Identifier: MIT
// Names that are looked up again while a connection lives.

import { getEventListeners } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';

import { isAmong, Resolver } from '#src/probe/dial.js';
import { LOOK_UP_EVERY_MS, NameWatch } from '#src/probe/name-watch.js';
import { FakeTimers } from '../helpers/fake-timers.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('name watch');

/** A connection to 10.0.0.1 by the name `db.example`, and the resolver, which answers when and what the test says. */
class Bench {
  readonly timers = new FakeTimers();
  readonly #life = new AbortController();
  readonly #answers: ((addresses: readonly string[] | Error) => void)[] = [];
  readonly resolver = new Resolver('db.example', () => {
    return new Promise((resolve, reject) => {
      this.#answers.push((answer) => (answer instanceof Error ? reject(answer) : resolve(answer)));
    });
  });
  readonly watch = new NameWatch({
    resolver: this.resolver,
    address: { address: '10.0.0.1', port: 5432 },
    timers: this.timers,
    signal: this.#life.signal,
  });

  /** How many wait for a look-up. */
  get waiting(): number {
    return getEventListeners(this.#life.signal, 'abort').length;
  }

  /** Look-ups so far. */
  get begun(): number {
    return this.#answers.length;
  }

  /** Time passes, and a probe begins. */
  probeAfter(ms: number): void {
    this.timers.advance(ms);
    this.watch.lookUpIfDue();
  }

  /** Ends the last look-up. */
  async answer(answer: readonly string[] | Error): Promise<void> {
    this.#answers.at(-1)?.(answer);
    await turn();
  }

  end(): void {
    this.#life.abort(new Error('closed'));
  }
}

test('a look-up every 30 s, at the first probe after that', async () => {
  const bench = new Bench();
  assert.is(LOOK_UP_EVERY_MS, 30_000);
  bench.probeAfter(0);
  bench.probeAfter(29_999);
  assert.is(bench.begun, 0);
  bench.probeAfter(1);
  assert.is(bench.begun, 1);
  await bench.answer(['10.0.0.1']);
  bench.probeAfter(29_999);
  assert.is(bench.begun, 1);
  bench.probeAfter(500);
  assert.is(bench.begun, 2);
  assert.is(bench.timers.pending, 0, 'no timer of its own');
});

test('a name that has the address still has not moved, one that has others has', async () => {
  const bench = new Bench();
  bench.probeAfter(30_000);
  assert.not(bench.watch.hasMoved, 'nothing is known before the answer');
  await bench.answer(['10.0.0.2', '10.0.0.1']);
  assert.not(bench.watch.hasMoved);
  bench.probeAfter(30_000);
  await bench.answer(['10.0.0.2', '10.0.0.3']);
  assert.ok(bench.watch.hasMoved);
});

test('of many addresses, in whatever order, none is overlooked', async () => {
  const bench = new Bench();
  bench.probeAfter(30_000);
  await bench.answer([...Array.from({ length: 40 }, (_, index) => `10.0.1.${index}`), '10.0.0.1']);
  assert.not(bench.watch.hasMoved);
});

for (const [what, answer] of [
  ['fails', new Error('EAI_AGAIN')],
  ['finds nothing', []],
] as const) {
  test(`a look-up that ${what} changes nothing; the next is 30 s later`, async () => {
    const bench = new Bench();
    bench.probeAfter(30_000);
    await bench.answer(answer);
    assert.not(bench.watch.hasMoved);
    bench.probeAfter(2000);
    assert.is(bench.begun, 1);
    bench.probeAfter(28_000);
    assert.is(bench.begun, 2);
    await bench.answer(['10.0.0.2']);
    assert.ok(bench.watch.hasMoved);
  });
}

test('one that hangs changes nothing, is not begun again, and serves the next connection', async () => {
  const bench = new Bench();
  bench.probeAfter(30_000);
  for (let minutes = 0; minutes < 5; minutes += 1) bench.probeAfter(60_000);
  assert.is(bench.begun, 1);
  assert.is(bench.waiting, 1);
  assert.not(bench.watch.hasMoved);
  const found = bench.resolver.addresses(new AbortController().signal);
  assert.is(bench.begun, 1);
  await bench.answer(['10.0.0.2']);
  assert.equal(await found, ['10.0.0.2']);
  assert.ok(bench.watch.hasMoved);
});

test('one that ends after the prober is heard by nobody', async () => {
  const bench = new Bench();
  bench.probeAfter(30_000);
  bench.end();
  await bench.answer(new Error('late')); // a rejection that nobody handles would end the test
  assert.not(bench.watch.hasMoved);
  bench.probeAfter(30_000);
  assert.is(bench.begun, 1);
});

/** What is looked up, the peer of the connection -> whether they are the same. */
const PAIRS: readonly (readonly [string, string, boolean])[] = [
  ['10.0.0.1', '10.0.0.1', true],
  ['::ffff:10.0.0.1', '10.0.0.1', true],
  ['::FFFF:10.0.0.1', '10.0.0.1', true],
  ['10.0.0.1', '::ffff:10.0.0.1', true],
  ['10.0.0.11', '10.0.0.1', false],
  ['::ffff:10.0.0.2', '10.0.0.1', false],
  ['2001:db8::1', '2001:db8::1', true],
  ['2001:db8::1', '2001:db8::2', false],
  ['fe80::1', 'fe80::1%eth0', true],
  ['fe80::1%2', 'fe80::1%eth0', true],
  ['fe80::2', 'fe80::1%eth0', false],
  ['::1', '127.0.0.1', false],
];

for (const [found, address, same] of PAIRS) {
  test(`${found} is ${same ? '' : 'not '}${address}`, () => {
    assert.is(isAmong([found], { address, port: 5432 }), same);
    assert.is(isAmong(['192.0.2.1', found], { address, port: 5432 }), same);
  });
}

for (const host of ['10.0.0.1', '::ffff:10.0.0.1', '2001:DB8:0::1', 'fe80::1%eth0']) {
  test(`${host} is never looked up`, async () => {
    const resolver = new Resolver(host, () => Promise.reject(new Error('looked up')));
    assert.ok(resolver.isAddress);
    assert.equal(await resolver.addresses(new AbortController().signal), [host]);
  });
}

test.run();
