// SPDX-License-Identifier: MIT

import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { ProbeFault } from '#src/probe/failure.js';
import { passwordFrom, readPassfile } from '#src/probe/passfile.js';
import { assert, suite } from '../helpers/suite.js';

const FOR_EVER = new AbortController().signal;
const KEY = { host: 'db1', port: 5432, database: 'postgres', user: 'probe' };

/** Password file -> the password for KEY. */
const ROWS: readonly (readonly [string, string, string | undefined])[] = [
  ['all five fields', 'db1:5432:postgres:probe:secret', 'secret'],
  ['wildcards', '*:*:*:*:any', 'any'],
  ['the first line that fits', 'db2:*:*:*:no\ndb1:*:*:*:one\n*:*:*:*:two', 'one'],
  ['another host', 'db2:5432:postgres:probe:secret', undefined],
  ['another port', 'db1:5433:postgres:probe:secret', undefined],
  ['another database', 'db1:5432:app:probe:secret', undefined],
  ['another user', 'db1:5432:postgres:root:secret', undefined],
  ['comments and empty lines', '# *:*:*:*:no\n\n*:*:*:*:yes\n', 'yes'],
  ['lines of Windows', '*:*:*:*:yes\r\n', 'yes'],
  ['a colon in the password', String.raw`*:*:*:*:a\:b`, 'a:b'],
  ['a backslash in the password', String.raw`*:*:*:*:a\\b`, String.raw`a\b`],
  ['a backslash at the end', '*:*:*:*:a\\', 'a\\'],
  ['an escaped colon at the end', String.raw`*:*:*:*:a\:`, 'a:'],
  ['an escaped name', String.raw`d\b1:*:*:pro\be:x`, 'x'],
  ['an escaped star is no wildcard', String.raw`\*:*:*:*:x`, undefined],
  ['what follows a fifth colon', '*:*:*:*:x:y', 'x'],
  ['an empty password', '*:*:*:*:', ''],
  ['too few fields', '*:*:*:*', undefined],
  ['an empty file', '', undefined],
];

const test = suite('password file');

for (const [what, text, password] of ROWS) {
  test(what, () => {
    assert.is(passwordFrom(text, KEY), password);
  });
}

test('an IPv6 candidate is escaped, as the manual says', () => {
  assert.is(passwordFrom(String.raw`2001\:db8\:\:1:*:*:*:x`, { ...KEY, host: '2001:db8::1' }), 'x');
});

test('a file that others can read is refused, and the password not shown', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'passfile-'));
  try {
    const path = join(folder, 'pgpass');
    await writeFile(path, '*:*:*:*:secret\n', { mode: 0o600 });
    assert.is(await readPassfile(path, KEY, FOR_EVER), 'secret');
    await chmod(path, 0o640);
    const expected: readonly (readonly [string, RegExp])[] = [
      [path, /can be read by others/],
      [folder, /not a plain file|EISDIR/],
      [join(folder, 'none'), /ENOENT/],
    ];
    for (const [file, words] of expected) {
      const fault: unknown = await readPassfile(file, KEY, FOR_EVER).catch((error: unknown) => error);
      assert.ok(fault instanceof ProbeFault && fault.reason === 'auth');
      assert.match(fault instanceof ProbeFault ? fault.message : '', words);
      assert.not.match(fault instanceof ProbeFault ? fault.message : '', /secret/);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});

test.run();
