// SPDX-License-Identifier: MIT
// Every kind of configuration error, word for word.

import { chmodSync, mkdirSync } from 'node:fs';
import { userInfo } from 'node:os';

import { GatewayError } from '#src/errors.js';
import { ConfigMachine } from '../helpers/config-input.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite<{ machine: ConfigMachine }>('config errors');

test.before.each((context) => {
  context.machine = new ConfigMachine();
});
test.after.each(({ machine }) => {
  machine.close();
});

const PORT = 'expected a port from 1 to 65535, or 0 for any free port';
const KEEPALIVE_SECONDS = 'expected a whole number of seconds from 0 to 32767';
const KEEPALIVE_COUNT = 'expected a whole number from 0 to 127';
const USER_TIMEOUT = 'expected a whole number of milliseconds from 0 to 86400000';
const DRAIN = 'expected a whole number of milliseconds from 0 to 600000';
const MILLISECONDS = 'expected a whole number of milliseconds from 1 to 600000';
const SECONDS = 'expected a number of seconds from 0.05 to 3600';
const THREADS = 'expected a whole number from 1 to 64, or "auto"';
const CLIENTS = 'expected a whole number of clients from 0 to 1000000';
const CLIENTS_OR_AUTO = 'expected a whole number of clients from 1 to 1000000, or "auto"';
const SWITCH = 'expected true or false (in the environment also 1, yes, on, 0, no, off)';
const MODES = 'expected one of disable, prefer, require, verify-ca, verify-full';
const LEVELS = 'expected one of debug, info, notice, warning, err';
const HOST = 'expected a host name or an IP address';
const SOCKET_PATH = 'expected an absolute path of at most 107 bytes, or "off"';

