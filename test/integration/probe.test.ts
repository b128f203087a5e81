// SPDX-License-Identifier: MIT
// Probes of real servers, and of what may stand in a real server's place.

import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';

import type { ProbeConfig } from '#src/config.js';
import type { Lookup } from '#src/probe/dial.js';
import type { Observation, ServerState } from '#src/probe/observation.js';
import { Prober } from '#src/probe/prober.js';
import { systemTimers } from '#src/timers.js';
import { garbageServer, silentServer, slammingServer } from '../helpers/fake-servers.js';
import { temporaryFolder } from '../helpers/paths.js';
import { freePort } from '../helpers/ports.js';
import { createCluster, PostgresServer } from '../helpers/postgres.js';
import type { Cluster } from '../helpers/postgres.js';
import { plainEnvironment, postgresProgram } from '../helpers/postgres-install.js';
import { assert, suite } from '../helpers/suite.js';
import { createAuthority, issueCertificate } from '../helpers/tls.js';
import { eventually } from '../helpers/wait.js';

const PASSWORD = 'corréct: horse\\battery';

const PROBE: ProbeConfig = {
  user: 'postgres',
  password: undefined,
  passfile: undefined,
  database: 'postgres',
  connectTimeoutMs: 5000,
  queryTimeoutMs: 5000,
  checkEveryMs: 2000,
  tls: { mode: 'disable' },
};

interface Target {
  readonly host?: string;
  readonly port: number;
}

interface Watched {
  readonly prober: Prober;
  /** Reasons for which the connection broke between probes. */
  readonly breaks: readonly string[];
}

/** What a test has opened. */
const opened: { close(): Promise<void> }[] = [];

function keep<T extends { close(): Promise<void> }>(one: T): T {
  opened.push(one);
  return one;
}

async function closeOpened(): Promise<void> {
  await Promise.all(opened.splice(0).map((one) => one.close()));
}

function watch({ host = '127.0.0.1', port }: Target, settings: Partial<ProbeConfig> = {}, lookup?: Lookup): Watched {
  const breaks: string[] = [];
  const prober = new Prober({
    candidate: { host, port, name: `${host}:${String(port)}` },
    settings: () => ({ ...PROBE, ...settings }),
    timers: systemTimers,
    onBroken: ({ reason }) => breaks.push(reason),
    ...(lookup === undefined ? {} : { lookup }),
  });
  return { prober: keep(prober), breaks };
}

/** One probe on a connection of its own. */
async function probeOnce(target: Target, settings: Partial<ProbeConfig> = {}, lookup?: Lookup): Promise<Observation> {
  const { prober } = watch(target, settings, lookup);
  const seen = await prober.probe();
  await prober.close();
  return seen;
}

function stateOf(seen: Observation): ServerState {
  if (seen.kind === 'failed') throw new Error(`the probe failed: ${seen.reason}: ${seen.detail}`);
  return seen.state;
}

function failureOf(seen: Observation): string {
  assert.is(seen.kind, 'failed');
  if (seen.kind !== 'failed') return '';
  assert.not.match(seen.detail, PASSWORD);
  return seen.reason;
}

function backends(server: PostgresServer, user: string): Promise<string> {
  return server.query(`SELECT pid FROM pg_stat_activity WHERE application_name = 'pg-gateway' AND usename = '${user}'`);
}

const states = suite<{ cluster?: Cluster }>('probes of a primary and a standby', {});

states.before(async (context) => {
  context.cluster = await createCluster(1);
  await context.cluster.primary.query('CREATE ROLE plain LOGIN');
  await context.cluster.standbys[0]?.caughtUp(context.cluster.primary);
});
states.after.each(closeOpened);
states.after(async ({ cluster }) => cluster?.close());

/** The cluster as [primary, standby]. */
function pair({ cluster }: { cluster?: Cluster }): [PostgresServer, PostgresServer] {
  const standby = cluster?.standbys[0];
  if (cluster === undefined || standby === undefined) throw new Error('no cluster');
  return [cluster.primary, standby];
}

for (const user of ['postgres', 'plain']) {
  states(`a primary, seen by ${user}`, async (context) => {
    const [server] = pair(context);
    const seen = await probeOnce(server, { user });
    const systemId = await server.query('SELECT system_identifier FROM pg_control_system()');
    const { lsn, ...state } = stateOf(seen);
    assert.equal(state, { inRecovery: false, readOnly: false, timeline: 1, streaming: false, systemId });
    assert.ok(lsn !== null && lsn > 0x1000000n);
    assert.equal(seen.kind === 'answered' && seen.address, { address: '127.0.0.1', port: server.port });
    assert.ok(seen.tookMs > 0 && seen.at <= systemTimers.now());
  });
}

