// SPDX-License-Identifier: MIT
// Precedence: which sources there are, and which of them has the last word.

import { mkdirSync } from 'node:fs';

import { ConfigMachine } from '../helpers/config-input.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite<{ machine: ConfigMachine }>('config sources');

test.before.each((context) => {
  context.machine = new ConfigMachine();
});
test.after.each(({ machine }) => {
  machine.close();
});

test('a later source overrides an earlier one, setting by setting', ({ machine }) => {
  machine.write('etc/pg-gateway.toml', 'candidates = "main"\n[listen]\nhost = "h1"\nport = 1\n[metrics]\nport = 1');
  machine.write('etc/conf.d/10-a.toml', '[listen]\nport = 2\n[metrics]\nport = 2\nhost = "m2"');
  machine.write('etc/conf.d/9-b.toml', '[metrics]\nport = 3\n[log]\nlevel = "debug"');
  const env = { METRICS_PORT: '4', LOG_LEVEL: 'notice' };
  const overrides = [{ key: 'log.level', value: 'err', option: '--log-level' }];
  const config = machine.load(env, { overrides });
  assert.equal(
    config.candidates.map(({ name }) => name),
    ['main:5432'],
  );
  assert.equal(config.listen, { host: 'h1', port: 2 });
  assert.equal(config.metrics, { host: 'm2', port: 4, statusPage: true });
  assert.is(config.logLevel, 'err');
  assert.equal(
    config.settings
      .filter(({ from }) => from !== 'default')
      .map(({ key, from }) => [key, from.replace(machine.root, '')]),
    [
      ['candidates', '/etc/pg-gateway.toml'],
      ['listen.host', '/etc/pg-gateway.toml'],
      ['listen.port', '/etc/conf.d/10-a.toml'],
      ['metrics.host', '/etc/conf.d/10-a.toml'],
      ['metrics.port', 'environment METRICS_PORT'],
      ['log.level', 'argument --log-level'],
    ],
  );
});

test('reads conf.d in the order of bytes, and only *.toml', ({ machine }) => {
  for (const name of ['b.toml', 'B.toml', 'a.toml', 'é.toml', '10.toml', '9.toml', '.hidden.toml', 'c.toml.dpkg-old']) {
    machine.write(`etc/conf.d/${name}`, `[probe]\ndatabase = ${JSON.stringify(name)}`);
  }
  const config = machine.load({ CANDIDATES: 'a' });
  assert.equal(
    config.sources.map((path) => path.slice(machine.path('etc/conf.d/').length)),
    ['10.toml', '9.toml', 'B.toml', 'a.toml', 'b.toml', 'é.toml'],
  );
  assert.is(config.probe.database, 'é.toml');
});

test('--config replaces the files, whatever its name ends with', ({ machine }) => {
  machine.write('etc/pg-gateway.toml', '[log]\nlevel = "err"');
  machine.write('etc/conf.d/a.toml', 'no toml');
  for (const name of ['other.toml', 'other', 'other.json', 'with.dir/other']) {
    const file = machine.write(name, 'candidates = "db9"');
    const config = machine.load({}, { file });
    assert.equal(config.sources, [file]);
    assert.is(config.logLevel, 'info');
    assert.is(config.candidates[0]?.name, 'db9:5432');
  }
});

test('an empty variable, and an empty text for what may be unset, take nothing away', ({ machine }) => {
  machine.write('etc/pg-gateway.toml', 'candidates = "db1"\n[listen]\nport = 7\n[probe]\nuser = "u"\npassword = "p"');
  machine.write('etc/conf.d/a.toml', '[probe]\nuser = ""\npassword = ""');
  const config = machine.load({ LISTEN_PORT: '', CANDIDATES: '', PGUSER: '', PGPASSWORD: '', LOG_LEVEL: '' });
  assert.is(config.listen.port, 7);
  assert.is(config.probe.user, 'u');
  assert.is(config.probe.password, 'p');
});

test('does not look at the environment and the arguments of its own process', ({ machine }) => {
  const before = process.env['LISTEN_PORT'];
  process.env['LISTEN_PORT'] = 'not a port';
  try {
    assert.is(machine.load({ CANDIDATES: 'a' }).listen.port, 5432);
  } finally {
    if (before === undefined) delete process.env['LISTEN_PORT'];
    else process.env['LISTEN_PORT'] = before;
  }
});

test('takes the password from the systemd credential', ({ machine }) => {
  const credentials = { CREDENTIALS_DIRECTORY: machine.path('cred'), CANDIDATES: 'a' };
  assert.is(machine.load(credentials).probe.password, undefined, 'no folder');
  mkdirSync(machine.path('cred'));
  assert.is(machine.load(credentials).probe.password, undefined, 'no file');
  machine.write('cred/pgpassword', ' pass word\n\n');
  machine.write('etc/pg-gateway.toml', '[probe]\npassword = "of the file"');
  assert.is(machine.load(credentials).probe.password, ' pass word\n', 'one line feed is taken off, and nothing else');
  assert.is(machine.load({ ...credentials, PGPASSWORD: 'env' }).probe.password, 'env');
  assert.is(machine.load({ ...credentials, PGPASSWORD: '' }).probe.password, ' pass word\n');
  machine.write('cred/pgpassword', '\n');
  assert.is(machine.load(credentials).probe.password, 'of the file', 'an empty credential is none');
});

test.run();
