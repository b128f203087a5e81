// SPDX-License-Identifier: MIT
// The end of the gateway under a signal, whatever it is busy with; and its beginning before there is a server.

import { silentServer } from '../helpers/fake-servers.js';
import { withGateway } from '../helpers/gateway.js';
import type { Gateway } from '../helpers/gateway.js';
import { httpGet } from '../helpers/metrics-text.js';
import { errorFields, PgSession, queryMessage, readMessage, startupMessage } from '../helpers/pg-session.js';
import { hasIpv6 } from '../helpers/postgres-install.js';
import { createCluster } from '../helpers/postgres.js';
import type { Cluster } from '../helpers/postgres.js';
import { clientProgram, psql, query } from '../helpers/psql.js';
import { RawClient } from '../helpers/raw-client.js';
import { assert, suite } from '../helpers/suite.js';
import { timed } from '../helpers/wait.js';

const STOP_WITHIN_MS = 2000;
const WHERE = 'SELECT inet_server_port()';

const test = suite('stop');
let cluster: Cluster;

async function expectStop(gateway: Gateway, ...signals: NodeJS.Signals[]): Promise<void> {
  const took = await timed(async () => {
    for (const name of signals) gateway.kill(name);
    const { status, signal } = await gateway.ended;
    assert.equal([status, signal], [0, null], gateway.log);
  });
  assert.ok(took < STOP_WITHIN_MS, `it took ${took} ms`);
  assert.not(
    gateway.lines.some(({ level }) => level === 'err'),
    gateway.log,
  );
}

test.before(async () => {
  cluster = await createCluster(0);
  const init = await clientProgram(cluster.primary, 'pgbench', ['-i', '-q', '-s', '4']);
  assert.is(init.status, 0, init.stderr);
});

test.after(async () => {
  await cluster.close();
});

for (const signals of [['SIGTERM'], ['SIGINT'], ['SIGTERM', 'SIGTERM', 'SIGINT', 'SIGHUP']] as const) {
  test(`${signals.join(', ')} with idle and busy sessions: status 0, every client sees the end`, async () => {
    const options = { candidates: [cluster.primary.candidate], env: { NUM_THREADS: '2' } };
    await withGateway(options, async (gateway) => {
      const { clients } = gateway;
      const sessions = await Promise.all(Array.from({ length: 10 }, () => PgSession.open(clients)));
      const [sleeping, flooded, silent] = sessions;
      const busy = clientProgram(clients, 'pgbench', ['-n', '-c', '8', '-T', '60']);
      sleeping?.raw.send(queryMessage('SELECT pg_sleep(60)'));
      flooded?.raw.discard();
      flooded?.raw.send(queryMessage('COPY (SELECT generate_series(1, 100000000)) TO STDOUT'));
      const connected = await RawClient.connect(clients); // and says nothing
      await gateway.metric('pg_gateway_connections_active', {}, (value) => value === 19);
      const before = (await gateway.samples()).get('pg_gateway_bytes_client_to_backend_total');
      await gateway.metric('pg_gateway_bytes_client_to_backend_total', {}, (value) => value > before + 100_000);

      await expectStop(gateway, ...signals);
      await Promise.all(sessions.map((session) => session.ended()));
      assert.is(await silent?.ended(), 'fin', 'an idle session ends in good order');
      await connected.ended();
      const bench = await busy;
      assert.is.not(bench.status, 0);
      assert.is(bench.stderr.match(/client \d aborted/g)?.length, 8, bench.stderr);
      const stopped = gateway.lines.filter(({ message }) => message === 'stopped');
      assert.equal(
        stopped.map(({ fields }) => fields.get('sessions_closed')),
        ['19'],
      );
      for (const session of sessions) session.close();
    });
  });
}

test('SIGTERM while the only candidate accepts connections and never answers', async () => {
  const silent = await silentServer();
  try {
    const options = { candidates: [silent.candidate], env: { CONNECT_TIMEOUT_MS: '300', QUERY_TIMEOUT_MS: '300' } };
    await withGateway(options, async (gateway) => {
      const quiet = await RawClient.connect(gateway.clients);
      const refused = await RawClient.connect(gateway.clients);
      refused.send(startupMessage());
      assert.is(errorFields(await readMessage(refused)).get('C'), '57P03');
      await expectStop(gateway, 'SIGTERM');
      await quiet.ended();
    });
    // Before the first round has ended: with a time limit far beyond what a stop may take.
    const patient = { candidates: [silent.candidate], env: { CONNECT_TIMEOUT_MS: '60000' }, waitForReady: false };
    await withGateway(patient, async (gateway) => {
      await gateway.logged('serving metrics');
      const waiting = await RawClient.connect(gateway.clients);
      await expectStop(gateway, 'SIGTERM');
      await waiting.ended();
    });
  } finally {
    await silent.close();
  }
});