states('a standby, seen by the superuser: it streams', async (context) => {
  const [server, standby] = pair(context);
  const systemId = await server.query('SELECT system_identifier FROM pg_control_system()');
  const { lsn, ...state } = stateOf(await probeOnce(standby));
  assert.equal(state, { inRecovery: true, readOnly: true, timeline: 1, streaming: true, systemId });
  assert.ok(lsn !== null && lsn > 0x1000000n);
});

states('a standby, seen by a role that may not see the WAL receiver', async (context) => {
  const [, standby] = pair(context);
  const { inRecovery, timeline, streaming } = stateOf(await probeOnce(standby, { user: 'plain' }));
  assert.equal([inRecovery, timeline, streaming], [true, 1, false]);
});

states('default_transaction_read_only is seen', async (context) => {
  const [server] = pair(context);
  await server.query('ALTER ROLE plain SET default_transaction_read_only = on');
  const { inRecovery, readOnly } = stateOf(await probeOnce(server, { user: 'plain' }));
  await server.query('ALTER ROLE plain RESET default_transaction_read_only');
  assert.equal([inRecovery, readOnly], [false, true]);
});

states('a search_path cannot put other functions in place', async (context) => {
  const [server] = pair(context);
  await server.query(`CREATE SCHEMA trap;
    CREATE FUNCTION trap.pg_is_in_recovery() RETURNS bool LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION trap.current_setting(text) RETURNS text LANGUAGE sql AS $$SELECT 'on'::text$$;
    GRANT USAGE ON SCHEMA trap TO plain; ALTER ROLE plain SET search_path = trap, pg_catalog`);
  const { inRecovery, readOnly } = stateOf(await probeOnce(server, { user: 'plain' }));
  await server.query('ALTER ROLE plain RESET search_path; DROP SCHEMA trap CASCADE');
  assert.equal([inRecovery, readOnly], [false, false]);
});

states('one connection for many probes, named, and closed without a complaint in the log', async (context) => {
  const [server] = pair(context);
  const { prober } = watch(server, { user: 'plain' });
  stateOf(await prober.probe());
  const pid = await backends(server, 'plain');
  assert.match(pid, /^\d+$/);
  for (let probe = 0; probe < 20; probe += 1) stateOf(await prober.probe());
  assert.is(await backends(server, 'plain'), pid);
  const logged = server.log.length;
  await prober.close();
  await eventually('the backend to end', async () => (await backends(server, 'plain')) === '');
  assert.not.match(server.log.slice(logged), /unexpected|reset|could not/);
});

states('a terminated connection is news, and no failure of the next probe', async (context) => {
  const [server] = pair(context);
  const { prober, breaks } = watch(server, { user: 'plain' });
  stateOf(await prober.probe());
  await server.query(`SELECT pg_terminate_backend(${await backends(server, 'plain')})`);
  await eventually('the break to be noticed', () => breaks.length > 0);
  assert.equal(breaks, ['shutdown']);
  stateOf(await prober.probe());
  assert.equal(breaks, ['shutdown']);
});

states('nor is one that is found dead by the probe itself', async (context) => {
  const [server] = pair(context);
  const { prober, breaks } = watch(server, { user: 'plain' });
  stateOf(await prober.probe());
  // Synchronously: this process cannot notice before it asks.
  const sql = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'plain'";
  execFileSync(
    postgresProgram('psql'),
    ['-XAtqc', sql, '-h', server.host, '-p', String(server.port), '-U', 'postgres'],
    {
      env: plainEnvironment({ PGDATABASE: 'postgres' }),
    },
  );
  stateOf(await prober.probe());
  assert.equal(breaks, []);
});

states('a loop that was stalled past the deadline does not lose an answer that was there', async (context) => {
  const [server] = pair(context);
  const { prober } = watch(server, { queryTimeoutMs: 100 });
  stateOf(await prober.probe());
  const probe = prober.probe();
  await turn(); // the query is on its way
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 400);
  stateOf(await probe);
});

