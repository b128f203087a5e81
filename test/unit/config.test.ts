// SPDX-License-Identifier: MIT
// Values and precedence: what the configuration is when nothing is wrong with it.

import { chmodSync, mkdirSync, readFileSync } from 'node:fs';
import { availableParallelism, userInfo } from 'node:os';

import { describeConfig, parseToml } from '#src/config.js';
import type { LoadedConfig } from '#src/config.js';
import { SETTINGS } from '#src/config-schema.js';
import { ConfigMachine } from '../helpers/config-input.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite<{ machine: ConfigMachine }>('config');

test.before.each((context) => {
  context.machine = new ConfigMachine();
});
test.after.each(({ machine }) => {
  machine.close();
});

function withoutSettings({ settings: _, warnings: __, ...config }: LoadedConfig): object {
  return config;
}

test('has the defaults of the original', ({ machine }) => {
  assert.equal(withoutSettings(machine.load({ CANDIDATES: 'db1' })), {
    candidates: [{ host: 'db1', port: 5432, name: 'db1:5432' }],
    stateDirectory: undefined,
    listen: { host: 'localhost', port: 5432 },
    metrics: { host: '::', port: 9090 },
    control: { socket: 'off' },
    probe: {
      user: userInfo().username,
      password: undefined,
      passfile: undefined,
      database: 'postgres',
      connectTimeoutMs: 800,
      queryTimeoutMs: 500,
      checkEveryMs: 2000,
      tls: { mode: 'prefer' },
    },
    workers: 1,
    maxConnections: undefined,
    maxConnectionsPerClient: 0,
    tcp: {
      keepalive: true,
      keepalivesIdleS: 60,
      keepalivesIntervalS: 10,
      keepalivesCount: 12,
      userTimeoutMs: 0,
    },
    drainTimeoutMs: 0,
    failover: { holdTimeoutMs: 15000, maxHeld: 1000, releaseRate: 500, cutPolicy: 'proof' },
    logLevel: 'info',
    sources: [],
  });
});

test('reads every variable', ({ machine }) => {
  const file = (name: string): string => machine.write(name, '');
  const env = {
    CANDIDATES: 'db1:1, [::1]:2',
    STATE_DIRECTORY: '/var/lib/one:/var/lib/two',
    LISTEN_HOST: '::',
    LISTEN_PORT: '0',
    NUM_THREADS: '64',
    MAX_CONNECTIONS: '1000000',
    MAX_CONNECTIONS_PER_CLIENT: '7',
    TCP_KEEPALIVE: '0',
    TCP_KEEPALIVES_IDLE: '32767',
    TCP_KEEPALIVES_INTERVAL: '0',
    TCP_KEEPALIVES_COUNT: '127',
    TCP_USER_TIMEOUT: '86400000',
    DRAIN_TIMEOUT_MS: '600000',
    HOLD_TIMEOUT_MS: '0',
    MAX_HELD: '1000000',
    RELEASE_RATE: '1',
    CUT_POLICY: 'eager',
    PGUSER: 'prober',
    PGPASSWORD: ' s3cret ',
    PGPASSFILE: file('pass'),
    PGDATABASE: 'monitor',
    CONNECT_TIMEOUT_MS: '1',
    QUERY_TIMEOUT_MS: '600000',
    CHECK_EVERY: '0.05',
    PGSSLMODE: 'verify-full',
    PGSSLROOTCERT: file('root.crt'),
    PGSSLCERT: file('client.crt'),
    PGSSLKEY: file('client.key'),
    METRICS_HOST: '127.0.0.1',
    METRICS_PORT: '65535',
    CONTROL_SOCKET: '/run/one.sock',
    LOG_LEVEL: 'debug',
  };
  assert.equal(Object.keys(env).sort(), SETTINGS.map((setting) => setting.env).sort(), 'the table is complete');
  assert.equal(withoutSettings(machine.load(env)), {
    candidates: [
      { host: 'db1', port: 1, name: 'db1:1' },
      { host: '::1', port: 2, name: '[::1]:2' },
    ],
    stateDirectory: '/var/lib/one',
    listen: { host: '::', port: 0 },
    metrics: { host: '127.0.0.1', port: 65535 },
    control: { socket: '/run/one.sock' },
    probe: {
      user: 'prober',
      password: ' s3cret ',
      passfile: env.PGPASSFILE,
      database: 'monitor',
      connectTimeoutMs: 1,
      queryTimeoutMs: 600000,
      checkEveryMs: 50,
      tls: { mode: 'verify-full', rootCert: env.PGSSLROOTCERT, cert: env.PGSSLCERT, key: env.PGSSLKEY },
    },
    workers: 64,
    maxConnections: 1_000_000,
    maxConnectionsPerClient: 7,
    tcp: {
      keepalive: false,
      keepalivesIdleS: 32767,
      keepalivesIntervalS: 0,
      keepalivesCount: 127,
      userTimeoutMs: 86400000,
    },
    drainTimeoutMs: 600000,
    failover: { holdTimeoutMs: 0, maxHeld: 1000000, releaseRate: 1, cutPolicy: 'eager' },
    logLevel: 'debug',
    sources: [],
  });
});

