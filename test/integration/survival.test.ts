// SPDX-License-Identifier: MIT
// Sessions outlive the gateway: it is stopped, killed and crashed, and its clients
// see a stall at most.

import { randomInt } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { succeed } from '../helpers/child.js';
import { freezeIfPermitted, threadIds } from '../helpers/freeze-thread.js';
import { Gateway } from '../helpers/gateway.js';
import { disturbed, KeptGateway, UNHEARD } from '../helpers/kept-gateway.js';
import { temporaryFolder } from '../helpers/paths.js';
import { PgSession, queryMessage } from '../helpers/pg-session.js';
import { plainEnvironment, postgresProgram, SUPERUSER } from '../helpers/postgres-install.js';
import { createCluster } from '../helpers/postgres.js';
import type { Cluster } from '../helpers/postgres.js';
import { clientProgram, query, startPsql } from '../helpers/psql.js';
import { assert, suite } from '../helpers/suite.js';
import { eventually, observeFor } from '../helpers/wait.js';

const BULK_ROWS = 1_000_000;
const TEXT = 'repeat(md5(i::text), 32)';
const ROWS = `SELECT i, ${TEXT} FROM generate_series(1, ${BULK_ROWS}) AS i`;
/** As many as each of the longer tests sees at least. */
const RESTARTS = 5;

const test = suite('survival');
let cluster: Cluster;

test.before(async () => {
  cluster = await createCluster(1);
  const init = await clientProgram(cluster.primary, 'pgbench', ['-i', '-q', '-s', '8']);
  assert.is(init.status, 0, init.stderr);
});

test.after(async () => {
  await cluster.close();
});

async function withGateway(use: (gateway: KeptGateway) => Promise<void>, workers = 2): Promise<void> {
  const candidates = cluster.servers.map(({ candidate }) => candidate);
  const gateway = await KeptGateway.start({ candidates, env: { NUM_THREADS: String(workers) } });
  try {
    await use(gateway);
  } finally {
    await gateway.close();
  }
}

for (const signal of ['SIGTERM', 'SIGKILL', 'SIGSEGV'] as const) {
  test(`a session goes on after ${signal}, on the same server process`, async () => {
    await withGateway(async (gateway) => {
      const session = await PgSession.open(gateway.clients);
      await session.query('CREATE TEMP TABLE mine (id int)');
      for (let round = 0; round < 3; round += 1) {
        const next = await gateway.restart(signal);
        await next.logged('sessions of an earlier process taken up', { recovered: '1', not_whole: '0', missing: '0' });
        await session.query(`INSERT INTO mine VALUES (${round})`);
        assert.is((await next.samples()).get('pg_gateway_sessions_recovered_total'), 1);
        assert.is((await next.samples()).get('pg_gateway_connections_active'), 1);
      }
      assert.equal(await session.query('SELECT count(*) FROM mine'), ['3']);
      assert.equal(await session.query('SELECT pg_backend_pid()'), [String(session.processId)]);
      session.close();
      await gateway.current.metric('pg_gateway_sessions_kept', {}, (value) => value === 0);
    });
  });
}

/** Kills the process. Of the next one Node does not begin before `use` is over: what happens, the data plane does alone. */
async function withoutNode(gateway: KeptGateway, use: () => Promise<void>): Promise<Gateway> {
  const folder = await temporaryFolder();
  try {
    const [gate, opened] = [join(folder.path, 'gate.cjs'), join(folder.path, 'opened')];
    await writeFile(
      gate,
      `const { existsSync } = require('node:fs');
      const clock = new Int32Array(new SharedArrayBuffer(4));
      for (let i = 0; i < 2000 && !existsSync(${JSON.stringify(opened)}); i += 1) Atomics.wait(clock, 0, 0, 10);`,
    );
    gateway.set({ NODE_OPTIONS: `--require=${gate}` });
    gateway.current.kill('SIGKILL');
    const next = gateway.next();
    try {
      await use();
    } finally {
      await writeFile(opened, '');
      await next;
    }
    return gateway.current;
  } finally {
    await folder.close();
  }
}

test('sessions go on before Node has begun, and Node takes them over', async () => {
  await withGateway(async (gateway) => {
    const session = await PgSession.open(gateway.clients);
    const next = await withoutNode(gateway, async () => {
      assert.equal(await session.query('SELECT pg_backend_pid()'), [String(session.processId)]);
    });
    await next.logged('sessions of an earlier process taken up', { recovered: '1' });
    assert.equal(await session.query('SELECT pg_backend_pid()'), [String(session.processId)]);
    assert.is(await query(gateway.clients, 'SELECT 42'), '42');
    session.close();
    await next.metric('pg_gateway_sessions_kept', {}, (value) => value === 0);
  });
});