states('frozen: no answer in time, no log-in in time, and no answer that comes late', async (context) => {
  const [server] = pair(context);
  const { prober } = watch(server, { queryTimeoutMs: 150, connectTimeoutMs: 250 });
  stateOf(await prober.probe());
  server.freeze();
  try {
    const first = await prober.probe();
    assert.is(failureOf(first), 'query_timeout');
    assert.ok(first.tookMs >= 149 && first.tookMs < 1000, String(first.tookMs));
    const second = await prober.probe();
    assert.is(failureOf(second), 'connect_timeout');
    assert.ok(second.tookMs >= 249 && second.tookMs < 1000, String(second.tookMs));
  } finally {
    server.thaw();
  }
  await eventually('it to answer again', async () => (await prober.probe()).kind === 'answered');
});

states('a promotion is seen at once, on the connection that was there, with its new timeline', async (context) => {
  const [server, standby] = pair(context);
  await server.stop();
  const { prober } = watch(standby);
  assert.is(stateOf(await prober.probe()).inRecovery, true);
  const pid = await backends(standby, 'postgres');
  await standby.query('SELECT pg_promote(wait => false)');
  const promoted = await eventually(
    'the promotion',
    async () => {
      const state = stateOf(await prober.probe());
      return state.inRecovery ? undefined : state;
    },
    { everyMs: 1 },
  );
  assert.equal([promoted.timeline, promoted.readOnly, promoted.streaming], [2, false, false]);
  assert.is(await backends(standby, 'postgres'), pid);
});

states('a stopped server is refused, a stop is news', async (context) => {
  const [, server] = pair(context);
  const { prober, breaks } = watch(server);
  stateOf(await prober.probe());
  await server.stop('fast');
  await eventually('the break to be noticed', () => breaks.length > 0);
  assert.equal(breaks, ['shutdown']);
  assert.is(failureOf(await prober.probe()), 'refused');
});

states('closed in the middle of a probe', async () => {
  const silent = keep(await silentServer());
  const { prober } = watch(silent);
  const probe = prober.probe();
  await eventually('the connection', () => silent.accepted > 0);
  await prober.close();
  await prober.close();
  assert.is(failureOf(await probe), 'broken');
});

states.run();

const logins = suite<{ server?: PostgresServer; plain?: PostgresServer; folder?: string }>(
  'log-in and TLS of probes',
  {},
);

logins.before(async (context) => {
  const hba = [
    'host all postgres all trust',
    'hostssl all certified all cert',
    'hostssl all open_only all reject',
    'host all open_only all trust',
    'hostssl all tls_only all trust',
    'host all md5_role all md5',
    'host all scram_role all scram-sha-256',
    'host all clear_role all password',
  ];
  const server = await PostgresServer.create({ tls: true, hba });
  context.server = server;
  context.plain = await PostgresServer.create();
  context.folder = (await temporaryFolder()).path;
  await copyFile(server.rootCertificate, join(server.dataDir, 'root.crt'));
  const literal = `'${PASSWORD}'`;
  await server.query(`SET standard_conforming_strings = on;
    CREATE ROLE certified LOGIN; CREATE ROLE open_only LOGIN; CREATE ROLE tls_only LOGIN;
    SET password_encryption = 'md5'; CREATE ROLE md5_role LOGIN PASSWORD ${literal};
    SET password_encryption = 'scram-sha-256';
    CREATE ROLE scram_role LOGIN PASSWORD ${literal}; CREATE ROLE clear_role LOGIN PASSWORD ${literal};
    ALTER SYSTEM SET ssl_ca_file = 'root.crt'`);
  await server.query('SELECT pg_reload_conf()');
  await issueCertificate(dirname(server.rootCertificate), 'certified', join(context.folder, 'client'));
  await createAuthority(context.folder);
});
logins.after.each(closeOpened);
logins.after(async ({ server, plain }) => {
  await Promise.all([server?.close(), plain?.close()]);
});

function parts(context: { server?: PostgresServer; plain?: PostgresServer; folder?: string }): {
  readonly server: PostgresServer;
  readonly plain: PostgresServer;
  readonly folder: string;
} {
  const { server, plain, folder } = context;
  if (server === undefined || plain === undefined || folder === undefined) throw new Error('no servers');
  return { server, plain, folder };
}

/** Whether the probe's own connection is encrypted. */
async function isEncrypted(server: PostgresServer, settings: Partial<ProbeConfig>, target: Target): Promise<string> {
  const { prober } = watch(target, settings, () => Promise.resolve(['127.0.0.1']));
  stateOf(await prober.probe());
  const answer = await server.query(
    "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'pg-gateway'",
  );
  await prober.close();
  await eventually('the backend to end', async () => {
    return (await server.query("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pg-gateway'")) === '0';
  });
  return answer;
}