test('reads every key of a file', ({ machine }) => {
  const cert = machine.write('cert', '');
  const path = machine.write(
    'etc/pg-gateway.toml',
    `candidates = ["db1:1", "[::1]:2"]
    state_directory = "/var/lib/one"
    [listen]
    host = "::"
    port = 1
    [sessions]
    workers = "auto"
    max_connections = 300
    max_connections_per_client = 20
    tcp_keepalive = false
    tcp_keepalives_idle = 1
    tcp_keepalives_interval = 2
    tcp_keepalives_count = 3
    tcp_user_timeout = 4
    drain_timeout_ms = 1500
    [failover]
    hold_timeout_ms = 1
    max_held = 0
    release_rate = 2
    cut_policy = "eager"
    [probe]
    user = "prober"
    password = "s3cret"
    passfile = "${cert}"
    database = "monitor"
    connect_timeout_ms = 1
    query_timeout_ms = 2
    check_every = 0.5
    sslmode = "verify-ca"
    sslrootcert = "${cert}"
    sslcert = "${cert}"
    sslkey = "${cert}"
    [metrics]
    host = "127.0.0.1"
    port = 2
    [control]
    socket = "/run/two.sock"
    [log]
    level = "err"`,
  );
  const keys = Object.entries(parseToml(readFileSync(path, 'utf8'))).flatMap(([name, value]) =>
    typeof value !== 'object' || value === null || Array.isArray(value)
      ? [name]
      : Object.keys(value).map((leaf) => `${name}.${leaf}`),
  );
  assert.equal(
    keys,
    SETTINGS.map(({ key }) => key),
    'the file is complete',
  );
  assert.equal(withoutSettings(machine.load({})), {
    candidates: [
      { host: 'db1', port: 1, name: 'db1:1' },
      { host: '::1', port: 2, name: '[::1]:2' },
    ],
    stateDirectory: '/var/lib/one',
    listen: { host: '::', port: 1 },
    metrics: { host: '127.0.0.1', port: 2 },
    control: { socket: '/run/two.sock' },
    probe: {
      user: 'prober',
      password: 's3cret',
      passfile: cert,
      database: 'monitor',
      connectTimeoutMs: 1,
      queryTimeoutMs: 2,
      checkEveryMs: 500,
      tls: { mode: 'verify-ca', rootCert: cert, cert, key: cert },
    },
    workers: availableParallelism(),
    maxConnections: 300,
    maxConnectionsPerClient: 20,
    tcp: {
      keepalive: false,
      keepalivesIdleS: 1,
      keepalivesIntervalS: 2,
      keepalivesCount: 3,
      userTimeoutMs: 4,
    },
    drainTimeoutMs: 1500,
    failover: { holdTimeoutMs: 1, maxHeld: 0, releaseRate: 2, cutPolicy: 'eager' },
    logLevel: 'err',
    sources: [path],
  });
});

/** variable, text, what it means: [path of the value in the configuration, value]. */
const SPELLINGS: readonly (readonly [string, string, (config: LoadedConfig) => unknown, unknown])[] = [
  ...['1', 'true', 'yes', 'on', 'TRUE', ' On '].map(
    (text) => ['TCP_KEEPALIVE', text, (config: LoadedConfig) => config.tcp.keepalive, true] as const,
  ),
  ...['0', 'false', 'no', 'off', 'False'].map(
    (text) => ['TCP_KEEPALIVE', text, (config: LoadedConfig) => config.tcp.keepalive, false] as const,
  ),
  ...['warning', 'warn', 'WARN', 'Warning'].map(
    (text) => ['LOG_LEVEL', text, (config: LoadedConfig) => config.logLevel, 'warning'] as const,
  ),
  ...['err', 'error'].map((text) => ['LOG_LEVEL', text, (config: LoadedConfig) => config.logLevel, 'err'] as const),
  ['NUM_THREADS', 'auto', ({ workers }) => workers, availableParallelism()],
  ['NUM_THREADS', 'AUTO', ({ workers }) => workers, availableParallelism()],
  ['NUM_THREADS', ' 4 ', ({ workers }) => workers, 4],
  ['CHECK_EVERY', '3', ({ probe }) => probe.checkEveryMs, 3000],
  ['CHECK_EVERY', '.25', ({ probe }) => probe.checkEveryMs, 250],
  ['CHECK_EVERY', '0.0504', ({ probe }) => probe.checkEveryMs, 50],
  ['LISTEN_PORT', '06432', ({ listen }) => listen.port, 6432],
  ['CONTROL_SOCKET', ' OFF', ({ control }) => control.socket, 'off'],
  ['PGSSLMODE', 'require', ({ probe }) => probe.tls.mode, 'require'],
  ['PGSSLMODE', 'disable', ({ probe }) => probe.tls.mode, 'disable'],
];