test('sessions go on with another number of worker threads', async () => {
  await withGateway(async (gateway) => {
    const sessions = await Promise.all([1, 2, 3].map(() => PgSession.open(gateway.clients)));
    for (const workers of [3, 1]) {
      gateway.set({ NUM_THREADS: String(workers) });
      const next = await gateway.restart('SIGTERM');
      await next.logged('sessions of an earlier process taken up', { recovered: '3', not_whole: '0', missing: '0' });
      assert.is((await next.samples()).get('pg_gateway_sessions_recovered_total'), 3);
      for (const session of sessions) {
        assert.equal(await session.query('SELECT pg_backend_pid()'), [String(session.processId)]);
      }
    }
    for (const session of sessions) session.close();
    await gateway.current.metric('pg_gateway_sessions_kept', {}, (value) => value === 0);
  });
});

test('sessions go on where the addon was not loaded ahead of Node', async () => {
  const candidates = cluster.servers.map(({ candidate }) => candidate);
  const gateway = await KeptGateway.start({ candidates }, { early: false });
  try {
    const session = await PgSession.open(gateway.clients);
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      await gateway.restart(signal);
      assert.equal(await session.query('SELECT pg_backend_pid()'), [String(session.processId)]);
    }
    session.close();
  } finally {
    await gateway.close();
  }
});

test('a start that fails is over at once, however long a stop may wait, and the next one has the sessions', async () => {
  await withGateway(async (gateway) => {
    const session = await PgSession.open(gateway.clients);
    gateway.set({ DRAIN_TIMEOUT_MS: '120000', METRICS_PORT: String(cluster.primary.port) });
    const failure = await gateway.restart('SIGKILL').then(() => 'it has started', String);
    assert.match(failure, 'LISTEN_FAILED');
    assert.not.match(failure, 'waiting for sessions to end');
    gateway.set({ METRICS_PORT: '0' });
    await gateway.next();
    assert.equal(await session.query('SELECT pg_backend_pid()'), [String(session.processId)]);
    session.close();
  });
});

test('a start with fewer descriptors than the sessions need is refused, and loses none', async () => {
  await withGateway(async (gateway) => {
    const sessions = await Promise.all(Array.from({ length: 30 }, () => PgSession.open(gateway.clients)));
    gateway.limitDescriptors(64);
    const failure = await gateway.restart('SIGKILL').then(() => 'it has started', String);
    assert.match(failure, 'code=DATAPLANE_START');
    assert.match(failure, 'LimitNOFILE=');
    gateway.limitDescriptors(undefined);
    const next = await gateway.next();
    await next.logged('sessions of an earlier process taken up', { recovered: '30', not_whole: '0', missing: '0' });
    for (const session of sessions) {
      assert.equal(await session.query('SELECT pg_backend_pid()'), [String(session.processId)]);
      session.close();
    }
  });
});

test('a start that cannot reach its service manager is refused, and loses none', async () => {
  await withGateway(async (gateway) => {
    const session = await PgSession.open(gateway.clients);
    gateway.loseManager(true);
    const failure = await gateway.restart('SIGKILL').then(() => 'it has started', String);
    assert.match(failure, 'code=DATAPLANE_START');
    assert.match(failure, 'connect: Connection refused (ECONNREFUSED)');
    gateway.loseManager(false);
    await gateway.next();
    assert.equal(await session.query('SELECT pg_backend_pid()'), [String(session.processId)]);
    session.close();
  });
});

test('where nothing was kept it starts without its service manager, and says that it keeps nothing', async () => {
  const launcher = [...UNHEARD, process.execPath];
  const gateway = await Gateway.start({ candidates: [cluster.primary.candidate], launcher });
  try {
    const reason = 'connect: Connection refused (ECONNREFUSED)';
    await gateway.logged('sessions will end with this process', { reason });
    assert.is(await query(gateway.clients, 'SELECT 1'), '1');
  } finally {
    await gateway.close();
  }
});

test('what was under way while nobody was there arrives afterwards', async () => {
  await withGateway(async (gateway) => {
    const psql = startPsql(gateway.clients);
    psql.write('LISTEN news; SELECT 1;\n');
    await psql.output('the answer', (stdout) => stdout.includes('1') || undefined);
    await gateway.restart('SIGKILL', async () => {
      psql.write('SELECT 2;\n');
      await cluster.primary.query("NOTIFY news, 'while away'");
    });
    await psql.output('the second answer', (stdout) => stdout.includes('2') || undefined);
    psql.write('SELECT 3;\n');
    await psql.output('the notification', (stdout) => stdout.includes('while away') || undefined);
    await psql.close();
  });
});

test('a client that came while nobody was there is served by the next process', async () => {
  await withGateway(async (gateway) => {
    let answer: Promise<string> | undefined;
    await gateway.restart('SIGKILL', () => {
      answer = query(gateway.clients, 'SELECT 42');
      return Promise.resolve();
    });
    assert.is(await answer, '42');
  });
});

test('pgbench through a kill at random moments has no failed transaction', async () => {
  await withGateway(async (gateway) => {
    let restarts = 0;
    // In short runs, as many as the restarts need: a busy machine may take its time for each.
    const run = async (args: readonly string[]): Promise<void> => {
      do {
        const { status, stdout, stderr } = await clientProgram(gateway.clients, 'pgbench', ['-n', '-T', '4', ...args]);
        assert.is(status, 0, stderr);
        assert.match(stdout, 'number of failed transactions: 0 ');
      } while (restarts < RESTARTS);
    };
    const kinds = [
      ['-c', '8', '-N'],
      ['-c', '8', '-S', '-M', 'prepared'],
    ];
    await disturbed(Promise.all(kinds.map(run)), async () => {
      await observeFor(randomInt(50, 400));
      await gateway.restart(restarts % 3 === 0 ? 'SIGTERM' : 'SIGKILL');
      restarts += 1;
    });
  });
});

