// SPDX-License-Identifier: MIT
// Probes of a real primary and a real standby: what they tell, and how they fail.

import { execFileSync } from 'node:child_process';
import { setImmediate as turn } from 'node:timers/promises';

import { systemTimers } from '#src/timers.js';
import { silentServer } from '../helpers/fake-servers.js';
import { createCluster } from '../helpers/postgres.js';
import type { Cluster, PostgresServer } from '../helpers/postgres.js';
import { plainEnvironment, postgresProgram } from '../helpers/postgres-install.js';
import { assert, suite } from '../helpers/suite.js';
import { eventually } from '../helpers/wait.js';
import {
  backends,
  closeOpened,
  failureOf,
  FOREIGN_WAYS,
  keep,
  probeOnce,
  startOf,
  stateOf,
  watch,
} from '../helpers/probes.js';

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
    const startedAt = await startOf(server);
    assert.equal(state, { inRecovery: false, readOnly: false, timeline: 1, streaming: false, systemId, startedAt });
    assert.ok(lsn !== null && lsn > 0x1000000n);
    assert.equal(seen.kind === 'answered' && seen.address, { address: '127.0.0.1', port: server.port });
    assert.ok(seen.tookMs > 0 && seen.at <= systemTimers.now());
  });
}

states('a standby, seen by the superuser: it streams', async (context) => {
  const [server, standby] = pair(context);
  const systemId = await server.query('SELECT system_identifier FROM pg_control_system()');
  const { lsn, ...state } = stateOf(await probeOnce(standby));
  const startedAt = await startOf(standby);
  assert.equal(state, { inRecovery: true, readOnly: true, timeline: 1, streaming: true, systemId, startedAt });
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

states('how a role has times and numbers written does not matter', async (context) => {
  const [server] = pair(context);
  await server.query(FOREIGN_WAYS);
  const { startedAt } = stateOf(await probeOnce(server, { user: 'plain' }));
  await server.query('ALTER ROLE plain RESET ALL');
  assert.is(startedAt, await startOf(server));
});

states('a search_path cannot put other functions in place', async (context) => {
  const [server] = pair(context);
  await server.query(`CREATE SCHEMA trap;
    CREATE FUNCTION trap.pg_is_in_recovery() RETURNS bool LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION trap.current_setting(text) RETURNS text LANGUAGE sql AS $$SELECT 'on'::text$$;
    CREATE FUNCTION trap.times(float8, float8) RETURNS float8 LANGUAGE sql AS 'SELECT 1::float8';
    CREATE OPERATOR trap.* (LEFTARG = float8, RIGHTARG = float8, PROCEDURE = trap.times);
    GRANT USAGE ON SCHEMA trap TO plain; ALTER ROLE plain SET search_path = trap, pg_catalog`);
  const { inRecovery, readOnly, startedAt } = stateOf(await probeOnce(server, { user: 'plain' }));
  await server.query('ALTER ROLE plain RESET search_path; DROP SCHEMA trap CASCADE');
  assert.equal([inRecovery, readOnly, startedAt], [false, false, await startOf(server)]);
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

states('an answer that waited out a stall of the loop is not believed: it says what was then', async (context) => {
  const [, server] = pair(context);
  const before = stateOf(await probeOnce(server)).readOnly;
  const { prober } = watch(server, { queryTimeoutMs: 300 });
  assert.is(stateOf(await prober.probe()).readOnly, before);
  const probe = prober.probe();
  await turn(); // the query is on its way
  // Synchronously: the answer is there, and the loop reads it when it is no longer true.
  const set = `ALTER SYSTEM SET default_transaction_read_only = ${before ? 'off' : 'on'}`;
  const sleep = 'SELECT pg_sleep(0.3)';
  const sql = [sleep, set, 'SELECT pg_reload_conf()', sleep].flatMap((words) => ['-c', words]);
  execFileSync(
    postgresProgram('psql'),
    ['-XAtq', ...sql, '-h', server.host, '-p', String(server.port), '-U', 'postgres'],
    { env: plainEnvironment({ PGDATABASE: 'postgres' }) },
  );
  assert.is(stateOf(await probe).readOnly, !before);
  await server.query('ALTER SYSTEM RESET default_transaction_read_only');
  await server.query('SELECT pg_reload_conf()');
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
