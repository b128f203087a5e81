// SPDX-License-Identifier: MIT

import { ProbeFault } from '#src/probe/failure.js';
import { parseServerState } from '#src/probe/server-state.js';
import { assert, suite } from '../helpers/suite.js';

const GOOD = ['false', 'off', '0000000A', 'false', '7394839212345678901', '1F/A0', '1764021112123456'];

function changed(column: number, value: unknown): readonly unknown[] {
  return GOOD.map((old, index) => (index === column ? value : old));
}

const test = suite('probe answers');

test('a primary', () => {
  assert.equal(parseServerState([GOOD]), {
    inRecovery: false,
    readOnly: false,
    timeline: 10,
    streaming: false,
    systemId: '7394839212345678901',
    lsn: 0x1f000000a0n,
    startedAt: '1764021112123456',
  });
});

test('a standby that has not replayed anything', () => {
  const { inRecovery, readOnly, lsn } = parseServerState([['true', 'on', '00000001', 'true', '1', null, '1']]);
  assert.equal([inRecovery, readOnly, lsn], [true, true, null]);
});

test('the bounds of an LSN', () => {
  assert.is(parseServerState([changed(5, 'FFFFFFFF/FFFFFFFF')]).lsn, 0xffffffffffffffffn);
  assert.is(parseServerState([changed(5, '0/0')]).lsn, 0n);
});

test('a system identifier above 2^63 is shown as negative by the server', () => {
  assert.is(parseServerState([changed(4, '-1')]).systemId, '18446744073709551615');
});

const SENSELESS: readonly (readonly [string, readonly (readonly unknown[])[]])[] = [
  ['no row', []],
  ['two rows', [GOOD, GOOD]],
  ['six columns', [GOOD.slice(0, 6)]],
  ['a flag of another form', [changed(0, 't')]],
  ['no flag', [changed(1, null)]],
  ['timeline 0', [changed(2, '00000000')]],
  ['a timeline of other length', [changed(2, '1')]],
  ['a timeline that is no number', [changed(2, 'zzzzzzzz')]],
  ['no timeline', [changed(2, null)]],
  ['system identifier 0', [changed(4, '0')]],
  ['a system identifier that is no number', [changed(4, '12x')]],
  ['an LSN without a slash', [changed(5, '1234')]],
  ['an LSN that is not a text', [changed(5, 17)]],
  ['a start with a fraction', [changed(6, '1764021112.123456')]],
  ['no start', [changed(6, null)]],
];

for (const [what, rows] of SENSELESS) {
  test(`${what} makes no sense`, () => {
    assert.throws(
      () => parseServerState(rows),
      (error: unknown) => error instanceof ProbeFault && error.reason === 'protocol',
    );
  });
}

test.run();
