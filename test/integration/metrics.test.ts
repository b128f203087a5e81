// SPDX-License-Identifier: MIT
// The numbers are exact: what /metrics says against what clients and servers did.

import { once } from 'node:events';
import { request } from 'node:http';
import type { IncomingMessage } from 'node:http';

import { garbageServer, silentServer, slammingServer } from '../helpers/fake-servers.js';
import { withGateway } from '../helpers/gateway.js';
import type { Gateway } from '../helpers/gateway.js';
import { message, PgSession } from '../helpers/pg-session.js';
import { freePort } from '../helpers/ports.js';
import { createCluster, PostgresServer } from '../helpers/postgres.js';
import type { Cluster } from '../helpers/postgres.js';
import { assert, suite } from '../helpers/suite.js';
import { eventually, observeFor } from '../helpers/wait.js';

const ORIGINAL_NAMES = [
  'pg_gateway_connections_active',
  'pg_gateway_connections_total',
  'pg_gateway_bytes_client_to_backend_total',
  'pg_gateway_bytes_backend_to_client_total',
  'pg_gateway_servers_total',
  'pg_gateway_servers_healthy',
  'pg_gateway_servers_unhealthy',
];

const test = suite('metrics');
let cluster: Cluster;

function candidatesOf({ servers }: Cluster): string[] {
  return servers.map(({ candidate }) => candidate);
}

/** As a client that leaves in good order: Terminate, then the server ends the connection. */
async function leave(session: PgSession): Promise<void> {
  session.raw.send(message('X', new Uint8Array()));
  await session.ended();
  session.close();
}

test.before(async () => {
  cluster = await createCluster(2);
});

test.after(async () => {
  await cluster.close();
});

test('the seven original names are there, with their meaning', async () => {
  await withGateway({ candidates: [...candidatesOf(cluster), `127.0.0.1:${await freePort()}`] }, async (gateway) => {
    const samples = await gateway.samples();
    assert.equal(
      ORIGINAL_NAMES.map((name) => samples.value(name)),
      [0, 0, 0, 0, 4, 3, 1],
    );
  });
});

async function bytesAreExact(env: Readonly<Record<string, string | undefined>>): Promise<void> {
  await withGateway({ candidates: candidatesOf(cluster), env: { NUM_THREADS: '2', ...env } }, async (gateway) => {
    const sessions = await Promise.all(Array.from({ length: 6 }, () => PgSession.open(gateway.clients)));
    const checkTotals = async (): Promise<void> => {
      const sent = sessions.reduce((sum, { raw }) => sum + raw.sent, 0);
      const received = sessions.reduce((sum, { raw }) => sum + raw.received, 0);
      await gateway.metric('pg_gateway_bytes_client_to_backend_total', {}, (value) => value === sent);
      await gateway.metric('pg_gateway_bytes_backend_to_client_total', {}, (value) => value === received);
    };
    await checkTotals();

    // Each other sizes: far below and above what a pipe or a socket buffer holds.
    const sizes = [0, 1, 1000, 65_536, 1_000_000, 4_000_000];
    const answers = await Promise.all(
      sessions.map((session, index) =>
        session.query(`SELECT length('${'q'.repeat(sizes[5 - index] ?? 0)}'), repeat('r', ${sizes[index] ?? 0})`),
      ),
    );
    assert.equal(answers.flat().map(Number), sizes.slice().reverse());
    await checkTotals();

    await Promise.all(sessions.map(leave));
    await checkTotals();
  });
}

test('bytes are those that the clients sent and received, to the last one', () => bytesAreExact({}));

// Where clients may wait, as they do by default, the first message of each goes another way.
test('and so they are where clients may wait', () => bytesAreExact({ HOLD_TIMEOUT_MS: undefined }));

