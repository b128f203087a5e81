// SPDX-License-Identifier: MIT
// What clients see when the primary changes, dies, freezes or comes back. Each test
// wrecks a cluster of its own.

import { movableAddress } from '../helpers/fake-servers.js';
import { Gateway } from '../helpers/gateway.js';
import type { GatewayOptions } from '../helpers/gateway.js';
import { PgSession } from '../helpers/pg-session.js';
import { createCluster } from '../helpers/postgres.js';
import type { Cluster } from '../helpers/postgres.js';
import { psql, query } from '../helpers/psql.js';
import { assert, suite } from '../helpers/suite.js';
import { eventually, observeFor, timed } from '../helpers/wait.js';

const WHERE = 'SELECT inet_server_port()';
/** The promise: an idle session to a server that is no longer primary is cut within a second. */
const CUT_WITHIN_MS = 1000;
/** Several probe rounds in which something must not happen. */
const SEVERAL_ROUNDS_MS = 1500;

const test = suite('failover');

async function withCluster(
  standbys: number,
  use: (cluster: Cluster, gateway: Gateway) => Promise<void>,
  options: GatewayOptions = {},
): Promise<void> {
  const cluster = await createCluster(standbys);
  try {
    const gateway = await Gateway.start({ candidates: cluster.servers.map(({ candidate }) => candidate), ...options });
    try {
      await use(cluster, gateway);
    } finally {
      await gateway.close();
    }
  } finally {
    await cluster.close();
  }
}

function standbyOf({ standbys }: Cluster): Cluster['primary'] {
  const [first] = standbys;
  if (first === undefined) throw new Error('the cluster has no standby');
  return first;
}

test('after a crash new sessions go to the promoted standby, and what was written is there', async () => {
  await withCluster(2, async (cluster, gateway) => {
    const { primary } = cluster;
    const next = standbyOf(cluster);
    await query(gateway.clients, 'CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)');
    await next.caughtUp(primary);
    assert.is((await gateway.http('/readyz')).status, 200);

    await primary.crash();
    await gateway.primaryIs('none');
    assert.is((await gateway.http('/readyz')).status, 503);
    assert.is((await gateway.http('/healthz')).status, 200);

    await next.promote();
    await gateway.primaryIs(next.candidate);
    assert.is((await gateway.http('/readyz')).status, 200);
    assert.is(
      await query(gateway.clients, `${WHERE}; INSERT INTO kept VALUES (2); SELECT sum(n) FROM kept`),
      `${next.port}\n3`,
    );

    const samples = await gateway.samples();
    assert.is(samples.get('pg_gateway_failovers_total'), 1);
    assert.is(samples.get('pg_gateway_server_role', { server: next.candidate, role: 'primary' }), 1);
    assert.is(samples.get('pg_gateway_server_timeline', { server: next.candidate }), 2);
    assert.ok(samples.get('pg_gateway_seconds_without_primary_total') > 0);
    assert.is(samples.get('pg_gateway_seconds_without_primary'), 0);
    assert.is(samples.get('pg_gateway_decision_duration_seconds_count'), 1);
  });
});

test('a STATE CHANGE names old and new primary, the reason and every candidate', async () => {
  await withCluster(1, async (cluster, gateway) => {
    const { primary } = cluster;
    const next = standbyOf(cluster);
    await primary.crash();
    await gateway.primaryIs('none');
    await next.promote();
    await gateway.primaryIs(next.candidate);
    const changes = gateway.lines.filter(({ message }) => message === 'STATE CHANGE');
    assert.equal(
      changes.map(({ fields }) => [fields.get('old'), fields.get('new')]),
      [
        ['none', primary.candidate],
        [primary.candidate, 'none'],
        [primary.candidate, next.candidate],
      ],
    );
    for (const { fields } of changes) {
      assert.ok(fields.get('reason'), 'it has a reason');
      for (const server of cluster.servers) assert.match(fields.get('states') ?? '', `${server.candidate}=`);
    }
  });
});

test('a session to a primary that crashes ends at once', async () => {
  await withCluster(0, async ({ primary }, gateway) => {
    const session = await PgSession.open(gateway.clients);
    const took = await timed(async () => {
      await primary.crash();
      await session.ended();
    });
    assert.ok(took < CUT_WITHIN_MS, `it took ${took} ms`);
  });
});