for (const [name, text, read, expected] of SPELLINGS) {
  test(`understands ${name}=${JSON.stringify(text)}`, ({ machine }) => {
    assert.is(read(machine.load({ CANDIDATES: 'a', [name]: text })), expected);
  });
}

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
  assert.equal(config.metrics, { host: 'm2', port: 4 });
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

test('an unreadable password file of the home directory is left alone', ({ machine }) => {
  const path = machine.write('home/.pgpass', '');
  chmodSync(path, 0);
  const expected = userInfo().uid === 0 ? path : undefined;
  assert.is(machine.load({ CANDIDATES: 'a' }).probe.passfile, expected);
});

test('prints a file that gives the same configuration', ({ machine }) => {
  const odd = machine.write('od"d \\ \u007f\té', '');
  const config = machine.load(
    {
      CANDIDATES: 'db1, [::1]:2',
      NUM_THREADS: 'auto',
      CHECK_EVERY: '0.05',
      TCP_KEEPALIVE: 'off',
      PGSSLCERT: odd,
      PGSSLKEY: odd,
      LOG_LEVEL: 'warn',
    },
    { overrides: [{ key: 'listen.port', value: '0', option: '<listen_port>' }] },
  );
  const file = machine.write('printed', describeConfig(config));
  assert.equal(withoutSettings(machine.load({}, { file })), { ...withoutSettings(config), sources: [file] });
});

test('prints each value with its source, and no secret', ({ machine }) => {
  const path = machine.write('etc/pg-gateway.toml', '[probe]\ndatabase = "d"');
  const printed = describeConfig(
    machine.load(
      { CANDIDATES: 'db1 db2:1', PGUSER: 'u', PGPASSWORD: 'hunter2', HOME: machine.path('none') },
      { overrides: [{ key: 'listen.port', value: '6432', option: '--listen-port' }] },
    ),
  );
  assert.is(
    printed,
    `# The effective configuration of pg-gateway.
# Files read:
#   ${path}

candidates = ["db1:5432", "db2:1"]  # environment CANDIDATES
# state_directory is not set

[listen]
host = "localhost"  # default
port = 6432  # argument --listen-port

[sessions]
workers = 1  # default
max_connections = "auto"  # default
max_connections_per_client = 0  # default
tcp_keepalive = true  # default
tcp_keepalives_idle = 60  # default
tcp_keepalives_interval = 10  # default
tcp_keepalives_count = 12  # default
tcp_user_timeout = 0  # default
drain_timeout_ms = 0  # default

[failover]
hold_timeout_ms = 15000  # default
max_held = 1000  # default
release_rate = 500  # default
cut_policy = "proof"  # default

[probe]
user = "u"  # environment PGUSER
# password = "***"  # environment PGPASSWORD, masked
# passfile is not set
database = "d"  # ${path}
connect_timeout_ms = 800  # default
query_timeout_ms = 500  # default
check_every = 2  # default
sslmode = "prefer"  # default
# sslrootcert is not set
# sslcert is not set
# sslkey is not set

[metrics]
host = "::"  # default
port = 9090  # default

[control]
socket = "off"  # default

[log]
level = "info"  # default
`,
  );
});

test('the password is nowhere in what is for reading, whoever gave it', ({ machine }) => {
  const secret = 'hunter2-hunter2';
  machine.write('cred/pgpassword', secret);
  const file = machine.write('file', `[probe]\npassword = "${secret}"`);
  const configs = [
    machine.load({ CANDIDATES: 'a', PGPASSWORD: secret }),
    machine.load({ CANDIDATES: 'a', CREDENTIALS_DIRECTORY: machine.path('cred') }),
    machine.load({ CANDIDATES: 'a' }, { file }),
  ];
  for (const config of configs) {
    assert.is(config.probe.password, secret);
    assert.not.match(describeConfig(config), secret);
    assert.not.match(JSON.stringify(config.settings), secret);
  }
});

test.run();