test('connections are counted when they come, and when they go', async () => {
  await withGateway({ candidates: candidatesOf(cluster), env: { NUM_THREADS: '2' } }, async (gateway) => {
    const server = cluster.primary.candidate;
    const counts = async (): Promise<unknown> => {
      const samples = await gateway.samples();
      return {
        active: samples.get('pg_gateway_connections_active'),
        total: samples.get('pg_gateway_connections_total'),
        onPrimary: samples.get('pg_gateway_server_sessions', { server }),
        onAll: samples.get('pg_gateway_server_sessions'),
        onWorkers: samples.get('pg_gateway_worker_sessions'),
        workers: samples.labelValues('pg_gateway_worker_sessions', 'worker').join(' '),
        connects: samples.get('pg_gateway_backend_connect_duration_seconds_count', { server }),
        byClient: samples.get('pg_gateway_sessions_ended_total', { reason: 'client_closed' }),
        byServer: samples.get('pg_gateway_sessions_ended_total', { reason: 'backend_closed' }),
        rejected: samples.get('pg_gateway_clients_rejected_total'),
      };
    };
    const expectCounts = async (active: number, byClient: number, byServer: number): Promise<void> => {
      const expected = {
        ...{ active, total: 5, onPrimary: active, onAll: active, onWorkers: active, workers: '0 1' },
        ...{ connects: 5, byClient, byServer, rejected: 0 },
      };
      let last: unknown;
      await eventually('the right counts', async () => {
        last = await counts();
        return JSON.stringify(last) === JSON.stringify(expected);
      }).catch(() => {
        assert.equal(last, expected);
      });
    };
    const sessions = await Promise.all(Array.from({ length: 5 }, () => PgSession.open(gateway.clients)));
    await expectCounts(5, 0, 0);
    const [first, second, ...others] = sessions;
    first?.close();
    await expectCounts(4, 1, 0);
    await cluster.primary.query(`SELECT pg_terminate_backend(${second?.processId ?? 0})`);
    await second?.ended();
    second?.close();
    await expectCounts(3, 1, 1);
    for (const session of others) session.close();
    await expectCounts(0, 4, 1);
  });
});

test('each candidate has its series, and each the role it has', async () => {
  await withGateway({ candidates: candidatesOf(cluster) }, async (gateway) => {
    await eventually('both standbys to be seen', async () => {
      return (await gateway.samples()).value('pg_gateway_servers_healthy') === 3;
    });
    const samples = await gateway.samples();
    for (const { candidate: server } of cluster.servers) {
      const role = server === cluster.primary.candidate ? 'primary' : 'standby';
      assert.is(samples.get('pg_gateway_server_role', { server, role }), 1, server);
      assert.is(samples.get('pg_gateway_server_role', { server }), 1, 'it has one role');
      assert.is(samples.get('pg_gateway_server_up', { server }), 1);
      assert.is(samples.get('pg_gateway_server_timeline', { server }), 1);
      assert.is(samples.get('pg_gateway_server_sessions', { server }), 0);
      assert.is(samples.get('pg_gateway_probe_failures_total', { server }), 0);
      assert.is(samples.get('pg_gateway_backend_connect_failures_total', { server }), 0);
      assert.ok(samples.get('pg_gateway_probe_duration_seconds_count', { server }) >= 1);
      assert.ok(samples.get('pg_gateway_probe_duration_seconds_sum', { server }) > 0);
    }
    assert.is(samples.get('pg_gateway_has_primary'), 1);
    assert.is(samples.get('pg_gateway_epoch'), 1);
    assert.is(samples.get('pg_gateway_failovers_total'), 0);
    assert.is(samples.get('pg_gateway_build_info', { node: process.versions.node }), 1);
    assert.ok(samples.get('process_cpu_seconds_total') > 0);
  });
});

test('a probe that fails is counted by its reason', async () => {
  const fakes = await Promise.all([silentServer(), garbageServer(), slammingServer()]);
  // This one alone does not know the user of the probes.
  const stranger = await PostgresServer.create();
  await cluster.primary.query('CREATE ROLE prober LOGIN');
  const standby = cluster.servers[2];
  if (standby === undefined) throw new Error('the cluster has too few servers');
  await standby.caughtUp(cluster.primary);
  const [silent, garbage, slamming] = fakes.map(({ candidate }) => candidate);
  const failures: readonly (readonly [string, string])[] = [
    [`127.0.0.1:${await freePort()}`, 'refused'],
    [silent ?? '', 'connect_timeout'],
    [garbage ?? '', 'protocol'],
    [slamming ?? '', 'broken'],
    [stranger.candidate, 'auth'],
    [standby.candidate, 'query_timeout'],
  ];
  const candidates = [cluster.primary.candidate, ...failures.map(([server]) => server)];
  try {
    await withGateway({ candidates, env: { PGUSER: 'prober', CONNECT_TIMEOUT_MS: '300' } }, async (gateway) => {
      // On a busy machine its first probe may be too late.
      await gateway.metric('pg_gateway_server_up', { server: standby.candidate }, (value) => value === 1);
      standby.freeze();
      for (const [server, reason] of failures) {
        await gateway.metric('pg_gateway_probe_failures_total', { server, reason }, (value) => value > 0);
        assert.is((await gateway.samples()).get('pg_gateway_server_up', { server }), 0);
      }
      const samples = await gateway.samples();
      assert.is(samples.get('pg_gateway_servers_unhealthy'), failures.length);
      assert.is(samples.get('pg_gateway_probe_failures_total', { server: cluster.primary.candidate }), 0);
      standby.thaw();
      await gateway.metric('pg_gateway_server_up', { server: standby.candidate }, (value) => value === 1);
    });
  } finally {
    standby.thaw();
    await Promise.all([...fakes, stranger].map((server) => server.close()));
  }
});

