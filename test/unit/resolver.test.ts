// SPDX-License-Identifier: MIT
// Names that are looked up: for each connection, and again while it lives.

import { setImmediate as turn } from 'node:timers/promises';

import { isAmong } from '#src/probe/dial.js';
import { ProbeFault } from '#src/probe/failure.js';
import { LOOK_UP_EVERY_MS, PATIENCE_MS, Resolver } from '#src/probe/resolver.js';
import { FakeTimers } from '../helpers/fake-timers.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('resolver');

const THERE = { address: '10.0.0.1', port: 5432 };

/** The name `db.example`, and a resolver that answers when and what the test says. */
class Bench {
  readonly timers = new FakeTimers();
  readonly told: (readonly string[])[] = [];
  readonly failures: string[] = [];
  readonly #answers: ((addresses: readonly string[] | Error) => void)[] = [];
  readonly resolver = new Resolver({
    host: 'db.example',
    timers: this.timers,
    lookup: () =>
      new Promise((resolve, reject) => {
        this.#answers.push((answer) => (answer instanceof Error ? reject(answer) : resolve(answer)));
      }),
    onFound: (addresses) => this.told.push(addresses),
    onFailed: ({ message }) => this.failures.push(message),
  });

  /** A bench that has found these. */
  static async knowing(...addresses: string[]): Promise<Bench> {
    const bench = new Bench();
    const found = bench.resolver.addresses(new AbortController().signal);
    await bench.answer(addresses);
    assert.equal(await found, addresses);
    return bench;
  }

  /** Look-ups so far. */
  get begun(): number {
    return this.#answers.length;
  }

  get hasMoved(): boolean {
    return this.resolver.hasLeft(THERE);
  }

  /** Time passes, and a probe begins on a connection that there is. */
  probeAfter(ms: number): void {
    this.timers.advance(ms);
    this.resolver.lookUpIfDue();
  }

  /** Ends the last look-up. */
  async answer(answer: readonly string[] | Error): Promise<void> {
    this.#answers.at(-1)?.(answer);
    await turn();
  }
}

test('a look-up every 30 s, at the first probe after that', async () => {
  const bench = await Bench.knowing('10.0.0.1');
  assert.is(LOOK_UP_EVERY_MS, 30_000);
  bench.probeAfter(0);
  bench.probeAfter(29_999);
  assert.is(bench.begun, 1);
  bench.probeAfter(1);
  assert.is(bench.begun, 2);
  bench.resolver.lookUpIfDue();
  assert.is(bench.begun, 2, 'however many are probed by the name');
  await bench.answer(['10.0.0.1']);
  bench.probeAfter(29_999);
  assert.is(bench.begun, 2);
  bench.probeAfter(500);
  assert.is(bench.begun, 3);
  assert.is(bench.timers.pending, 0, 'no timer of its own');
});

test('a name that has the address still has not moved, one that has others has', async () => {
  const bench = new Bench();
  bench.probeAfter(30_000);
  assert.not(bench.hasMoved, 'nothing is known before the answer');
  await bench.answer(['10.0.0.2', '10.0.0.1']);
  assert.not(bench.hasMoved);
  bench.probeAfter(30_000);
  await bench.answer(['10.0.0.2', '10.0.0.3']);
  assert.ok(bench.hasMoved);
});

test('of many addresses, in whatever order, none is overlooked, and none is told twice', async () => {
  const bench = new Bench();
  bench.resolver.lookUp();
  const many = Array.from({ length: 40 }, (_, index) => `10.0.1.${index}`);
  await bench.answer([...many, '10.0.0.1', ...many]);
  assert.not(bench.hasMoved);
  assert.equal(bench.told, [[...many, '10.0.0.1']]);
  assert.equal(bench.resolver.known, [...many, '10.0.0.1']);
});

for (const [what, answer] of [
  ['fails', new Error('EAI_AGAIN')],
  ['finds nothing', []],
] as const) {
  test(`a look-up that ${what} changes nothing; the next is 30 s later`, async () => {
    const bench = await Bench.knowing('10.0.0.1');
    bench.probeAfter(30_000);
    await bench.answer(answer);
    assert.not(bench.hasMoved);
    assert.equal(bench.resolver.known, ['10.0.0.1']);
    bench.probeAfter(2000);
    assert.is(bench.begun, 2);
    bench.probeAfter(28_000);
    assert.is(bench.begun, 3);
    await bench.answer(['10.0.0.2']);
    assert.ok(bench.hasMoved);
    assert.equal(bench.told, [['10.0.0.1'], ['10.0.0.2']]);
  });

  test(`whoever waits for a look-up that ${what} is told so, and may begin another`, async () => {
    const bench = new Bench();
    const { signal } = new AbortController();
    const failure = bench.resolver.addresses(signal).then(
      () => undefined,
      (error: unknown) => error,
    );
    await bench.answer(answer);
    assert.instance(await failure, answer instanceof Error ? Error : ProbeFault);
    void bench.resolver.addresses(signal);
    assert.is(bench.begun, 2);
  });
}

test('one that hangs changes nothing, is not begun again, and serves the next connection', async () => {
  const bench = await Bench.knowing('10.0.0.1');
  bench.probeAfter(30_000);
  for (let minutes = 0; minutes < 5; minutes += 1) bench.probeAfter(60_000);
  assert.is(bench.begun, 2);
  assert.not(bench.hasMoved);
  const found = bench.resolver.addresses(new AbortController().signal);
  assert.is(bench.begun, 2);
  await bench.answer(['10.0.0.2']);
  assert.equal(await found, ['10.0.0.2']);
  assert.ok(bench.hasMoved);
});

