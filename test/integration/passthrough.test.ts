// SPDX-License-Identifier: MIT
// What must pass through the gateway untouched, seen by libpq's own programs: TLS from end to end, cancellation,
// notifications, pipelining, replication.

import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { Gateway } from '../helpers/gateway.js';
import { temporaryFolder } from '../helpers/paths.js';
import { cancelRequest, errorFields, PgSession, queryMessage, readUntil } from '../helpers/pg-session.js';
import { PostgresServer } from '../helpers/postgres.js';
import { clientProgram, psql, query, startPsql } from '../helpers/psql.js';
import type { Target } from '../helpers/psql.js';
import { RawClient } from '../helpers/raw-client.js';
import { assert, suite } from '../helpers/suite.js';
import { createAuthority } from '../helpers/tls.js';
import { eventually, timed } from '../helpers/wait.js';

const IS_ENCRYPTED = 'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()';
/** How long the statement to be cancelled would run, and by when it has to be over. */
const SLEEP_SECONDS = 60;
const CANCELLED_WITHIN_MS = 5000;

const test = suite('passthrough');
let server: PostgresServer;
let gateway: Gateway;

test.before(async () => {
  server = await PostgresServer.create({
    tls: true,
    hba: [
      'hostssl all bound all scram-sha-256',
      'host all bound all reject',
      'host all all all trust',
      'host replication all all trust',
    ],
  });
  await server.query("CREATE ROLE bound LOGIN PASSWORD 'of the session'");
  gateway = await Gateway.start({ candidates: [server.candidate] });
});

test.after(async () => {
  await gateway.close();
  await server.close();
});

function clients(env: Readonly<Record<string, string>> = {}, host = 'localhost'): Target {
  return { host, port: gateway.clients.port, env };
}

function verified(env: Readonly<Record<string, string>> = {}, host?: string): Target {
  return clients({ PGSSLMODE: 'verify-full', PGSSLROOTCERT: server.rootCertificate, ...env }, host);
}

function md5(text: string): string {
  return createHash('md5').update(text).digest('hex');
}

/** Backends that are in `pg_sleep()` now. */
async function sleepers(): Promise<number> {
  const sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
  return Number(await server.query(sql));
}

test('sslmode=verify-full meets the certificate of the server', async () => {
  assert.is(await query(verified(), IS_ENCRYPTED), 't');
});

test('sslmode=disable is not encrypted on the way', async () => {
  assert.is(await query(clients({ PGSSLMODE: 'disable' }), IS_ENCRYPTED), 'f');
});

test('a client that trusts another authority refuses the server', async () => {
  const folder = await temporaryFolder();
  try {
    await createAuthority(folder.path);
    const { status, stderr } = await psql(verified({ PGSSLROOTCERT: join(folder.path, 'root.crt') }), 'SELECT 1');
    assert.is(status, 2);
    assert.match(stderr, 'certificate verify failed');
  } finally {
    await folder.close();
  }
});

test('a client that asks for another name refuses the server', async () => {
  const { status, stderr } = await psql(verified({ PGHOSTADDR: '127.0.0.1' }, 'db.example'), 'SELECT 1');
  assert.is(status, 2);
  assert.match(stderr, 'does not match host name "db.example"');
});

test('channel binding holds: nobody is in the middle', async () => {
  const login = { PGUSER: 'bound', PGPASSWORD: 'of the session', PGCHANNELBINDING: 'require' };
  assert.is(await query(verified(login), IS_ENCRYPTED), 't');
});

test('megabytes through TLS arrive as they were sent', async () => {
  const count = 100_000;
  const rows = await query(verified(), `SELECT md5(i::text) FROM generate_series(1, ${count}) AS i`);
  const expected = Array.from({ length: count }, (_, index) => md5(String(index + 1))).join('\n');
  assert.ok(rows === expected, `${rows.length} characters came, other than the ${expected.length} expected`);
});