for (const user of ['md5_role', 'scram_role', 'clear_role']) {
  logins(`${user}: right, wrong, no password, and one from a file`, async (context) => {
    const { server, folder } = parts(context);
    stateOf(await probeOnce(server, { user, password: PASSWORD }));
    assert.is(failureOf(await probeOnce(server, { user, password: 'wrong' })), 'auth');
    assert.is(failureOf(await probeOnce(server, { user })), 'auth');
    const passfile = join(folder, `${user}.pgpass`);
    const escaped = PASSWORD.replace(/[\\:]/g, '\\$&');
    await writeFile(passfile, `127.0.0.1:${String(server.port)}:*:${user}:${escaped}\n`, { mode: 0o600 });
    stateOf(await probeOnce(server, { user, passfile }));
    await writeFile(passfile, `elsewhere:*:*:*:${escaped}\n`);
    assert.is(failureOf(await probeOnce(server, { user, passfile })), 'auth');
  });
}

logins('a role, a database and a host line that do not exist', async (context) => {
  const { server } = parts(context);
  assert.is(failureOf(await probeOnce(server, { user: 'tls_only' })), 'auth');
  assert.is(failureOf(await probeOnce(server, { database: 'nowhere' })), 'auth');
  assert.is(failureOf(await probeOnce(server, { user: undefined })), 'auth');
});

logins('nothing is taken from the environment that the configuration says otherwise', async (context) => {
  const { server } = parts(context);
  const before = process.env;
  const misleading = { PGPASSWORD: PASSWORD, PGSSLMODE: 'require', PGSSLNEGOTIATION: 'direct', PGHOST: 'no.such' };
  process.env = { ...before, ...misleading };
  try {
    assert.is(failureOf(await probeOnce(server, { user: 'scram_role' })), 'auth');
    assert.is(await isEncrypted(server, {}, server), 'f');
  } finally {
    process.env = before;
  }
});

logins('disable, prefer and require, with and without TLS on the server', async (context) => {
  const { server, plain } = parts(context);
  assert.is(await isEncrypted(server, { tls: { mode: 'disable' } }, server), 'f');
  assert.is(await isEncrypted(server, { tls: { mode: 'prefer' } }, server), 't');
  assert.is(await isEncrypted(server, { tls: { mode: 'require' } }, server), 't');
  assert.is(await isEncrypted(plain, { tls: { mode: 'prefer' } }, plain), 'f');
  assert.is(failureOf(await probeOnce(plain, { tls: { mode: 'require' } })), 'tls');
});

logins('prefer goes on in plain text where TLS fails or is not wanted, and only then', async (context) => {
  const { server, folder } = parts(context);
  const prefer = { tls: { mode: 'prefer' } } as const;
  assert.is(await isEncrypted(server, { ...prefer, user: 'open_only' }, server), 'f');
  const untrusting = { tls: { mode: 'prefer', rootCert: join(folder, 'root.crt') } } as const;
  assert.is(await isEncrypted(server, untrusting, server), 'f');
  const logged = server.log.length;
  assert.is(failureOf(await probeOnce(server, { ...prefer, user: 'clear_role', password: 'wrong' })), 'auth');
  assert.is(failureOf(await probeOnce(server, { database: 'last_line' })), 'auth');
  await eventually('all to be logged', () => server.log.includes('last_line'));
  const refusals = server.log.slice(logged).match(/password authentication failed/g) ?? [];
  assert.is(refusals.length, 1, 'the password was sent again, in the open');
  assert.is(failureOf(await probeOnce(server, { tls: { mode: 'require' }, user: 'open_only' })), 'auth');
});