/** variable, its text, the line. */
const ENVIRONMENT: readonly (readonly [string, string, string])[] = [
  ['CANDIDATES', ',', 'candidates = ",": expected at least one server, as in "db1:5432,db2:5432"'],
  ['CANDIDATES', 'a:x', 'candidates = "a:x": in "a:x": expected a port from 1 to 65535 after the colon, found "x"'],
  ['LISTEN_HOST', '[::]', `listen.host = "[::]": ${HOST} without brackets: "[::]" is not an IPv6 address`],
  ['LISTEN_HOST', '1.2.3', `listen.host = "1.2.3": ${HOST} without brackets: "1.2.3" is not an IPv4 address`],
  ['LISTEN_HOST', '*', `listen.host = "*": ${HOST} without brackets: "*" is not a host name or an IP address`],
  ['METRICS_HOST', 'a b', `metrics.host = "a b": ${HOST} without brackets: "a b" is not a host name or an IP address`],
  ['LISTEN_PORT', '65536', `listen.port = "65536": ${PORT}`],
  ['LISTEN_PORT', '-1', `listen.port = "-1": ${PORT}`],
  ['LISTEN_PORT', '5432x', `listen.port = "5432x": ${PORT}`],
  ['LISTEN_PORT', '54.5', `listen.port = "54.5": ${PORT}`],
  ['LISTEN_PORT', ' ', `listen.port = " ": ${PORT}`],
  ['METRICS_PORT', 'http', `metrics.port = "http": ${PORT}`],
  ['STATUS_PAGE', '/', `metrics.status_page = "/": ${SWITCH}`],
  ['NUM_THREADS', '0', `sessions.workers = "0": ${THREADS}`],
  ['NUM_THREADS', '65', `sessions.workers = "65": ${THREADS}`],
  ['NUM_THREADS', 'many', `sessions.workers = "many": ${THREADS}`],
  ['MAX_CONNECTIONS', '0', `sessions.max_connections = "0": ${CLIENTS_OR_AUTO}`],
  ['MAX_CONNECTIONS', 'all', `sessions.max_connections = "all": ${CLIENTS_OR_AUTO}`],
  [
    'MAX_CONNECTION_RATE',
    '-1',
    'sessions.max_connection_rate = "-1": expected a whole number of clients a second from 0 to 1000000',
  ],
  ['MAX_CONNECTIONS_PER_CLIENT', '1000001', `sessions.max_connections_per_client = "1000001": ${CLIENTS}`],
  ['TCP_KEEPALIVE', '2', `sessions.tcp_keepalive = "2": ${SWITCH}`],
  ['TCP_KEEPALIVE', 'constructor', `sessions.tcp_keepalive = "constructor": ${SWITCH}`],
  ['TCP_KEEPALIVES_IDLE', '32768', `sessions.tcp_keepalives_idle = "32768": ${KEEPALIVE_SECONDS}`],
  ['TCP_KEEPALIVES_INTERVAL', '10s', `sessions.tcp_keepalives_interval = "10s": ${KEEPALIVE_SECONDS}`],
  ['TCP_KEEPALIVES_COUNT', '128', `sessions.tcp_keepalives_count = "128": ${KEEPALIVE_COUNT}`],
  ['TCP_USER_TIMEOUT', '-1', `sessions.tcp_user_timeout = "-1": ${USER_TIMEOUT}`],
  ['DRAIN_TIMEOUT_MS', '-1', `sessions.drain_timeout_ms = "-1": ${DRAIN}`],
  ['HOLD_TIMEOUT_MS', '600001', `failover.hold_timeout_ms = "600001": ${DRAIN}`],
  ['MAX_HELD', '-1', `failover.max_held = "-1": ${CLIENTS}`],
  ['RELEASE_RATE', '0', 'failover.release_rate = "0": expected a whole number of clients a second from 1 to 1000000'],
  ['CUT_POLICY', 'never', 'failover.cut_policy = "never": expected one of proof, eager'],
  ['CONNECT_TIMEOUT_MS', '0', `probe.connect_timeout_ms = "0": ${MILLISECONDS}`],
  ['CONNECT_TIMEOUT_MS', '600001', `probe.connect_timeout_ms = "600001": ${MILLISECONDS}`],
  ['CONNECT_TIMEOUT_MS', '800ms', `probe.connect_timeout_ms = "800ms": ${MILLISECONDS}`],
  ['QUERY_TIMEOUT_MS', '0.5', `probe.query_timeout_ms = "0.5": ${MILLISECONDS}`],
  ['CHECK_EVERY', '0.049', `probe.check_every = "0.049": ${SECONDS}`],
  ['CHECK_EVERY', '3601', `probe.check_every = "3601": ${SECONDS}`],
  ['CHECK_EVERY', 'NaN', `probe.check_every = "NaN": ${SECONDS}`],
  ['CHECK_EVERY', '2s', `probe.check_every = "2s": ${SECONDS}`],
  ['CHECK_EVERY', '-2', `probe.check_every = "-2": ${SECONDS}`],
  ['PGSSLMODE', 'on', `probe.sslmode = "on": ${MODES}`],
  ['PGSSLMODE', 'Require', `probe.sslmode = "Require": ${MODES}`],
  ['PGSSLMODE', 'allow', `probe.sslmode = "allow": ${MODES} ("allow" of libpq is not supported: use "prefer")`],
  ['CONTROL_SOCKET', 'control.sock', `control.socket = "control.sock": ${SOCKET_PATH}`],
  ['CONTROL_SOCKET', `/${'x'.repeat(107)}`, `control.socket = "/${'x'.repeat(107)}": ${SOCKET_PATH}`],
  ['LOG_LEVEL', 'verbose', `log.level = "verbose": ${LEVELS}`],
  ['LOG_LEVEL', 'toString', `log.level = "toString": ${LEVELS}`],
];

for (const [name, text, line] of ENVIRONMENT) {
  test(`rejects ${name}=${text}`, ({ machine }) => {
    assert.equal(machine.problems({ CANDIDATES: 'a', [name]: text }), [`environment ${name}: ${line}`]);
  });
}