test('an idle session is cut within a second when its server has become a standby', async () => {
  const cluster = await createCluster(1);
  // A restart as a standby ends the server's own sessions: only behind an address that moves is there one to cut.
  const address = await movableAddress(cluster.primary.port);
  const gateway = await Gateway.start({ candidates: [address.candidate] });
  try {
    const session = await PgSession.open(gateway.clients);
    const took = await timed(async () => {
      address.moveTo(standbyOf(cluster).port, { keepNewest: 1 });
      await session.ended();
    });
    assert.ok(took < CUT_WITHIN_MS, `it took ${took} ms`);
    await gateway.metric('pg_gateway_sessions_cut_total', { reason: 'demoted' }, (value) => value === 1);
    await gateway.metric('pg_gateway_connections_active', {}, (value) => value === 0);
    await gateway.primaryIs('none');
  } finally {
    await gateway.close();
    await address.close();
    await cluster.close();
  }
});

test('a primary that turns read-only gets no new sessions; those it has go on', async () => {
  await withCluster(1, async ({ primary }, gateway) => {
    const session = await PgSession.open(gateway.clients);
    await primary.query('ALTER SYSTEM SET default_transaction_read_only = on');
    await primary.query('SELECT pg_reload_conf()');
    await gateway.primaryIs('none');
    await observeFor(SEVERAL_ROUNDS_MS);
    assert.equal(await session.query(WHERE), [String(primary.port)]);

    await query(primary, 'SET default_transaction_read_only = off; ALTER SYSTEM RESET ALL; SELECT pg_reload_conf()');
    await gateway.primaryIs(primary.candidate);
    assert.is(await query(gateway.clients, WHERE), String(primary.port));
    session.close();
  });
});

test('an idle session is cut within a second when another server is promoted beside its own', async () => {
  await withCluster(1, async (cluster, gateway) => {
    const { primary } = cluster;
    const next = standbyOf(cluster);
    const session = await PgSession.open(gateway.clients);
    await next.promote();
    const took = await timed(() => session.ended());
    assert.ok(took < CUT_WITHIN_MS, `it took ${took} ms`);
    await gateway.primaryIs(next.candidate);
    const told = await gateway.logged('failover', { old: primary.candidate, new: next.candidate });
    assert.equal([told.fields.get('timeline'), told.fields.get('cut')], ['1->2', '1']);
    assert.ok(told.fields.get('doubt'), 'it has a cause');
    assert.match(told.fields.get('decided_in_ms') ?? '', /^\d+\.\d$/);
    await gateway.metric('pg_gateway_sessions_cut_total', {}, (value) => value === 1);
    assert.is(await query(gateway.clients, WHERE), String(next.port));
    assert.is(
      await primary.query(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'test' AND pid <> pg_backend_pid()",
      ),
      '0',
    );
  });
});

test('the old primary comes back as a primary and gets no traffic', async () => {
  await withCluster(1, async (cluster, gateway) => {
    const { primary } = cluster;
    const next = standbyOf(cluster);
    await primary.crash();
    await next.promote();
    await gateway.primaryIs(next.candidate);
    const session = await PgSession.open(gateway.clients);

    await primary.start();
    assert.is(await primary.query('SELECT pg_is_in_recovery()'), 'f', 'it believes that it is the primary');
    await gateway.metric('pg_gateway_server_up', { server: primary.candidate }, (value) => value === 1);
    await gateway.metric(
      'pg_gateway_server_role',
      { server: primary.candidate, role: 'fenced' },
      (value) => value === 1,
    );
    const end = performance.now() + SEVERAL_ROUNDS_MS;
    while (performance.now() < end) assert.is(await query(gateway.clients, WHERE), String(next.port));

    assert.equal(await session.query(WHERE), [String(next.port)], 'a session to the new primary has gone on');
    assert.is((await gateway.samples()).get('pg_gateway_server_sessions', { server: primary.candidate }), 0);
    session.close();
  });
});