logins('the certificate: chain and name', async (context) => {
  const { server, folder } = parts(context);
  const right = server.rootCertificate;
  const wrong = join(folder, 'root.crt');
  const named = { host: 'localhost', port: server.port };
  const other = { host: 'db.example', port: server.port };
  const address = { host: '127.0.0.1', port: server.port };
  const rooted = { host: 'localhost.', port: server.port };
  const full = { mode: 'verify-full', rootCert: right } as const;
  for (const target of [named, address, rooted]) assert.is(await isEncrypted(server, { tls: full }, target), 't');
  assert.is(await isEncrypted(server, { tls: { mode: 'verify-ca', rootCert: right } }, other), 't');
  assert.is(await isEncrypted(server, { tls: { mode: 'require', rootCert: right } }, other), 't');
  const lookup: Lookup = () => Promise.resolve(['127.0.0.1']);
  assert.is(failureOf(await probeOnce(other, { tls: full }, lookup)), 'tls');
  for (const mode of ['require', 'verify-ca', 'verify-full'] as const) {
    assert.is(failureOf(await probeOnce(named, { tls: { mode, rootCert: wrong } }, lookup)), 'tls', mode);
    assert.is(
      failureOf(await probeOnce(named, { tls: { mode, rootCert: join(folder, 'none') } }, lookup)),
      'tls',
      mode,
    );
    assert.is(failureOf(await probeOnce(named, { tls: { mode, rootCert: server.dataDir } }, lookup)), 'tls', mode);
  }
  // Nobody's root signed a certificate of this test's.
  assert.is(failureOf(await probeOnce(named, { tls: { mode: 'verify-full', rootCert: 'system' } }, lookup)), 'tls');
});

logins('renewed certificates count from the next connection on', async (context) => {
  const { server, folder } = parts(context);
  const rootCert = join(folder, 'changing.crt');
  await copyFile(join(folder, 'root.crt'), rootCert);
  const { prober } = watch(server, { tls: { mode: 'verify-ca', rootCert } });
  assert.is(failureOf(await prober.probe()), 'tls');
  await copyFile(server.rootCertificate, rootCert);
  stateOf(await prober.probe());
});

logins('a client certificate', async (context) => {
  const { server, folder } = parts(context);
  const cert = join(folder, 'client.crt');
  const key = join(folder, 'client.key');
  const tls = { mode: 'verify-full', rootCert: server.rootCertificate, cert, key } as const;
  stateOf(await probeOnce(server, { user: 'certified', tls }));
  assert.is(failureOf(await probeOnce(server, { user: 'certified', tls: { mode: 'require' } })), 'auth');
  assert.is(failureOf(await probeOnce(server, { user: 'scram_role', tls })), 'auth');
  assert.is(
    failureOf(await probeOnce(server, { user: 'certified', tls: { ...tls, key: join(folder, 'root.key') } })),
    'tls',
  );
});

logins.run();

const impostors = suite('probes of what is no server');
impostors.after.each(closeOpened);

const SHORT = { connectTimeoutMs: 200, queryTimeoutMs: 200 };

/** A server that answers the first bytes of a connection with `greeting`, and all that follow with `answer`. */
async function scriptedServer(greeting: Buffer, answer: (socket: Socket) => void = () => undefined): Promise<Target> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('data', () => {
      socket.write(greeting);
      socket.on('data', () => answer(socket));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo; // listening on TCP
  const close = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, 'close');
  };
  keep({ close });
  return { port };
}

/** "55.7. Message Formats": type, length, body. */
function message(type: string, body: Buffer | string = ''): Buffer {
  const bytes = Buffer.from(body);
  const head = Buffer.from(`${type}0000`, 'latin1');
  head.writeInt32BE(bytes.length + 4, 1);
  return Buffer.concat([head, bytes]);
}

function errorResponse(code: string): Buffer {
  return message('E', `SFATAL\0VFATAL\0C${code}\0Mas the test says\0\0`);
}

const LOGGED_IN = Buffer.concat([message('R', Buffer.alloc(4)), message('Z', 'I')]);

impostors('nobody listens', async () => {
  assert.is(failureOf(await probeOnce({ port: await freePort() })), 'refused');
});

for (const mode of ['disable', 'prefer', 'require'] as const) {
  impostors(`one that never answers, ${mode}`, async () => {
    const silent = keep(await silentServer());
    const seen = await probeOnce(silent, { ...SHORT, tls: { mode } });
    assert.is(failureOf(seen), 'connect_timeout');
    assert.ok(seen.tookMs >= 199 && seen.tookMs < 1000, String(seen.tookMs));
  });

  impostors(`one that answers garbage for ever, ${mode}`, async () => {
    const garbage = keep(await garbageServer());
    const seen = await probeOnce(garbage, { tls: { mode } });
    assert.is(failureOf(seen), 'protocol');
    assert.ok(seen.tookMs < 1000, String(seen.tookMs));
  });

  impostors(`one that closes at once, ${mode}`, async () => {
    const slamming = keep(await slammingServer());
    assert.is(failureOf(await probeOnce(slamming, { tls: { mode } })), 'broken');
  });
}

