// SPDX-License-Identifier: MIT
// What the probe sees of a primary and of a standby of one major version, and one
// failover by way of the gateway. The probes are those of a role that may only connect.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { Gateway } from '../helpers/gateway.js';
import { createCluster } from '../helpers/postgres.js';
import type { Cluster, PostgresServer } from '../helpers/postgres.js';
import { postgresProgram, runAsOwner, serverIsInstalled, serverMajor } from '../helpers/postgres-install.js';
import { closeOpened, FOREIGN_WAYS, inspectOnce, probeOnce, startOf, stateOf, watch } from '../helpers/probes.js';
import { query } from '../helpers/psql.js';
import { assert, suite } from '../helpers/suite.js';
import { eventually } from '../helpers/wait.js';

/** May connect, and do nothing else. `reader` cannot write either. */
const ROLES = `
  CREATE ROLE plain LOGIN;
  CREATE ROLE reader LOGIN;
  ALTER ROLE reader SET default_transaction_read_only = on;
  REVOKE ALL ON DATABASE postgres FROM PUBLIC;
  REVOKE ALL ON SCHEMA public FROM PUBLIC;
  GRANT CONNECT ON DATABASE postgres TO plain, reader`;

/** Pages that a checkpoint has to write, one every 100 ms if there is no hurry. */
const UNWRITTEN = "CREATE TABLE unwritten AS SELECT n, repeat('x', 1000) FROM generate_series(1, 4000) n";

/** Nothing but the checkpoint of the promotion writes them. */
const SETTINGS = { checkpoint_timeout: '1h', bgwriter_lru_maxpages: '0', autovacuum: 'off' };

const test = suite<{ cluster?: Cluster }>(`PostgreSQL ${serverMajor()}`, {});

test.before(async (context) => {
  context.cluster = await createCluster(1, { settings: SETTINGS });
  const { primary, standbys } = context.cluster;
  await primary.query(ROLES);
  await standbys[0]?.caughtUp(primary);
});
test.after.each(closeOpened);
test.after(async ({ cluster }) => cluster?.close());

/** The cluster as [primary, standby]. */
function pair({ cluster }: { cluster?: Cluster }): [PostgresServer, PostgresServer] {
  const standby = cluster?.standbys[0];
  if (cluster === undefined || standby === undefined) throw new Error('no cluster');
  return [cluster.primary, standby];
}

/** From the file, of which it is the beginning: pg_controldata reads that of its own version only. */
async function systemIdOnDisk({ dataDir }: PostgresServer): Promise<string> {
  return (await readFile(join(dataDir, 'global/pg_control'))).readBigUInt64LE(0).toString();
}

test('the servers are of this version', async (context) => {
  for (const server of pair(context)) {
    const number = Number(await server.query('SHOW server_version_num'));
    assert.is(Math.trunc(number / 10_000), serverMajor());
  }
});

if (serverIsInstalled()) {
  test('the system identifier is where it is looked for', async (context) => {
    const [primary] = pair(context);
    const words = await runAsOwner([postgresProgram('pg_controldata'), primary.dataDir]);
    assert.is(/system identifier: +(\d+)/.exec(words)?.[1], await systemIdOnDisk(primary));
  });
}

test('a primary', async (context) => {
  const [primary] = pair(context);
  const { lsn, ...state } = stateOf(await probeOnce(primary, { user: 'plain' }));
  const systemId = await systemIdOnDisk(primary);
  const startedAt = await startOf(primary);
  assert.equal(state, { inRecovery: false, readOnly: false, timeline: 1, streaming: false, systemId, startedAt });
  assert.ok(lsn !== null && lsn > 0x1000000n);
});