test('SIGHUP during the start does no harm', async () => {
  const silent = await silentServer();
  try {
    const candidates = [cluster.primary.candidate, silent.candidate];
    await withGateway({ candidates, env: { CONNECT_TIMEOUT_MS: '500' }, waitForReady: false }, async (gateway) => {
      await gateway.logged('serving metrics');
      gateway.kill('SIGHUP');
      await gateway.logged('ready');
      assert.is(await query(gateway.clients, WHERE), String(cluster.primary.port));
    });
  } finally {
    await silent.close();
  }
});

test('metrics are on every address, IPv4 and IPv6, if nothing else is said', async () => {
  const env = { METRICS_HOST: undefined };
  await withGateway({ candidates: [cluster.primary.candidate], env }, async (gateway) => {
    const { port } = gateway.metricsAddress;
    for (const host of ['127.0.0.1', ...((await hasIpv6()) ? ['::1'] : [])]) {
      const { status, body } = await httpGet({ host, port }, '/metrics');
      assert.is(status, 200, host);
      assert.match(body, 'pg_gateway_connections_total 0');
    }
  });
});

test('a server that comes later is taken into use without a restart; until then each client is told and counted', async () => {
  const { primary } = cluster;
  await primary.stop();
  await withGateway({ candidates: [primary.candidate] }, async (gateway) => {
    const pid = gateway.pid;
    const ready = await gateway.http('/readyz');
    assert.is(ready.status, 503);
    assert.match(ready.body, /^no primary: no-primary: .+\n$/);
    const modes = [
      ['disable', 'disable'],
      ['prefer', 'disable'],
      ['disable', 'prefer'],
    ];
    for (const [PGSSLMODE = '', PGGSSENCMODE = ''] of modes) {
      const refused = await psql({ ...gateway.clients, env: { PGSSLMODE, PGGSSENCMODE } }, WHERE);
      assert.is(refused.status, 2);
      assert.match(refused.stderr, 'FATAL:  no PostgreSQL primary is available');
    }
    const samples = await gateway.samples();
    assert.is(samples.get('pg_gateway_connections_total'), samples.get('pg_gateway_clients_rejected_total'));
    assert.is(samples.get('pg_gateway_clients_rejected_total', { reason: 'no_primary' }), modes.length);
    assert.is(samples.get('pg_gateway_clients_rejected_total'), modes.length);
    assert.is(samples.get('pg_gateway_connections_active'), 0);

    await primary.start();
    await gateway.primaryIs(primary.candidate);
    assert.is(await query(gateway.clients, WHERE), String(primary.port));
    const now = await gateway.http('/readyz');
    assert.equal([now.status, now.body], [200, `${primary.candidate} is the primary on timeline 1\n`]);
    assert.is((await gateway.samples()).get('pg_gateway_failovers_total'), 0);
    assert.is(gateway.pid, pid);
  });
});

test('with a drain the stop waits for the sessions, and takes nobody new', async () => {
  const options = { candidates: [cluster.primary.candidate], env: { DRAIN_TIMEOUT_MS: '60000' } };
  await withGateway(options, async (gateway) => {
    const session = await PgSession.open(gateway.clients);
    gateway.kill('SIGTERM');
    await gateway.logged('waiting for sessions to end', { sessions: '1' });
    const late = await RawClient.connect(gateway.clients);
    late.send(startupMessage());
    assert.equal(await session.query('SELECT 1'), ['1']);
    assert.is((await gateway.samples()).get('pg_gateway_connections_total'), 1, 'it waits in the queue');
    session.close();
    const { status } = await gateway.ended;
    assert.is(status, 0, gateway.log);
    await gateway.logged('stopped', { sessions_closed: '0' });
    late.close();
  });
});

test('a drain is over when its time is, and what is left ends', async () => {
  const options = { candidates: [cluster.primary.candidate], env: { DRAIN_TIMEOUT_MS: '300' } };
  await withGateway(options, async (gateway) => {
    const session = await PgSession.open(gateway.clients);
    const took = await timed(() => expectStop(gateway, 'SIGTERM'));
    assert.ok(took >= 300, `it took ${took} ms`);
    assert.is(await session.ended(), 'fin');
    await gateway.logged('stopped', { sessions_closed: '1' });
  });
});

test.run();