for (const [what, target] of [
  ['plain', (): Target => clients({ PGSSLMODE: 'disable' })],
  ['with TLS', (): Target => verified()],
] as const) {
  test(`^C in psql cancels the statement: ${what}`, async () => {
    const child = startPsql(target());
    try {
      child.write(`SELECT pg_sleep(${SLEEP_SECONDS});\n`);
      await eventually('the statement to run', async () => (await sleepers()) === 1);
      const took = await timed(async () => {
        child.kill('SIGINT');
        await child.ended;
      });
      assert.ok(took < CANCELLED_WITHIN_MS, `it took ${took} ms`);
      assert.match(child.stderr, 'canceling statement due to user request');
      await eventually('the end of the statement', async () => (await sleepers()) === 0);
    } finally {
      await child.close();
    }
  });
}

test('a cancel request ends by itself, and the session it was for goes on', async () => {
  const session = await PgSession.open(gateway.clients);
  const canceller = await RawClient.connect(gateway.clients);
  try {
    session.raw.send(queryMessage(`SELECT pg_sleep(${SLEEP_SECONDS})`));
    await eventually('the statement to run', async () => (await sleepers()) === 1);
    canceller.send(cancelRequest(session.processId, session.secret));
    assert.is(await canceller.ended(), 'fin');
    assert.is(canceller.received, 0);
    const fields = errorFields(await readUntil(session.raw, 'E'));
    assert.is(fields.get('M'), 'canceling statement due to user request');
    await readUntil(session.raw, 'Z');
    assert.equal(await session.query('SELECT 1'), ['1']);
  } finally {
    canceller.close();
    session.close();
  }
});

test('a notification reaches a session that only listens', async () => {
  const [listener, notifier] = await Promise.all([PgSession.open(gateway.clients), PgSession.open(gateway.clients)]);
  try {
    await listener.query('LISTEN news');
    for (const payload of ['first', 'second']) {
      await notifier.query(`NOTIFY news, '${payload}'`);
      const { body } = await readUntil(listener.raw, 'A');
      assert.is(body.readInt32BE(0), notifier.processId);
      assert.equal(body.toString('utf8', 4).split('\0'), ['news', payload, '']);
    }
  } finally {
    listener.close();
    notifier.close();
  }
});

test('a thousand queries sent at once are all answered, in order', async () => {
  const session = await PgSession.open(gateway.clients);
  try {
    const numbers = Array.from({ length: 1000 }, (_, index) => String(index));
    session.raw.send(Buffer.concat(numbers.map((number) => queryMessage(`SELECT ${number}`))));
    for (const number of numbers) {
      const { body } = await readUntil(session.raw, 'D');
      assert.is(body.toString('utf8', 6), number);
    }
  } finally {
    session.close();
  }
});

test('pgbench with prepared statements in pipelines has no failed transaction', async () => {
  const folder = await temporaryFolder();
  try {
    const script = join(folder.path, 'pipeline.sql');
    await writeFile(script, ['\\startpipeline', 'SELECT 1;', 'SELECT 2;', 'SELECT 3;', '\\endpipeline', ''].join('\n'));
    const options = ['-n', '-M', 'prepared', '-c', '4', '-j', '2', '-t', '500', '-f', script];
    const { status, stdout, stderr } = await clientProgram(clients(), 'pgbench', options);
    assert.is(status, 0, stderr);
    assert.match(stdout, 'number of transactions actually processed: 2000/2000');
    assert.match(stdout, 'number of failed transactions: 0 ');
  } finally {
    await folder.close();
  }
});

test('a replication connection passes', async () => {
  const options = ['-XAt', '-d', 'dbname=postgres replication=database', '-c', 'IDENTIFY_SYSTEM'];
  const { status, stdout, stderr } = await clientProgram(clients(), 'psql', options);
  assert.is(status, 0, stderr);
  const systemId = await server.query('SELECT system_identifier FROM pg_control_system()');
  assert.match(stdout, new RegExp(`^${systemId}\\|1\\|[0-9A-F]+/[0-9A-F]+\\|postgres$`, 'm'));
});

test.run();
