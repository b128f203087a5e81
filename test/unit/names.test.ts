// SPDX-License-Identifier: MIT
// Which candidates there are where names have several addresses.

import { MAX_CANDIDATES, parseCandidates } from '#src/candidates.js';
import type { Candidate } from '#src/candidates.js';
import { createLogger } from '#src/log.js';
import { expanded, MAX_ADDRESSES, Names } from '#src/names.js';
import { FakeTimers } from '../helpers/fake-timers.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('names');

function configured(text: string): readonly Candidate[] {
  const list = parseCandidates(text.split(' '));
  if (list.kind === 'bad') throw new Error(list.problems.join());
  return list.candidates;
}

function numbered(count: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => `10.0.0.${index + 1}`);
}

/** Configured, what the names are known to have -> names of the candidates. */
const ROWS: readonly (readonly [
  what: string,
  text: string,
  known: Readonly<Record<string, readonly string[]>>,
  expected: string,
])[] = [
  ['nothing is known', 'db:5433 10.0.0.9', {}, 'db:5433 10.0.0.9:5432'],
  ['one address', 'db', { db: ['10.0.0.1'] }, 'db:5432'],
  ['one address, twice', 'db', { db: ['10.0.0.1', '::ffff:10.0.0.1'] }, 'db:5432'],
  [
    'several, in the order of the configuration and of their numbers',
    'db:5433 x db2',
    { db: ['2001:db8::2', '10.0.0.10', '2001:db8::1', '10.0.0.9'], db2: ['10.0.1.2', '10.0.1.1'] },
    'db:5433/10.0.0.9 db:5433/10.0.0.10 db:5433/2001:db8::1 db:5433/2001:db8::2 x:5432 db2:5432/10.0.1.1 db2:5432/10.0.1.2',
  ],
  [
    'a name with two ports is two items',
    'db:1 db:2',
    { db: ['10.0.0.1', '10.0.0.2'] },
    'db:1/10.0.0.1 db:1/10.0.0.2 db:2/10.0.0.1 db:2/10.0.0.2',
  ],
];

for (const [what, text, known, expected] of ROWS) {
  test(what, () => {
    for (const turn of [(all: readonly string[]) => all, (all: readonly string[]) => [...all].reverse()]) {
      const { candidates, leftOut } = expanded(configured(text), (host) => turn(known[host] ?? []));
      assert.is(candidates.map(({ name }) => name).join(' '), expected);
      assert.equal(leftOut, []);
    }
  });
}

test('an address of a name goes by its host and port too', () => {
  const { candidates } = expanded(configured('db:5433'), () => ['10.0.0.2', '10.0.0.1']);
  assert.equal(candidates[0], { host: 'db', port: 5433, address: '10.0.0.1', name: 'db:5433/10.0.0.1' });
});

test('of one name no more than eight are watched: the same ones, whatever the order', () => {
  assert.is(MAX_ADDRESSES, 8);
  for (const addresses of [numbered(11), [...numbered(11)].reverse()]) {
    const { candidates, leftOut } = expanded(configured('db c'), (host) => (host === 'db' ? addresses : []));
    assert.equal(
      candidates.map(({ address }) => address),
      [...numbered(8), undefined],
    );
    assert.equal(leftOut, [{ name: 'db:5432', addresses: 3 }]);
  }
});

test('all together never more than there is room for, and of each name one at least', () => {
  const names = Array.from({ length: 60 }, (_, index) => `n${index}`).join(' ');
  const { candidates, leftOut } = expanded(configured(names), () => numbered(3));
  assert.is(candidates.length, MAX_CANDIDATES);
  assert.equal(
    candidates.slice(0, 7).map(({ name }) => name),
    [...['n0', 'n1'].flatMap((host) => numbered(3).map((address) => `${host}:5432/${address}`)), 'n2:5432'],
  );
  assert.equal(leftOut[0], { name: 'n2:5432', addresses: 2 });
  assert.is(leftOut.length, 58);
});

test('what is left out is said once, and not with each look-up', async () => {
  const lines: string[] = [];
  const timers = new FakeTimers();
  const names = new Names({
    onFound: () => names.candidates(configured('db')),
    logger: createLogger({ level: 'info', write: (line) => lines.push(line), journal: true }),
    timers,
    lookup: () => Promise.resolve(numbered(10)),
  });
  for (let look = 0; look < 20; look += 1) {
    await names.resolver('db').addresses(new AbortController().signal);
    timers.advance(30_000);
  }
  assert.equal(lines, ['<4>a name has more addresses than are watched candidate=db:5432 left_out=2\n']);
});

test('one look-up at a time for each name, whatever its ports; what is no candidate any more is forgotten', async () => {
  const asked: string[] = [];
  const timers = new FakeTimers();
  let found = 0;
  const names = new Names({
    onFound: () => {
      found += 1;
    },
    logger: createLogger({ level: 'info', write: () => undefined, journal: true }),
    timers,
    lookup: (host) => {
      asked.push(host);
      return Promise.resolve(numbered(2));
    },
  });
  const both = configured('db:1 db:2');
  for (const { host } of both) names.resolver(host).lookUp();
  assert.equal(asked, ['db']);
  await names.resolver('db').addresses(new AbortController().signal);
  assert.is(found, 1);
  assert.is(names.candidates(both).length, 4);
  const old = names.resolver('db');
  assert.is(names.candidates(configured('other')).length, 1);
  await old.addresses(new AbortController().signal);
  assert.is(found, 1);
  assert.is(names.candidates(both).length, 2);
});

test('a name that cannot be looked up any more is a warning, once, and a notice when it can be again', async () => {
  const lines: string[] = [];
  const timers = new FakeTimers();
  let answer: readonly string[] | Error = ['10.0.0.1', '10.0.0.2'];
  const names = new Names({
    onFound: () => undefined,
    logger: createLogger({ level: 'info', write: (line) => lines.push(line.trimEnd()), journal: true }),
    timers,
    lookup: () => (answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer)),
  });
  const look = async (): Promise<readonly string[]> => {
    timers.advance(30_000);
    return names.resolver('db').addresses(new AbortController().signal);
  };
  await look();
  answer = new Error('db: EAI_AGAIN');
  for (let times = 0; times < 3; times += 1) assert.equal(await look(), ['10.0.0.1', '10.0.0.2']);
  answer = ['10.0.0.3'];
  for (let times = 0; times < 3; times += 1) assert.equal(await look(), ['10.0.0.3']);
  assert.equal(lines, [
    '<4>a name cannot be looked up: the addresses that it had are used host=db addresses="10.0.0.1 10.0.0.2" error="db: EAI_AGAIN"',
    '<5>a name can be looked up again host=db',
  ]);
});

test.run();
