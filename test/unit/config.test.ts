// SPDX-License-Identifier: MIT
// Values: what the configuration is when nothing is wrong with it.

import { readFileSync } from 'node:fs';
import { availableParallelism, userInfo } from 'node:os';

import { parseToml } from '#src/config.js';
import type { LoadedConfig } from '#src/config.js';
import { SETTINGS } from '#src/config-schema.js';
import { ConfigMachine, withoutSettings } from '../helpers/config-input.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite<{ machine: ConfigMachine }>('config');

test.before.each((context) => {
  context.machine = new ConfigMachine();
});
test.after.each(({ machine }) => {
  machine.close();
});

test('has the defaults of the original', ({ machine }) => {
  assert.equal(withoutSettings(machine.load({ CANDIDATES: 'db1' })), {
    candidates: [{ host: 'db1', port: 5432, name: 'db1:5432' }],
    stateDirectory: undefined,
    listen: { host: 'localhost', port: 5432 },
    metrics: { host: '::', port: 9090, statusPage: true },
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
    maxConnectionRate: 0,
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
    MAX_CONNECTION_RATE: '250',
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
    STATUS_PAGE: 'off',
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
    metrics: { host: '127.0.0.1', port: 65535, statusPage: false },
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
    maxConnectionRate: 250,
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
    max_connection_rate = 300
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
    status_page = false
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
    metrics: { host: '127.0.0.1', port: 2, statusPage: false },
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
    maxConnectionRate: 300,
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

test.run();
