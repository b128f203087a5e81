// SPDX-License-Identifier: MIT
// How the answer of a server about itself is read, and what is no such answer.

import { parseServerDetails } from '#src/probe/server-details.js';
import { ProbeFault } from '#src/probe/failure.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('server details');

const ROW = ['15.18', '100', '3', '2', 'off', 'true', null, '192.0.2.1', '1796000000000', '5432'];

test('reads an answer', () => {
  assert.equal(parseServerDetails([ROW]), {
    version: '15.18',
    maxConnections: 100,
    reservedConnections: 5,
    superuser: false,
    readsStatistics: true,
    passwordUntil: null,
    clientAddress: '192.0.2.1',
    clock: 1_796_000_000_000,
    port: 5432,
  });
});

test('reads what may be missing, and what is before 1970', () => {
  const row = ['15.18', '100', '3', '0', 'on', 'false', '-1', null, '0', '5432'];
  const details = parseServerDetails([row]);
  assert.equal(
    [details.superuser, details.readsStatistics, details.passwordUntil, details.clientAddress],
    [true, false, -1, null],
  );
});

/** [column, what stands there] */
const SENSELESS: readonly (readonly [number, unknown])[] = [
  [0, ''],
  [0, 'x'.repeat(201)],
  [1, null],
  [1, '-1'],
  [2, '1e3'],
  [6, 'infinity'],
  [7, 7],
  [8, null],
  [8, '1.5'],
  [9, '/tmp'],
];

for (const [column, value] of SENSELESS) {
  test(`column ${column} is no ${JSON.stringify(value).slice(0, 20)}`, () => {
    const row = ROW.map((text, index) => (index === column ? value : text));
    try {
      parseServerDetails([row]);
      assert.unreachable('it was read');
    } catch (error) {
      assert.instance(error, ProbeFault);
      assert.match(String(error), 'makes no sense');
    }
  });
}

test('it is one row of ten columns', () => {
  for (const rows of [[], [ROW, ROW], [ROW.slice(1)]]) {
    assert.throws(() => parseServerDetails(rows), /one row of ten columns/);
  }
});

test.run();