/** content of a file, the lines. */
const FILES: readonly (readonly [string, readonly string[]])[] = [
  ['candidates = []', ['candidates = []: expected at least one server, as in "db1:5432,db2:5432"']],
  ['candidates = ""', ['candidates = "": expected at least one server, as in "db1:5432,db2:5432"']],
  ['candidates = 5432', ['candidates = 5432: expected a list of servers, as in ["db1:5432", "db2:5432"]']],
  ['candidates = ["a", 1]', ['candidates = ["a",1]: expected a list of servers, as in ["db1:5432", "db2:5432"]']],
  ['candidates = {a = {b = 1}}', ['candidates = a table: expected a list of servers, as in ["db1:5432", "db2:5432"]']],
  ['candidates = ["a b"]', ['candidates = ["a b"]: in "a b": "a b" is not a host name or an IP address']],
  [
    'candidates = ["a\u2028b", "c\u202ed"]',
    [
      'candidates = ["a\\u2028b","c\\u202ed"]: in "a\\u2028b": "a\\u2028b" is not a host name or an IP address',
      'candidates = ["a\\u2028b","c\\u202ed"]: in "c\\u202ed": "c\\u202ed" is not a host name or an IP address',
    ],
  ],
  ['[listen]\nport = "5432"', [`listen.port = "5432": ${PORT}, without quotation marks`]],
  ['[listen]\nport = "70000"', [`listen.port = "70000": ${PORT}`]],
  ['[listen]\nport = 5432.5', [`listen.port = 5432.5: ${PORT}`]],
  ['[listen]\nport = true', [`listen.port = true: ${PORT}`]],
  ['[listen]\nport = [1]', [`listen.port = [1]: ${PORT}`]],
  ['[listen.port]\nx = 1', [`listen.port = a table: ${PORT}`]],
  ['[listen]\nport = 2020-01-01', [`listen.port = 2020-01-01: ${PORT}`]],
  ['[listen]\nhost = ""', [`listen.host = "": ${HOST} without brackets: "" is not a host name or an IP address`]],
  ['[listen]\nhost = 1', [`listen.host = 1: ${HOST}`]],
  ['[sessions]\nworkers = 1.5', [`sessions.workers = 1.5: ${THREADS}`]],
  ['[sessions]\ntcp_keepalive = "yes"', [`sessions.tcp_keepalive = "yes": ${SWITCH}, without quotation marks`]],
  ['[sessions]\ntcp_keepalive = 1', [`sessions.tcp_keepalive = 1: ${SWITCH}`]],
  ['[probe]\ncheck_every = "2"', [`probe.check_every = "2": ${SECONDS}, without quotation marks`]],
  ['[probe]\ncheck_every = inf', [`probe.check_every = Infinity: ${SECONDS}`]],
  ['[probe]\ncheck_every = nan', [`probe.check_every = NaN: ${SECONDS}`]],
  ['[probe]\nuser = 1', ['probe.user = 1: expected a user name in quotation marks']],
  ['[probe]\nuser = "a\\u0000b"', ['probe.user = "a\\u0000b": expected a user name']],
  ['[probe]\ndatabase = ""', ['probe.database = "": expected a database name']],
  ['[probe]\npassword = 12345', ['probe.password = "***": expected a password in quotation marks']],
  [
    '[probe]\nsslmode = "allow"',
    [`probe.sslmode = "allow": ${MODES} ("allow" of libpq is not supported: use "prefer")`],
  ],
  ['[log]\nlevel = 3', [`log.level = 3: ${LEVELS}`]],
  ['listen = 1', ['listen: expected a table, [listen]']],
  ['[[listen]]\nport = 1', ['listen: expected a table, [listen]']],
  // Unknown keys: without their values, which may be secrets under a misspelt name.
  ['[probe]\npasword = "hunter2"', ['probe.pasword: unknown key, did you mean probe.password?']],
  ['PGPASSWORD = "hunter2"', ['PGPASSWORD: unknown key, did you mean probe.password?']],
  ['candidate = "a"', ['candidate: unknown key, did you mean candidates?']],
  ['[listne]\nport = 1', ['listne.port: unknown key, did you mean listen.port?']],
  ['listen_port = 1', ['listen_port: unknown key, did you mean listen.port?']],
  ['check_every = 1', ['check_every: unknown key, did you mean probe.check_every?']],
  [
    '[probe]\nconnect-timeout-ms = 1',
    ['probe.connect-timeout-ms: unknown key, did you mean probe.connect_timeout_ms?'],
  ],
  ['num_threads = 1', ['num_threads: unknown key, did you mean sessions.workers?']],
  ['[cache]\nsize = 1', ['cache.size: unknown key']],
  ['[cache]', ['cache: unknown key']],
  ['[cache.lru.x]\nsize = 1', ['cache.lru.x.size: unknown key']],
  ['"a b" = 1', ['"a b": unknown key']],
  ['"a\\n<3>forged" = 1', ['"a\\n<3>forged": unknown key']],
  ['"listen.port" = 1', ['"listen.port": unknown key, did you mean listen.port?']],
  ['__proto__ = 1', ['__proto__: unknown key']],
  ['[__proto__]\npolluted = 1', ['__proto__.polluted: unknown key']],
  ['[constructor.prototype]\npolluted = 1', ['constructor.prototype.polluted: unknown key']],
  ['[listen.__proto__]\nport = 1', ['listen.__proto__.port: unknown key, did you mean listen.port?']],
  ['toString = 1', ['toString: unknown key']],
  // Syntax: never more than the place and the fault, for the line may hold a password.
  [
    '[probe]\npassword = hunter2',
    ['line 2, column 12: not valid TOML: invalid value (a text stands in quotation marks)'],
  ],
  ['[probe]\npassword = "hunter2', ['line 2, column 12: not valid TOML: unfinished string']],
  ['\n\nx =', ['line 3, column 4: not valid TOML: invalid value (a text stands in quotation marks)']],
  ['a = 1\na = 2', ['line 2, column 1: not valid TOML: trying to redefine an already defined table or value']],
  ['[log]\nlevel = "\ufffd"', ['line 2: not valid UTF-8']],
];

