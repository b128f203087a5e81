// SPDX-License-Identifier: MIT
import { MAX_SERVERS } from '#src/dataplane.js';
import { GatewayError } from '#src/errors.js';
import { ServerSlots } from '#src/server-slots.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('server slots');
const idle = (): boolean => false;

function names(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}${index.toString()}:5432`);
}

test('each candidate has a slot of its own, and keeps it', () => {
  const slots = new ServerSlots();
  slots.assign(['a', 'b', 'c'], idle);
  const before = ['a', 'b', 'c'].map((name) => slots.of(name));
  assert.is(new Set(before).size, 3);
  slots.assign(['c', 'b', 'a', 'd'], idle);
  assert.equal(
    ['a', 'b', 'c'].map((name) => slots.of(name)),
    before,
  );
  assert.not.ok(before.includes(slots.of('d')));
});

test('a removed server keeps its slot while sessions are on it', () => {
  const slots = new ServerSlots();
  slots.assign(['a', 'b'], idle);
  const slotOfA = slots.of('a');
  slots.assign(['b', 'c'], (slot) => slot === slotOfA);
  assert.is(slots.nameOf(slotOfA), 'a');
  assert.is.not(slots.of('c'), slotOfA);
  slots.assign(['b', 'c'], idle);
  assert.is(slots.nameOf(slotOfA), undefined);
  slots.assign(['b', 'c', 'd'], idle);
  assert.is(slots.of('d'), slotOfA);
});

test('out of slots, the longest retired gives its own up', () => {
  const slots = new ServerSlots();
  const busy = (): boolean => true;
  for (const prefix of ['a', 'b', 'c', 'd']) slots.assign(names(prefix, 64), busy);
  const used = names('d', 64).map((name) => slots.of(name));
  assert.is(new Set(used).size, 64);
  assert.ok(used.every((slot) => slot >= 0 && slot < MAX_SERVERS));
  assert.throws(
    () => slots.of('a0:5432'),
    (error: unknown) => error instanceof GatewayError && error.code === 'INTERNAL',
  );
  assert.type(slots.of('c0:5432'), 'number');
});

test.run();
