// SPDX-License-Identifier: MIT
// Clients that wait instead of failing while there is no primary.

import { Gateway } from '../helpers/gateway.js';
import { PgSession } from '../helpers/pg-session.js';
import { createCluster } from '../helpers/postgres.js';
import type { Cluster } from '../helpers/postgres.js';
import { psql, query } from '../helpers/psql.js';
import { RawClient } from '../helpers/raw-client.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('hold');
/** The default. */
const HOLDING = { HOLD_TIMEOUT_MS: undefined };

async function withCluster(
  env: Readonly<Record<string, string | undefined>>,
  work: (cluster: Cluster, gateway: Gateway) => Promise<void>,
): Promise<void> {
  const cluster = await createCluster(1);
  try {
    const candidates = cluster.servers.map(({ candidate }) => candidate);
    const gateway = await Gateway.start({ candidates, env: { ...HOLDING, ...env } });
    try {
      await gateway.primaryIs(cluster.primary.candidate);
      await work(cluster, gateway);
    } finally {
      await gateway.close();
    }
  } finally {
    await cluster.close();
  }
}

test('clients that come while the primary is down wait for its successor', async () => {
  await withCluster({}, async (cluster, gateway) => {
    const [standby] = cluster.standbys;
    assert.ok(standby);
    await cluster.primary.crash();
    await gateway.primaryIs('none');
    const answers = Promise.all(Array.from({ length: 20 }, () => query(gateway.clients, 'SELECT pg_is_in_recovery()')));
    await gateway.metric('pg_gateway_clients_held', {}, (value) => value === 20);
    await standby.promote();
    assert.equal(
      await answers,
      Array.from({ length: 20 }, () => 'f'),
    );
    const samples = await gateway.samples();
    assert.is(samples.get('pg_gateway_clients_held'), 0);
    assert.is(samples.get('pg_gateway_clients_held_total'), 20);
    assert.is(samples.get('pg_gateway_client_hold_duration_seconds_count'), 20);
    assert.is(samples.get('pg_gateway_client_hold_timeouts_total'), 0);
    assert.is(samples.get('pg_gateway_clients_rejected_total', { reason: 'no_primary' }), 0);
  });
});

test('the primary restarts: a client that comes meanwhile waits for it, its sessions are not cut by the gateway', async () => {
  await withCluster({}, async (cluster, gateway) => {
    await cluster.primary.stop();
    const answer = query(gateway.clients, 'SELECT 1');
    await gateway.metric('pg_gateway_clients_held', {}, (value) => value === 1);
    await cluster.primary.start();
    assert.is(await answer, '1');
    assert.is((await gateway.samples()).get('pg_gateway_sessions_cut_total', { reason: 'superseded' }), 0);
  });
});

test('who has waited for HOLD_TIMEOUT_MS is told, in words that psql shows; who leaves is forgotten', async () => {
  await withCluster({ HOLD_TIMEOUT_MS: '700', MAX_HELD: '2' }, async (cluster, gateway) => {
    await cluster.primary.crash();
    await gateway.primaryIs('none');
    const { status, stderr } = await psql({ ...gateway.clients, env: { PGSSLMODE: 'disable' } }, 'SELECT 1');
    assert.is(status, 2);
    assert.match(stderr, /FATAL: {2}no PostgreSQL primary is available\s+DETAIL: {2}Waited 7\d\d ms for one\./);
    const samples = await gateway.samples();
    assert.is(samples.get('pg_gateway_client_hold_timeouts_total'), 1);
    assert.is(samples.get('pg_gateway_clients_rejected_total', { reason: 'no_primary' }), 1);
  });
});

test('one too many is told so; one that hangs up makes room', async () => {
  await withCluster({ MAX_HELD: '2' }, async (cluster, gateway) => {
    await cluster.primary.crash();
    await gateway.primaryIs('none');
    const waiting = await Promise.all([RawClient.connect(gateway.clients), RawClient.connect(gateway.clients)]);
    await gateway.metric('pg_gateway_clients_held', {}, (value) => value === 2);
    const { status, stderr } = await psql({ ...gateway.clients, env: { PGSSLMODE: 'disable' } }, 'SELECT 1');
    assert.is(status, 2);
    assert.match(stderr, 'FATAL:  too many clients wait for a PostgreSQL primary');
    waiting[0].close();
    await gateway.metric('pg_gateway_clients_held', {}, (value) => value === 1);
    await gateway.metric('pg_gateway_clients_rejected_total', { reason: 'gave_up' }, (value) => value === 1);
    waiting[1].close();
    await gateway.metric('pg_gateway_clients_held', {}, (value) => value === 0);
  });
});

test('CUT_POLICY=eager cuts when the primary is lost, proof does not', async () => {
  for (const [policy, cut] of [
    ['eager', 1],
    ['proof', 0],
  ] as const) {
    await withCluster({ CUT_POLICY: policy }, async (cluster, gateway) => {
      const session = await PgSession.open(gateway.clients);
      cluster.primary.freeze();
      try {
        await gateway.primaryIs('none');
        await gateway.metric('pg_gateway_sessions_cut_total', { reason: 'lost' }, (value) => value === cut);
        if (policy === 'eager') await session.ended();
      } finally {
        cluster.primary.thaw();
      }
      await gateway.primaryIs(cluster.primary.candidate);
      if (policy === 'proof') assert.equal(await session.query('SELECT 1'), ['1']);
      session.close();
    });
  }
});

test.run();