test('the old primary comes back when the new one is down, and still gets no traffic', async () => {
  await withCluster(1, async (cluster, gateway) => {
    const { primary } = cluster;
    const next = standbyOf(cluster);
    await primary.crash();
    await next.promote();
    await gateway.primaryIs(next.candidate);
    await next.stop();
    await gateway.primaryIs('none');

    await primary.start();
    await gateway.metric('pg_gateway_server_up', { server: primary.candidate }, (value) => value === 1);
    await observeFor(SEVERAL_ROUNDS_MS);
    assert.is(gateway.primary, 'none');
    const refused = await psql(gateway.clients, 'SELECT 1');
    assert.is(refused.status, 2);
    assert.match(refused.stderr, 'no PostgreSQL primary is available');

    await next.start();
    await gateway.primaryIs(next.candidate);
    assert.is(await query(gateway.clients, WHERE), String(next.port));
  });
});

test('all servers are down, and come back', async () => {
  await withCluster(2, async ({ primary, servers }, gateway) => {
    await Promise.all(servers.map((server) => server.crash()));
    await gateway.primaryIs('none');
    const refused = await psql(gateway.clients, 'SELECT 1');
    assert.is(refused.status, 2);
    assert.match(refused.stderr, 'no PostgreSQL primary is available');
    await gateway.metric('pg_gateway_servers_healthy', {}, (value) => value === 0);

    await Promise.all(servers.map((server) => server.start()));
    await gateway.primaryIs(primary.candidate);
    assert.is(await query(gateway.clients, WHERE), String(primary.port));
  });
});

test('a primary that restarts is the primary again, without a failover', async () => {
  await withCluster(1, async ({ primary }, gateway) => {
    await primary.restart('immediate');
    await eventually(
      'the gateway to serve again',
      async () => (await query(gateway.clients, WHERE)) === String(primary.port),
    );
    assert.is((await gateway.samples()).get('pg_gateway_failovers_total'), 0);
  });
});

test('a frozen primary: sessions stay, new clients are told, and both go on when it wakes', async () => {
  await withCluster(1, async ({ primary }, gateway) => {
    const session = await PgSession.open(gateway.clients);
    primary.freeze();
    await gateway.primaryIs('none');
    const refused = await psql(gateway.clients, 'SELECT 1');
    assert.is(refused.status, 2);
    assert.match(refused.stderr, 'no PostgreSQL primary is available');
    await observeFor(SEVERAL_ROUNDS_MS);
    assert.is(session.raw.end, 'open', 'suspicion is no proof');

    primary.thaw();
    await gateway.primaryIs(primary.candidate);
    assert.equal(await session.query(WHERE), [String(primary.port)]);
    assert.is(await query(gateway.clients, WHERE), String(primary.port));
    session.close();
  });
});

test('a frozen primary is succeeded: its sessions are cut, and it gets no traffic when it wakes', async () => {
  await withCluster(1, async (cluster, gateway) => {
    const { primary } = cluster;
    const next = standbyOf(cluster);
    const session = await PgSession.open(gateway.clients);
    primary.freeze();
    await gateway.primaryIs('none');
    await next.promote();
    await gateway.primaryIs(next.candidate);
    await session.ended({ deadlineMs: CUT_WITHIN_MS });
    assert.is(await query(gateway.clients, WHERE), String(next.port));

    primary.thaw();
    await gateway.metric('pg_gateway_server_up', { server: primary.candidate }, (value) => value === 1);
    const end = performance.now() + SEVERAL_ROUNDS_MS;
    while (performance.now() < end) assert.is(await query(gateway.clients, WHERE), String(next.port));
  });
});

test('failing over and over again always ends at the living primary', async () => {
  await withCluster(3, async (cluster, gateway) => {
    let { primary } = cluster;
    for (const next of cluster.standbys) {
      for (const other of cluster.standbys) {
        if (other.running && other !== primary) await other.caughtUp(primary);
      }
      await primary.crash();
      await next.promote();
      for (const other of cluster.standbys.slice(cluster.standbys.indexOf(next) + 1)) await other.follow(next);
      await gateway.primaryIs(next.candidate);
      assert.is(await query(gateway.clients, WHERE), String(next.port));
      primary = next;
    }
    assert.is((await gateway.samples()).get('pg_gateway_failovers_total'), 3);
  });
});

test.run();
