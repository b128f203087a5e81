// SPDX-License-Identifier: MIT
// Tables for the candidate parser.

import { formatHostPort, hostProblem, MAX_CANDIDATES, parseCandidates, splitCandidates } from '#src/candidates.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('candidates');

/** text -> [host, port, name] of each server. */
const GOOD: readonly (readonly [string, readonly (readonly [string, number, string])[]])[] = [
  ['db1', [['db1', 5432, 'db1:5432']]],
  ['db1:5433', [['db1', 5433, 'db1:5433']]],
  ['10.0.0.1:1', [['10.0.0.1', 1, '10.0.0.1:1']]],
  ['10.0.0.1:65535', [['10.0.0.1', 65535, '10.0.0.1:65535']]],
  ['[::1]', [['::1', 5432, '[::1]:5432']]],
  ['[2001:db8::1]:5433', [['2001:db8::1', 5433, '[2001:db8::1]:5433']]],
  ['[fe80::1%eth0]:5432', [['fe80::1%eth0', 5432, '[fe80::1%eth0]:5432']]],
  ['[::ffff:10.0.0.1]', [['::ffff:10.0.0.1', 5432, '[::ffff:10.0.0.1]:5432']]],
  ['db_1.my-net.example.com.:5432', [['db_1.my-net.example.com.', 5432, 'db_1.my-net.example.com.:5432']]],
  ['DB1', [['DB1', 5432, 'DB1:5432']]],
  ['db1:05432', [['db1', 5432, 'db1:5432']]],
  ['1a.example', [['1a.example', 5432, '1a.example:5432']]],
  [
    ' a:1,b  c:2 ,\t[::1]:3,,\nd, ',
    [
      ['a', 1, 'a:1'],
      ['b', 5432, 'b:5432'],
      ['c', 2, 'c:2'],
      ['::1', 3, '[::1]:3'],
      ['d', 5432, 'd:5432'],
    ],
  ],
  // The order is the configuration's, and one host may have several servers.
  [
    'z:2,z:1,a:1',
    [
      ['z', 2, 'z:2'],
      ['z', 1, 'z:1'],
      ['a', 1, 'a:1'],
    ],
  ],
  // A zone is part of an address: the same link-local address on two links is two servers.
  [
    '[fe80::1%eth0],[fe80::1%eth1]',
    [
      ['fe80::1%eth0', 5432, '[fe80::1%eth0]:5432'],
      ['fe80::1%eth1', 5432, '[fe80::1%eth1]:5432'],
    ],
  ],
];

for (const [text, expected] of GOOD) {
  test(`accepts ${JSON.stringify(text)}`, () => {
    const list = parseCandidates(splitCandidates(text));
    assert.equal(list, {
      kind: 'good',
      candidates: expected.map(([host, port, name]) => ({ host, port, name })),
    });
  });
}

const PORT = 'expected a port from 1 to 65535 after the colon';
const BRACKETS = 'an IPv6 address must stand in brackets, as in "[2001:db8::1]:5432"';