for (const [content, lines] of FILES) {
  test(`rejects a file with ${JSON.stringify(content)}`, ({ machine }) => {
    const file = machine.write('x.toml', content);
    const problems = machine.problems({ CANDIDATES: 'a' }, { file });
    assert.equal(
      problems,
      lines.map((line) => `x.toml: ${line}`),
    );
    assert.not.match(problems.join('\n'), 'hunter2');
    assert.not.ok('polluted' in {});
  });
}

test('bytes that are not UTF-8 are an error', ({ machine }) => {
  const file = machine.write('x.toml', Buffer.from('candidates = "a"\n[probe]\npassword = "hunter\xe9"', 'latin1'));
  assert.equal(machine.problems({}, { file }), ['x.toml: line 3: not valid UTF-8']);
});

test('names the argument', ({ machine }) => {
  const overrides = [
    { key: 'listen.host', value: 'a b', option: '<listen_host>' },
    { key: 'listen.port', value: 'x', option: '<listen_port>' },
    { key: 'log.level', value: 'x', option: '--log-level' },
  ];
  assert.equal(machine.problems({ CANDIDATES: 'a' }, { overrides }), [
    `argument <listen_host>: listen.host = "a b": ${HOST} without brackets: "a b" is not a host name or an IP address`,
    `argument <listen_port>: listen.port = "x": ${PORT}`,
    `argument --log-level: log.level = "x": ${LEVELS}`,
  ]);
});

test('the candidates are required', ({ machine }) => {
  const line =
    'candidates: none are set: name the PostgreSQL servers as candidates = ["db1:5432", "db2:5432"] in etc/pg-gateway.toml, or as CANDIDATES=db1:5432,db2:5432 in /etc/default/pg-gateway, which only the units read, or in the environment, then: systemctl start pg-gateway.socket';
  assert.equal(machine.problems({}), [line]);
  assert.equal(machine.problems({ CANDIDATES: '' }), [line]);
  const file = machine.write('own.toml', '');
  assert.equal(machine.problems({}, { file }), [
    'candidates: none are set: name the PostgreSQL servers as candidates = ["db1:5432", "db2:5432"] in own.toml, or as CANDIDATES=db1:5432,db2:5432 in the environment, then: start it again',
  ]);
  assert.equal(machine.problems({ LOG_LEVEL: 'x' }), [`environment LOG_LEVEL: log.level = "x": ${LEVELS}`, line]);
});

