// SPDX-License-Identifier: MIT
// How the probes log in: libpq's files, and what they mean together.

import { chmodSync } from 'node:fs';
import { userInfo } from 'node:os';

import { filesOfOwnHome } from '#src/config-login.js';
import { ConfigMachine } from '../helpers/config-input.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite<{ machine: ConfigMachine }>('config login');

test.before.each((context) => {
  context.machine = new ConfigMachine();
});
test.after.each(({ machine }) => {
  machine.close();
});

test("finds libpq's files in the home directory", ({ machine }) => {
  const root = machine.write('home/.postgresql/root.crt', '');
  const cert = machine.write('home/.postgresql/postgresql.crt', '');
  const key = machine.write('home/.postgresql/postgresql.key', '');
  const passfile = machine.write('home/.pgpass', '');
  const { probe } = machine.load({ CANDIDATES: 'a', PGSSLMODE: 'verify-full' });
  assert.equal(probe.tls, { mode: 'verify-full', rootCert: root, cert, key });
  assert.is(probe.passfile, passfile);
  assert.equal(machine.load({ CANDIDATES: 'a', PGSSLMODE: 'disable' }).probe.tls, { mode: 'disable' });

  const named = machine.write('named', '');
  const env = { CANDIDATES: 'a', PGSSLROOTCERT: named, PGSSLCERT: named, PGSSLKEY: named, PGPASSFILE: named };
  assert.equal(machine.load(env).probe.tls, { mode: 'prefer', rootCert: named, cert: named, key: named });
  assert.is(machine.load(env).probe.passfile, named);
});

test('a key of the home directory without a certificate is not used', ({ machine }) => {
  machine.write('home/.postgresql/postgresql.key', '');
  assert.equal(machine.load({ CANDIDATES: 'a' }).probe.tls, { mode: 'prefer' });
});

test('the roots of the operating system mean verify-full', ({ machine }) => {
  const env = { CANDIDATES: 'a', PGSSLROOTCERT: 'system' };
  assert.equal(machine.load(env).probe.tls, { mode: 'verify-full', rootCert: 'system' });
  assert.equal(machine.load({ ...env, PGSSLMODE: 'verify-full' }).probe.tls, {
    mode: 'verify-full',
    rootCert: 'system',
  });
});

test('a service has its own user, its password file, and nothing of a home directory', ({ machine }) => {
  for (const name of ['.pgpass', '.postgresql/root.crt', '.postgresql/postgresql.crt', '.postgresql/postgresql.key']) {
    machine.write(`home/${name}`, '');
  }
  const service = { user: 'pg-gateway', passwordFile: machine.write('sales.pgpassword', 'swordfish\n') };
  const { probe, settings } = machine.load({ CANDIDATES: 'a' }, { service });
  assert.equal(
    { user: probe.user, password: probe.password, passfile: probe.passfile, tls: probe.tls },
    { user: 'pg-gateway', password: 'swordfish', passfile: undefined, tls: { mode: 'prefer' } },
  );
  const from = settings.find(({ key }) => key === 'probe.password')?.from;
  assert.is(from, `${service.passwordFile}, as the service would`);
  assert.equal(machine.problems({ CANDIDATES: 'a', PGSSLMODE: 'verify-full' }, { service }), [
    'environment PGSSLMODE: probe.sslmode = "verify-full": expected a root certificate to verify with: set probe.sslrootcert (PGSSLROOTCERT) to a file or to "system"',
  ]);
  // What is set, and what systemd itself hands over, comes first.
  machine.write('credentials/pgpassword', 'loaded');
  const env = { CANDIDATES: 'a', PGUSER: 'probe', CREDENTIALS_DIRECTORY: machine.path('credentials') };
  const given = machine.load(env, { service }).probe;
  assert.equal([given.user, given.password], ['probe', 'loaded']);
  assert.is(machine.load({ ...env, PGPASSWORD: 'said' }, { service }).probe.password, 'said');
  const none = { ...service, passwordFile: machine.path('gone') };
  assert.is(machine.load({ CANDIDATES: 'a' }, { service: none }).probe.password, undefined);
});

test('which files of the home directory a service would not have', ({ machine }) => {
  const path = machine.write('home/.pgpass', '');
  const root = machine.write('home/.postgresql/root.crt', '');
  assert.equal(
    [...filesOfOwnHome({ HOME: machine.path('home') })],
    [
      ['probe.passfile', path],
      ['probe.sslrootcert', root],
    ],
  );
});

test('an unreadable password file of the home directory is left alone', ({ machine }) => {
  const path = machine.write('home/.pgpass', '');
  chmodSync(path, 0);
  const expected = userInfo().uid === 0 ? path : undefined;
  assert.is(machine.load({ CANDIDATES: 'a' }).probe.passfile, expected);
});

test.run();