for (const [what, answer] of [
  ['fails', new Error('EAI_AGAIN')],
  ['finds nothing', []],
] as const) {
  test(`where addresses are known, a look-up that ${what} keeps nobody from them, and is told`, async () => {
    const bench = await Bench.knowing('10.0.0.1');
    const found = bench.resolver.addresses(new AbortController().signal);
    await bench.answer(answer);
    assert.equal(await found, ['10.0.0.1']);
    assert.is(bench.failures.length, 1);
    assert.is(bench.timers.pending, 0);
    const next = bench.resolver.addresses(new AbortController().signal);
    assert.is(bench.begun, 3, 'each connection asks again');
    await bench.answer(['10.0.0.2']);
    assert.equal(await next, ['10.0.0.2']);
  });
}

test('where none is known yet, a failure is not told but to who waits', async () => {
  const bench = new Bench();
  bench.resolver.lookUp();
  await bench.answer(new Error('EAI_AGAIN'));
  assert.equal(bench.failures, []);
});

test('where addresses are known, nobody waits for a look-up that hangs longer than a moment', async () => {
  const bench = await Bench.knowing('10.0.0.1');
  const found = bench.resolver.addresses(new AbortController().signal);
  bench.timers.advance(PATIENCE_MS - 1);
  assert.is(bench.timers.pending, 1);
  bench.timers.advance(1);
  assert.equal(await found, ['10.0.0.1']);
  await bench.answer(['10.0.0.2']);
  assert.ok(bench.hasMoved, 'what it finds counts all the same');
  assert.equal(bench.told, [['10.0.0.1'], ['10.0.0.2']]);
});

test('whoever gives up before leaves no timer', async () => {
  const bench = await Bench.knowing('10.0.0.1');
  const probe = new AbortController();
  const found = bench.resolver.addresses(probe.signal).catch((error: unknown) => String(error));
  probe.abort(new Error('closed'));
  assert.is(await found, 'Error: closed');
  assert.is(bench.timers.pending, 0);
});

test('one that outlives its probe is for the next, once', async () => {
  const bench = new Bench();
  const probe = new AbortController();
  const given = bench.resolver.addresses(probe.signal).catch((error: unknown) => String(error));
  probe.abort(new Error('late'));
  assert.is(await given, 'Error: late');
  await bench.answer(['10.0.0.1']);
  const { signal } = new AbortController();
  assert.equal(await bench.resolver.addresses(signal), ['10.0.0.1']);
  assert.is(bench.begun, 1);
  void bench.resolver.addresses(signal);
  assert.is(bench.begun, 2);
});

test('unless a later one has found others', async () => {
  const bench = new Bench();
  const probe = new AbortController();
  void bench.resolver.addresses(probe.signal).catch(() => undefined);
  probe.abort(new Error('late'));
  await bench.answer(['10.0.0.1', '10.0.0.2']);
  bench.probeAfter(30_000);
  await bench.answer(['10.0.0.3']);
  const found = bench.resolver.addresses(new AbortController().signal);
  assert.is(bench.begun, 3);
  await bench.answer(['10.0.0.3']);
  assert.equal(await found, ['10.0.0.3']);
});

test('each connection is looked up for, also when another look-up was just over', async () => {
  const bench = await Bench.knowing('10.0.0.1');
  bench.probeAfter(30_000);
  await bench.answer(['10.0.0.1']);
  const found = bench.resolver.addresses(new AbortController().signal);
  assert.is(bench.begun, 3);
  await bench.answer(['10.0.0.2']);
  assert.equal(await found, ['10.0.0.2']);
});

test('connections that need not wait for it make a look-up every 25 ms at most', async () => {
  const bench = new Bench();
  for (let ms = 0; ms < 100; ms += 1) {
    for (let address = 0; address < 8; address += 1) bench.resolver.lookUp();
    await bench.answer(['10.0.0.1', '10.0.0.2']);
    bench.timers.advance(1);
  }
  assert.is(bench.begun, 4);
});

test('nor one for what a slow look-up has just found', async () => {
  const bench = new Bench();
  bench.resolver.lookUp();
  bench.timers.advance(40);
  await bench.answer(['10.0.0.1', '10.0.0.2']);
  bench.resolver.lookUp();
  assert.is(bench.begun, 1);
  bench.timers.advance(25);
  bench.resolver.lookUp();
  assert.is(bench.begun, 2);
});

test('it is told of before anybody who waits goes on', async () => {
  const bench = new Bench();
  const told = bench.resolver.addresses(new AbortController().signal).then(() => bench.told.length);
  await bench.answer(['10.0.0.1', '10.0.0.2']);
  assert.is(await told, 1);
});

test('one that ends after the name was given up is heard by nobody', async () => {
  const bench = await Bench.knowing('10.0.0.1');
  bench.probeAfter(30_000);
  bench.resolver.close();
  await bench.answer(['10.0.0.2']);
  assert.not(bench.hasMoved);
  assert.is(bench.told.length, 1);
  bench.probeAfter(30_000);
  assert.is(bench.begun, 2);
  await bench.answer(new Error('late')); // a rejection that nobody handles would end the test
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
    assert.is(isAmong([found], { address }), same);
    assert.is(isAmong(['192.0.2.1', found], { address }), same);
  });
}

for (const host of ['10.0.0.1', '::ffff:10.0.0.1', '2001:DB8:0::1', 'fe80::1%eth0']) {
  test(`${host} is never looked up`, async () => {
    const lookup = (): never => {
      throw new Error('looked up');
    };
    const resolver = new Resolver({ host, timers: new FakeTimers(), lookup });
    assert.ok(resolver.isAddress);
    assert.equal(await resolver.addresses(new AbortController().signal), [host]);
    resolver.lookUp();
    resolver.lookUpIfDue();
  });
}

test.run();