// Not through kills: one between accepting a client and parking it takes that client along.
test('pgbench with a connection for each transaction sees nothing of planned restarts', async () => {
  await withGateway(async (gateway) => {
    const args = ['-n', '-T', '5', '-c', '4', '-C', '-S'];
    await disturbed(
      clientProgram(gateway.clients, 'pgbench', args).then(({ status, stdout, stderr }) => {
        assert.is(status, 0, stderr);
        assert.match(stdout, 'number of failed transactions: 0 ');
      }),
      () => gateway.restart('SIGTERM'),
    );
  });
});

test('COPY of 1 GB both ways through kills is complete, byte for byte', async () => {
  await withGateway(async (gateway) => {
    const { host, port } = gateway.clients;
    const env = plainEnvironment({ PGHOST: host, PGPORT: String(port), PGUSER: SUPERUSER, PGDATABASE: 'postgres' });
    const psql = `'${postgresProgram('psql')}' -Xq -v ON_ERROR_STOP=1`;
    const shell = (script: string): Promise<string> => succeed(['sh', '-c', script], { env, deadlineMs: 100_000 });
    let restarts = 0;
    await query(cluster.primary, 'CREATE UNLOGGED TABLE target (i bigint, text text)');
    // Out of one session and into another, each of them 1 GB: a row has 1 KB, and its number tells what it must be.
    const copy = async (): Promise<void> => {
      do {
        await query(cluster.primary, 'TRUNCATE target');
        await shell(`${psql} -c "COPY (${ROWS}) TO STDOUT" | ${psql} -c 'COPY target FROM STDIN'`);
        const whole = `count(*), sum(i), bool_and(text = ${TEXT})`;
        const sum = (BULK_ROWS * (BULK_ROWS + 1)) / 2;
        assert.is(await query(cluster.primary, `SELECT ${whole} FROM target`), `${BULK_ROWS}|${sum}|t`);
      } while (restarts < RESTARTS);
      await query(cluster.primary, 'DROP TABLE target');
    };
    await disturbed(copy(), async () => {
      await observeFor(randomInt(20, 150));
      await gateway.restart('SIGKILL');
      restarts += 1;
    });
  });
});

test('a server demoted while nobody was there: its sessions are cut by the next process', async () => {
  const other = await createCluster(1);
  const gateway = await KeptGateway.start({ candidates: other.servers.map(({ candidate }) => candidate) });
  try {
    const session = await PgSession.open(gateway.clients);
    const [standby] = other.standbys;
    if (standby === undefined) throw new Error('no standby');
    await gateway.restart('SIGKILL', async () => {
      await standby.promote();
      await eventually(
        'the standby to be writable',
        async () => (await standby.query('SELECT pg_is_in_recovery()')) === 'f',
      );
    });
    await gateway.current.primaryIs(standby.candidate);
    assert.is(await session.ended(), 'fin');
    assert.is(await query(gateway.clients, 'SHOW port'), String(standby.port));
  } finally {
    await gateway.close();
    await other.close();
  }
});

test('a worker hangs while another server becomes the primary: the next process cuts before a byte moves', async () => {
  const other = await createCluster(1);
  const candidates = other.servers.map(({ candidate }) => candidate);
  const gateway = await KeptGateway.start({ candidates, env: { NUM_THREADS: '1' } });
  try {
    const { primary } = other;
    const [standby] = other.standbys;
    if (standby === undefined) throw new Error('no standby');
    await gateway.current.primaryIs(primary.candidate);
    const session = await PgSession.open(gateway.clients);
    await session.query('CREATE TABLE written (id int)');
    const [worker = 0] = threadIds(gateway.current.pid, /^pg-gw-worker$/);
    const frozen = await freezeIfPermitted(worker, 'what becomes of the sessions of a worker that hangs');
    if (frozen === undefined) return;
    try {
      await standby.promote();
      await gateway.current.primaryIs(standby.candidate);
      session.raw.send(queryMessage('INSERT INTO written VALUES (1)'));
      const next = await withoutNode(gateway, async () => {
        await frozen.thaw(); // a thread that is traced does not end
        await session.ended();
      });
      await next.logged('sessions of an earlier process taken up', { recovered: '0', cut: '1', not_whole: '0' });
      assert.is((await next.samples()).get('pg_gateway_sessions_cut_total', { reason: 'superseded' }), 1);
      assert.is(await primary.query('SELECT count(*) FROM written'), '0');
      assert.is(await query(gateway.clients, 'SHOW port'), String(standby.port));
    } finally {
      await frozen.thaw();
    }
  } finally {
    await gateway.close();
    await other.close();
  }
});

test.run();
