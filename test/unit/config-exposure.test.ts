// SPDX-License-Identifier: MIT
import { chmodSync } from 'node:fs';

import { ConfigMachine } from '../helpers/config-input.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite<{ machine: ConfigMachine }>('config exposure');
const PASSWORD = 'correct-horse-battery';

test.before.each((context) => {
  context.machine = new ConfigMachine();
  chmodSync(context.machine.root, 0o755); // mkdtemp(3) lets nobody else in
});
test.after.each(({ machine }) => {
  machine.close();
});

interface Row {
  readonly what: string;
  readonly files: readonly (readonly [name: string, content: string, mode: number])[];
  readonly env?: NodeJS.ProcessEnv;
  /** The files that the warning names. */
  readonly named: readonly string[];
}

const TOML = `[probe]\npassword = "${PASSWORD}"\n`;
const GIVEN = { PGPASSWORD: PASSWORD };

const ROWS: readonly Row[] = [
  { what: 'a file that all may read', files: [['etc/pg-gateway.toml', TOML, 0o644]], named: ['etc/pg-gateway.toml'] },
  { what: 'a file that its group may read', files: [['etc/pg-gateway.toml', TOML, 0o640]], named: [] },
  { what: 'no password in it', files: [['etc/pg-gateway.toml', '[probe]\nuser = "x"\n', 0o644]], named: [] },
  { what: 'an empty one', files: [['etc/pg-gateway.toml', '[probe]\npassword = ""\n', 0o644]], named: [] },
  {
    what: 'two files are one warning',
    files: [
      ['etc/pg-gateway.toml', TOML, 0o644],
      ['etc/conf.d/a.toml', TOML, 0o644],
    ],
    named: ['etc/pg-gateway.toml', 'etc/conf.d/a.toml'],
  },
  {
    what: 'overridden, but there to read',
    files: [['etc/pg-gateway.toml', TOML, 0o644]],
    env: { PGPASSWORD: 'another' },
    named: ['etc/pg-gateway.toml'],
  },
  {
    what: 'the environment file',
    files: [['default/pg-gateway', `# x\nPGPASSWORD=${PASSWORD}\n`, 0o644]],
    env: GIVEN,
    named: ['default/pg-gateway'],
  },
  {
    what: 'that of another instance, quoted',
    files: [['default/pg-gateway-b', `PGUSER=x\n PGPASSWORD = "${PASSWORD}"\n`, 0o644]],
    env: GIVEN,
    named: ['default/pg-gateway-b'],
  },
  { what: 'for root alone', files: [['default/pg-gateway', `PGPASSWORD=${PASSWORD}\n`, 0o600]], env: GIVEN, named: [] },
  {
    what: 'commented out or empty',
    files: [['default/pg-gateway', `#PGPASSWORD=${PASSWORD}\nPGPASSWORD=\nXPGPASSWORD=x\n`, 0o644]],
    env: GIVEN,
    named: [],
  },
  { what: 'not from there', files: [['default/pg-gateway', `PGPASSWORD=${PASSWORD}\n`, 0o644]], named: [] },
  { what: 'of another program', files: [['default/pgbouncer', `PGPASSWORD=x\n`, 0o644]], env: GIVEN, named: [] },
  { what: 'only in the environment', files: [], env: GIVEN, named: [] },
];

for (const { what, files, env = {}, named } of ROWS) {
  test(what, ({ machine }) => {
    for (const [name, content, mode] of files) chmodSync(machine.write(name, content), mode);
    const { warnings } = machine.load({ CANDIDATES: 'a', ...env });
    assert.is(warnings.length, named.length === 0 ? 0 : 1);
    for (const warning of warnings) {
      const [listed = ''] = warning.replaceAll(`${machine.root}/`, '').split(': the password of the probes ');
      assert.equal(listed.split(', '), named);
      assert.match(warning, /LoadCredential=pgpassword:FILE; .*\/etc\/pg-gateway\/pgpassword\).*probe\.passfile/);
      assert.not.match(warning, new RegExp(PASSWORD));
    }
  });
}

test('a folder that others cannot pass through protects what is in it', ({ machine }) => {
  chmodSync(machine.write('etc/pg-gateway.toml', TOML), 0o644);
  chmodSync(machine.path('etc'), 0o750);
  assert.equal(machine.load({ CANDIDATES: 'a' }).warnings, []);
});

test.run();