test('candidates of a wrong shape are not also said to be missing', ({ machine }) => {
  for (const value of ['{ a = 1 }', '1', '[1]', '2020-01-01']) {
    const file = machine.write('x.toml', `candidates = ${value}`);
    assert.is(machine.problems({}, { file }).length, 1, value);
  }
});

test('says all errors of all sources at once, in the order of the sources', ({ machine }) => {
  machine.write('etc/pg-gateway.toml', 'candidates = ["a:x", "b", "c:y"]\nport = 1\n[log]\nlevel = "loud"');
  machine.write('etc/conf.d/a.toml', '[listen]\nport = 70000');
  const error = machine.failure(
    { LISTEN_PORT: '5432', NUM_THREADS: 'x', PGPASSFILE: '/nonexistent/pass' },
    { overrides: [{ key: 'log.level', value: 'info!', option: '--log-level' }] },
  );
  assert.instance(error, GatewayError);
  assert.is(error?.code, 'CONFIG_INVALID');
  assert.is(error?.message, error?.problems.join('\n'));
  const main = 'etc/pg-gateway.toml';
  const list = 'candidates = ["a:x","b","c:y"]';
  assert.equal(
    error?.problems.map((line) => line.replace(`${machine.root}/`, '')),
    [
      `${main}: port: unknown key, did you mean listen.port?`,
      `${main}: ${list}: in "a:x": expected a port from 1 to 65535 after the colon, found "x"`,
      `${main}: ${list}: in "c:y": expected a port from 1 to 65535 after the colon, found "y"`,
      `${main}: log.level = "loud": ${LEVELS}`,
      `etc/conf.d/a.toml: listen.port = 70000: ${PORT}`,
      `environment NUM_THREADS: sessions.workers = "x": ${THREADS}`,
      `argument --log-level: log.level = "info!": ${LEVELS}`,
      'environment PGPASSFILE: probe.passfile = "/nonexistent/pass": expected a readable file: ENOENT: no such file or directory',
    ],
  );
});

test('names the files that cannot be read, and the reason', ({ machine }) => {
  mkdirSync(machine.path('etc/conf.d/dir.toml'), { recursive: true });
  const error = machine.failure({ CANDIDATES: 'a' });
  assert.is(error?.code, 'CONFIG_UNREADABLE');
  assert.equal(error?.problems, [
    `${machine.path('etc/conf.d/dir.toml')}: cannot be read: EISDIR: illegal operation on a directory`,
  ]);
  assert.equal(machine.problems({}, { file: machine.path('none.toml') }), [
    'none.toml: cannot be read: ENOENT: no such file or directory',
  ]);
  const mixed = machine.failure({ LOG_LEVEL: 'x' });
  assert.is(mixed?.code, 'CONFIG_INVALID');
  assert.is(mixed?.problems.length, 2, 'and does not say that candidates are missing, which the file may hold');
});

test('a conf.d that is no folder is an error', ({ machine }) => {
  machine.write('etc/conf.d', '');
  assert.equal(machine.problems({ CANDIDATES: 'a' }), ['etc/conf.d: cannot be read: ENOTDIR: not a directory']);
});

test('a file, folder or credential that this user may not read is an error', ({ machine }) => {
  if (userInfo().uid === 0) return; // root may read everything
  const paths = [machine.write('etc/pg-gateway.toml', ''), machine.write('cred/pgpassword', '')];
  for (const path of paths) chmodSync(path, 0);
  assert.equal(machine.problems({ CANDIDATES: 'a', CREDENTIALS_DIRECTORY: machine.path('cred') }), [
    'etc/pg-gateway.toml: cannot be read: EACCES: permission denied',
    'cred/pgpassword: cannot be read: EACCES: permission denied',
  ]);
});

test('a credential that cannot be read is an error', ({ machine }) => {
  mkdirSync(machine.path('cred/pgpassword'), { recursive: true });
  assert.equal(machine.problems({ CANDIDATES: 'a', CREDENTIALS_DIRECTORY: machine.path('cred') }), [
    'cred/pgpassword: cannot be read: EISDIR: illegal operation on a directory',
  ]);
});