const SQLSTATES: readonly (readonly [string, string])[] = [
  ['57P03', 'starting'],
  ['53300', 'too_many'],
  ['28P01', 'auth'],
  ['XX000', 'error'],
];

for (const [code, reason] of SQLSTATES) {
  impostors(`log-in refused with ${code} is ${reason}`, async () => {
    const server = await scriptedServer(errorResponse(code));
    assert.is(failureOf(await probeOnce(server)), reason);
  });
}

const ANSWERS: readonly (readonly [string, Buffer, string])[] = [
  ['no row', Buffer.concat([message('C', 'SELECT 0\0'), message('Z', 'I')]), 'protocol'],
  ['a row that lies about its length', message('D', Buffer.from([0x7f, 0xff, 0, 0])), 'protocol'],
  ['columns that are not there', message('T', Buffer.from([0x7f, 0xff, 0])), 'protocol'],
  ['a type that does not exist', message('?', 'what'), 'protocol'],
  ['an SQL error', errorResponse('42883'), 'error'],
  ['a shutdown', errorResponse('57P01'), 'shutdown'],
];

for (const [what, answer, reason] of ANSWERS) {
  impostors(`the query is answered by ${what}`, async () => {
    const server = await scriptedServer(LOGGED_IN, (socket) => socket.end(answer));
    assert.is(failureOf(await probeOnce(server)), reason);
  });
}

impostors('the query is not answered', async () => {
  const server = await scriptedServer(LOGGED_IN);
  assert.is(failureOf(await probeOnce(server, SHORT)), 'query_timeout');
});

impostors('notices without end are cut off', async () => {
  const notice = message('N', `SNOTICE\0C00000\0M${'x'.repeat(10_000)}\0\0`);
  const server = await scriptedServer(LOGGED_IN, (socket) => {
    const flood = (): void => {
      while (socket.writable && socket.write(notice));
    };
    socket.on('drain', flood);
    flood();
  });
  assert.is(failureOf(await probeOnce(server)), 'protocol');
});

impostors('more than one byte to an SSLRequest is not believed', async () => {
  const server = await scriptedServer(Buffer.concat([Buffer.from('S'), message('R', Buffer.alloc(4))]));
  assert.is(failureOf(await probeOnce(server, { tls: { mode: 'require' } })), 'protocol');
});

impostors('a name that is not known, and one whose look-up does not end', async () => {
  const unknown: Lookup = () =>
    Promise.reject(Object.assign(new Error('getaddrinfo ENOTFOUND'), { code: 'ENOTFOUND' }));
  assert.is(failureOf(await probeOnce({ host: 'db.example', port: 1 }, {}, unknown)), 'dns');
  const none: Lookup = () => Promise.resolve([]);
  assert.is(failureOf(await probeOnce({ host: 'db.example', port: 1 }, {}, none)), 'dns');
  let begun = 0;
  let finish: (addresses: readonly string[]) => void = () => undefined;
  const slow: Lookup = () => {
    begun += 1;
    return new Promise((resolve) => {
      finish = resolve;
    });
  };
  const { prober } = watch({ host: 'db.example', port: await freePort() }, SHORT, slow);
  assert.is(failureOf(await prober.probe()), 'dns');
  assert.is(failureOf(await prober.probe()), 'dns');
  finish(['127.0.0.1']);
  assert.is(failureOf(await prober.probe()), 'refused');
  assert.is(begun, 1, 'a look-up that hangs must not be begun again and again');
});

impostors("a system's real look-up", async () => {
  const seen = await probeOnce({ host: 'localhost', port: await freePort() });
  assert.is(failureOf(seen), 'refused');
  assert.is(failureOf(await probeOnce({ host: 'does-not-exist.invalid', port: 1 })), 'dns');
});

impostors('the addresses of a name are tried in turn, also when one of them is dead', async () => {
  const { port } = keep(await PostgresServer.create());
  const lookup: Lookup = () => Promise.resolve(['127.0.0.2', '192.0.2.1', '::1', '127.0.0.1']);
  const seen = await probeOnce({ host: 'db.example', port }, {}, lookup);
  assert.equal(seen.kind === 'answered' && seen.address, { address: '127.0.0.1', port });
  assert.ok(seen.tookMs < 1000, String(seen.tookMs));
});

impostors.run();