interface Answer {
  readonly status: number | undefined;
  readonly allow: string | undefined;
  readonly type: string | undefined;
  readonly length: number;
  readonly body: string;
}

async function ask(gateway: Gateway, method: string, path: string): Promise<Answer> {
  const sent = request({ ...gateway.metricsAddress, method, path, agent: false, timeout: 5000 });
  sent.on('timeout', () => sent.destroy(new Error(`no answer to ${method} ${path}`)));
  sent.end();
  // events.once is untyped: 'response' has one argument.
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  response.setEncoding('utf8');
  let body = '';
  for await (const chunk of response) body += String(chunk);
  const { allow, 'content-type': type, 'content-length': length } = response.headers;
  return { status: response.statusCode, allow, type, length: Number(length), body };
}

test('HTTP: four paths, two methods', async () => {
  await withGateway({ candidates: candidatesOf(cluster) }, async (gateway) => {
    const ready = await ask(gateway, 'GET', '/readyz');
    assert.equal([ready.status, ready.body], [200, `${cluster.primary.candidate} is the primary on timeline 1\n`]);
    assert.equal((await ask(gateway, 'GET', '/healthz')).body, 'ok\n');
    assert.match((await ask(gateway, 'GET', '/metrics')).type ?? '', 'text/plain; version=0.0.4');
    assert.match((await ask(gateway, 'GET', '/')).type ?? '', 'text/html; charset=utf-8');
    for (const path of ['/metrics', '/healthz', '/readyz', '/']) {
      const head = await ask(gateway, 'HEAD', path);
      assert.equal([head.status, head.body], [200, '']);
      assert.ok(head.length > 0, 'it tells the length of what GET would give');
      const post = await ask(gateway, 'POST', path);
      assert.equal([post.status, post.allow], [405, 'GET, HEAD']);
    }
    for (const path of ['//', '/metrics/', '/metricsx', '/../metrics', '/favicon.ico']) {
      assert.is((await ask(gateway, 'GET', path)).status, 404, path);
    }
  });
});

// The last one: it leaves the cluster without its first primary.
test('a failover is counted, and the time without a primary only while there is none', async () => {
  const { primary, standbys } = cluster;
  const [next] = standbys;
  if (next === undefined) throw new Error('the cluster has too few servers');
  await withGateway({ candidates: candidatesOf(cluster) }, async (gateway) => {
    const seconds = async (): Promise<number> =>
      (await gateway.samples()).get('pg_gateway_seconds_without_primary_total');
    const atStart = await seconds();
    await observeFor(500);
    assert.is(await seconds(), atStart, 'it does not grow while there is a primary');
    const session = await PgSession.open(gateway.clients);

    await primary.crash();
    await gateway.metric('pg_gateway_has_primary', {}, (value) => value === 0);
    const begun = performance.now();
    const early = await seconds();
    await observeFor(500);
    const late = await seconds();
    const elapsed = (performance.now() - begun) / 1000;
    assert.ok(late - early >= 0.4 && late - early <= elapsed, `${late - early} of ${elapsed} seconds`);
    const during = await gateway.samples();
    assert.is(during.get('pg_gateway_failovers_total'), 0);
    assert.is(during.get('pg_gateway_epoch'), 1);
    await session.ended();

    await next.promote();
    await gateway.metric('pg_gateway_has_primary', {}, (value) => value === 1);
    const whole = (performance.now() - begun) / 1000;
    const atEnd = await seconds();
    assert.ok(atEnd - early <= whole, `${atEnd - early} of ${whole} seconds`);
    await observeFor(500);
    assert.is(await seconds(), atEnd, 'it has stopped');
    const after = await gateway.samples();
    assert.is(after.get('pg_gateway_failovers_total'), 1);
    assert.is(after.get('pg_gateway_epoch'), 2);
    assert.is(after.get('pg_gateway_server_timeline', { server: next.candidate }), 2);
    assert.is(after.get('pg_gateway_server_role', { server: next.candidate, role: 'primary' }), 1);
    assert.is(after.get('pg_gateway_server_role', { server: primary.candidate, role: 'unknown' }), 1);
    assert.is(after.value('pg_gateway_server_timeline', { server: primary.candidate }), undefined);
    session.close();
  });
});

test.run();