test('what a check of the configuration asks, and any role is told', async (context) => {
  for (const server of pair(context)) {
    const { observation, session } = await inspectOnce(server, { user: 'plain' });
    stateOf(observation);
    assert.is(session?.detailsProblem, undefined);
    const { version = '', clock, ...details } = session?.details ?? {};
    assert.is(Number.parseInt(version, 10), serverMajor());
    assert.equal(details, {
      maxConnections: 400,
      reservedConnections: 3,
      superuser: false,
      readsStatistics: false,
      passwordUntil: null,
      clientAddress: server.host,
    });
    // They have one clock.
    assert.ok(Math.abs(session?.clockAheadMs ?? Infinity) <= (session?.clockUncertaintyMs ?? 0) + 1, String(clock));
  }
});

test('a standby', async (context) => {
  const [primary, standby] = pair(context);
  const { lsn, ...state } = stateOf(await probeOnce(standby, { user: 'plain' }));
  const systemId = await systemIdOnDisk(primary);
  const startedAt = await startOf(standby);
  assert.equal(state, { inRecovery: true, readOnly: true, timeline: 1, streaming: false, systemId, startedAt });
  assert.ok(lsn !== null && lsn > 0x1000000n);
});

test('a standby, seen by a role that may see that it streams', async (context) => {
  const [, standby] = pair(context);
  const { inRecovery, timeline, streaming } = stateOf(await probeOnce(standby));
  assert.equal([inRecovery, timeline, streaming], [true, 1, true]);
});

test('the start of the server, however a role has times and numbers written', async (context) => {
  const [primary] = pair(context);
  await primary.query(FOREIGN_WAYS);
  const { startedAt } = stateOf(await probeOnce(primary, { user: 'plain' }));
  await primary.query('ALTER ROLE plain RESET ALL');
  assert.is(startedAt, await startOf(primary));
});

test('default_transaction_read_only', async (context) => {
  const [primary] = pair(context);
  const { inRecovery, readOnly, timeline } = stateOf(await probeOnce(primary, { user: 'reader' }));
  assert.equal([inRecovery, readOnly, timeline], [false, true, 1]);
});

test('a failover: the new timeline is seen before its checkpoint has ended, and who waits gets there', async (context) => {
  const [primary, standby] = pair(context);
  await primary.query(UNWRITTEN);
  await standby.caughtUp(primary);
  const gateway = await Gateway.start({
    candidates: [primary.candidate, standby.candidate],
    env: { PGUSER: 'plain', HOLD_TIMEOUT_MS: '60000' },
  });
  try {
    assert.is(await query(gateway.clients, 'SELECT inet_server_port()'), String(primary.port));
    await primary.crash();
    await gateway.primaryIs('none');
    const waiting = query(gateway.clients, 'SELECT inet_server_port(); INSERT INTO unwritten VALUES (0)');
    const answer = waiting.catch(String);
    await gateway.metric('pg_gateway_clients_held', {}, (value) => value === 1);
    await promoteAndWatch(standby);
    assert.is(await answer, String(standby.port));
    await gateway.primaryIs(standby.candidate);
    assert.is((await gateway.samples()).value('pg_gateway_server_timeline', { server: standby.candidate }), 2);
    assert.is(await query(gateway.clients, 'SELECT count(*) FROM unwritten WHERE n = 0'), '1');
  } finally {
    await gateway.close();
  }
});

/** The first answer that is one of a primary tells the timeline, which the control file does not know yet. */
async function promoteAndWatch(standby: PostgresServer): Promise<void> {
  const { prober, breaks } = watch(standby, { user: 'plain' });
  assert.is(stateOf(await prober.probe()).inRecovery, true);
  const seen = eventually(
    'the promotion',
    async () => {
      const state = stateOf(await prober.probe());
      return state.inRecovery ? undefined : state;
    },
    { everyMs: 1 },
  );
  const [{ timeline, readOnly, streaming }] = await Promise.all([seen, standby.promote()]);
  assert.equal([timeline, readOnly, streaming], [2, false, false]);
  assert.equal(breaks, []);
  assert.is(await standby.query('SELECT timeline_id FROM pg_control_checkpoint()'), '1');
}

test.run();