/** text -> every problem, word for word. */
const BAD: readonly (readonly [string, readonly string[]])[] = [
  ['', ['expected at least one server, as in "db1:5432,db2:5432"']],
  [' , ,', ['expected at least one server, as in "db1:5432,db2:5432"']],
  ['a:', [`in "a:": ${PORT}, found ""`]],
  ['a:x', [`in "a:x": ${PORT}, found "x"`]],
  ['a:0', [`in "a:0": ${PORT}, found "0"`]],
  ['a:65536', [`in "a:65536": ${PORT}, found "65536"`]],
  ['a:-1', [`in "a:-1": ${PORT}, found "-1"`]],
  ['a:5432x', [`in "a:5432x": ${PORT}, found "5432x"`]],
  ['a:1e3', [`in "a:1e3": ${PORT}, found "1e3"`]],
  ['a:999999999999', [`in "a:999999999999": ${PORT}, found "999999999999"`]],
  [':5432', ['in ":5432": expected a host before the colon']],
  ['::1', [`in "::1": ${BRACKETS}`]],
  ['2001:db8::1:5432', [`in "2001:db8::1:5432": ${BRACKETS}`]],
  ['a:1:2', [`in "a:1:2": ${BRACKETS}`]],
  ['[::1', ['in "[::1": the bracket "[" is not closed']],
  ['[]', ['in "[]": "" is not an IPv6 address']],
  ['[::1]5432', ['in "[::1]5432": expected ":port" or nothing after "]", found "5432"']],
  ['[::1]:', [`in "[::1]:": ${PORT}, found ""`]],
  ['[10.0.0.1]:5432', ['in "[10.0.0.1]:5432": "10.0.0.1" is not an IPv6 address']],
  ['[db1]', ['in "[db1]": "db1" is not an IPv6 address']],
  ['10.0.0.256', ['in "10.0.0.256": "10.0.0.256" is not an IPv4 address']],
  // A bare number is an IPv4 address to the resolver, of a server nobody meant.
  ['5432', ['in "5432": "5432" is not an IPv4 address']],
  ['-a', ['in "-a": "-a" is not a host name or an IP address']],
  ['a..b', ['in "a..b": "a..b" is not a host name or an IP address']],
  ['a;b', ['in "a;b": "a;b" is not a host name or an IP address']],
  ['dätabase', ['in "dätabase": "dätabase" is not a host name or an IP address']],
  ['/run/postgresql', ['in "/run/postgresql": expected host:port, not a URL or a path']],
  ['postgres://u:secret@db1:5432/x', ['in "postgres://***": expected host:port, not a URL or a path']],
  ["host=db1 password='secret and more'", ['expected host:port, not a connection string of key=value']],
  ['u:secret@db1', ['in "***@db1": expected host:port, not a URL or a path']],
  ['a,b,a', ['"a" names the same server as "a": expected each server once']],
  ['a,a:5432', ['"a:5432" names the same server as "a": expected each server once']],
  ['a,A', ['"A" names the same server as "a": expected each server once']],
  ['[::1],[0:0::1]:5432', ['"[0:0::1]:5432" names the same server as "[::1]": expected each server once']],
  [
    'a:x,b,b,::1',
    [
      `in "a:x": ${PORT}, found "x"`,
      '"b" names the same server as "b": expected each server once',
      `in "::1": ${BRACKETS}`,
    ],
  ],
];

for (const [text, problems] of BAD) {
  test(`rejects ${JSON.stringify(text)}`, () => {
    assert.equal(parseCandidates(splitCandidates(text)), { kind: 'bad', problems });
  });
}

test('accepts as many as there is room for, and says how many are too many', () => {
  const names = (count: number): string[] => Array.from({ length: count }, (_, index) => `db${String(index)}`);
  assert.is(parseCandidates(names(MAX_CANDIDATES)).kind, 'good');
  assert.equal(parseCandidates(names(MAX_CANDIDATES + 1)), {
    kind: 'bad',
    problems: ['expected at most 64 servers, found 65'],
  });
});

test('bounds what it quotes', () => {
  const list = parseCandidates([`${'x'.repeat(10_000)}!`]);
  assert.is(list.kind, 'bad');
  assert.ok(list.kind === 'bad' && list.problems.every((problem) => problem.length < 300));
});

test('tells hosts from what is none', () => {
  for (const good of ['localhost', '::', '::1', '0.0.0.0', 'a.b', 'a'.repeat(253)]) {
    assert.is(hostProblem(good), undefined, good);
  }
  assert.is(hostProblem(''), '"" is not a host name or an IP address');
  assert.is(hostProblem('[::]'), '"[::]" is not an IPv6 address');
  assert.is(hostProblem('*'), '"*" is not a host name or an IP address');
  assert.is(hostProblem('a b'), '"a b" is not a host name or an IP address');
  assert.ok(hostProblem('a'.repeat(254)));
});

test('writes host and port together', () => {
  assert.is(formatHostPort('db1', 1), 'db1:1');
  assert.is(formatHostPort('::', 9090), '[::]:9090');
});

test.run();