for (const [name, key] of [
  ['PGPASSFILE', 'passfile'],
  ['PGSSLROOTCERT', 'sslrootcert'],
  ['PGSSLKEY', 'sslkey'],
  ['PGSSLCERT', 'sslcert'],
] as const) {
  test(`a file named by ${name} must be a readable file`, ({ machine }) => {
    // A pair, so that nothing else is wrong.
    const other = machine.write('other', '');
    const env = { CANDIDATES: 'a', PGSSLCERT: other, PGSSLKEY: other };
    const line = (path: string, reason: string): string =>
      `environment ${name}: probe.${key} = "${path}": expected a readable file: ${reason}`;
    assert.equal(machine.problems({ ...env, [name]: '/nonexistent' }), [
      line('/nonexistent', 'ENOENT: no such file or directory'),
    ]);
    assert.equal(machine.problems({ ...env, [name]: '/dev' }), [line('/dev', 'EISDIR: it is a directory')]);
  });
}

for (const mode of ['verify-ca', 'verify-full']) {
  test(`${mode} needs a root certificate`, ({ machine }) => {
    assert.equal(machine.problems({ CANDIDATES: 'a', PGSSLMODE: mode }), [
      `environment PGSSLMODE: probe.sslmode = "${mode}": expected a root certificate to verify with: set probe.sslrootcert (PGSSLROOTCERT) to a file or to "system", or provide ~/.postgresql/root.crt`,
    ]);
  });
}

for (const mode of ['disable', 'prefer', 'require', 'verify-ca']) {
  test(`the roots of the operating system are not for ${mode}`, ({ machine }) => {
    assert.equal(machine.problems({ CANDIDATES: 'a', PGSSLMODE: mode, PGSSLROOTCERT: 'system' }), [
      `environment PGSSLMODE: probe.sslmode = "${mode}": expected "verify-full", as probe.sslrootcert is "system"`,
    ]);
  });
}

test('certificate and key go together', ({ machine }) => {
  const file = machine.write('x', '');
  assert.equal(machine.problems({ CANDIDATES: 'a', PGSSLCERT: file }), [
    'environment PGSSLCERT: probe.sslcert = "x": expected its private key too: set probe.sslkey (PGSSLKEY) or provide ~/.postgresql/postgresql.key',
  ]);
  assert.equal(machine.problems({ CANDIDATES: 'a', PGSSLKEY: file }), [
    'environment PGSSLKEY: probe.sslkey = "x": expected its certificate too: set probe.sslcert (PGSSLCERT) or provide ~/.postgresql/postgresql.crt',
  ]);
  machine.write('home/.postgresql/postgresql.crt', '');
  assert.equal(machine.problems({ CANDIDATES: 'a' }), [
    'default: probe.sslcert = "home/.postgresql/postgresql.crt": expected its private key too: set probe.sslkey (PGSSLKEY) or provide ~/.postgresql/postgresql.key',
  ]);
  assert.equal(machine.problems({ CANDIDATES: 'a', PGSSLMODE: 'disable' }), []);
});

test('rules between settings are not blamed for a setting that is wrong in itself', ({ machine }) => {
  const file = machine.write('x.toml', 'candidates = "a"\n[probe]\nsslcert = 1\n');
  const key = machine.write('key', '');
  assert.equal(machine.problems({ PGSSLKEY: key }, { file }), [
    'x.toml: probe.sslcert = 1: expected the path of a file in quotation marks',
  ]);
});

test('no line holds a secret, and each is one line of bounded length', ({ machine }) => {
  const secret = 'hunter2';
  const file = machine.write(
    'a\nb\u001b.toml',
    `candidates = "postgres://u:${secret}@db1/x"\npassword = "${secret}"\n[probe]\npassword = ["${secret}"]\nuser = ["${'x'.repeat(5000)}"]`,
  );
  const problems = machine.problems({ CANDIDATES: `u:${secret}@db1:5432, b::1` }, { file });
  assert.is(problems.length, 6);
  for (const line of problems) {
    assert.not.match(line, secret);
    assert.not.match(line, /\p{Cc}/u);
    assert.ok(line.length < 400, line);
  }
});

test.run();
