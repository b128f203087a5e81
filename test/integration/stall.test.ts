// SPDX-License-Identifier: MIT
// The gateway is stopped for a while (SIGSTOP, a suspended virtual machine), or gets
// next to no CPU: what it has not heard meanwhile says nothing against anybody.

import { cpus } from 'node:os';

import { Child } from '../helpers/child.js';
import type { Ended } from '../helpers/child.js';
import { Gateway } from '../helpers/gateway.js';
import { PgSession } from '../helpers/pg-session.js';
import { createCluster } from '../helpers/postgres.js';
import type { Cluster, PostgresServer } from '../helpers/postgres.js';
import { signal } from '../helpers/processes.js';
import { psql, query } from '../helpers/psql.js';
import { assert, note, suite } from '../helpers/suite.js';
import { observeFor } from '../helpers/wait.js';

/** Longer than any time limit of a probe below. PG_GATEWAY_STALL_SECONDS=60: as long as an administrator is away. */
const STALL_MS = 1000 * Number(process.env['PG_GATEWAY_STALL_SECONDS'] ?? 4);
const PROBE_LIMIT_MS = 2000;
/** After this a probe that is due every 100 ms is under way if it cannot end. */
const UNDER_WAY_MS = 400;
/** Several probes, in which something must not happen. */
const SEVERAL_PROBES_MS = 1000;
const BUSY_MS = 4000;

const PID = 'SELECT pg_backend_pid()';
const WHERE = 'SELECT inet_server_port()';

const test = suite('stall', undefined, 120_000 + 4 * STALL_MS);

interface World {
  readonly cluster: Cluster;
  readonly primary: PostgresServer;
  readonly standby: PostgresServer;
  readonly gateway: Gateway;
}

/** Eager: a gateway that lost its primary for a moment would cut every session, which is easily seen. */
async function withWorld(
  use: (world: World) => Promise<void>,
  env: Readonly<Record<string, string>> = { CUT_POLICY: 'eager' },
): Promise<void> {
  const cluster = await createCluster(1, { tls: true });
  const { primary } = cluster;
  const [standby] = cluster.standbys;
  if (standby === undefined) throw new Error('the cluster has no standby');
  try {
    const gateway = await Gateway.start({
      candidates: cluster.servers.map(({ candidate }) => candidate),
      env: {
        CHECK_EVERY: '0.1',
        CONNECT_TIMEOUT_MS: String(PROBE_LIMIT_MS),
        QUERY_TIMEOUT_MS: String(PROBE_LIMIT_MS),
        HOLD_TIMEOUT_MS: '10000',
        ...env,
      },
    });
    try {
      await gateway.primaryIs(primary.candidate);
      await use({ cluster, primary, standby, gateway });
    } finally {
      await gateway.close();
    }
  } finally {
    await cluster.close();
  }
}

/** Stands still for `STALL_MS`, and longer if `meanwhile` takes longer. */
async function stall(gateway: Gateway, meanwhile: () => Promise<void> | void = () => undefined): Promise<void> {
  gateway.kill('SIGSTOP');
  try {
    await Promise.all([meanwhile(), observeFor(STALL_MS)]);
  } finally {
    gateway.kill('SIGCONT');
  }
}

async function assertUnmoved(gateway: Gateway, { candidate }: PostgresServer): Promise<void> {
  await observeFor(SEVERAL_PROBES_MS);
  const samples = await gateway.samples();
  const changes = gateway.lines.filter(({ message }) => message === 'STATE CHANGE');
  assert.is(changes.length, 1, gateway.log);
  assert.is(gateway.primary, candidate);
  assert.is(samples.get('pg_gateway_has_primary'), 1);
  assert.is(samples.get('pg_gateway_failovers_total'), 0);
  assert.is(samples.value('pg_gateway_sessions_cut_total') ?? 0, 0);
  assert.is((await gateway.http('/readyz')).status, 200);
}

test('stopped between the question and the answer: the answer is heard, however late', async () => {
  await withWorld(async ({ primary, gateway }) => {
    const session = await PgSession.open(gateway.clients);
    const pid = await session.query(PID);
    primary.freeze();
    await observeFor(UNDER_WAY_MS);
    await stall(gateway, () => {
      primary.thaw();
    });
    await assertUnmoved(gateway, primary);
    assert.equal(await session.query(PID), pid);
    session.close();
  });
});

test('stopped in the middle of a log-in: it goes on where it was', async () => {
  await withWorld(async ({ primary, gateway }) => {
    const session = await PgSession.open(gateway.clients);
    const pid = await session.query(PID);
    const administrator = await PgSession.open({ host: primary.host, port: primary.port });
    // The kernel accepts connections, and nobody says a word on them.
    signal(primary.pid, 'SIGSTOP');
    await administrator.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pg-gateway'",
    );
    await observeFor(UNDER_WAY_MS);
    await stall(gateway, () => {
      signal(primary.pid, 'SIGCONT');
    });
    await assertUnmoved(gateway, primary);
    assert.equal(await session.query(PID), pid);
    session.close();
    administrator.close();
  });
});

test('who comes while it stands still waits, and is served then', async () => {
  await withWorld(async ({ primary, gateway }) => {
    const patient = { ...gateway.clients, env: { PGCONNECT_TIMEOUT: String(10 + STALL_MS / 1000) } };
    const waiting: Promise<Ended>[] = [];
    await stall(gateway, () => {
      for (let client = 0; client < 20; client += 1) waiting.push(psql(patient, WHERE, 30_000 + STALL_MS));
    });
    for (const { stdout, stderr } of await Promise.all(waiting)) assert.is(stdout, `${primary.port}\n`, stderr);
    await assertUnmoved(gateway, primary);
  });
});

test('the primary changes while it stands still: it follows, and nothing that was said before holds it up', async () => {
  await withWorld(async ({ primary, standby, gateway }) => {
    const session = await PgSession.open(gateway.clients);
    await session.query(PID);
    primary.freeze();
    await observeFor(UNDER_WAY_MS);
    await stall(gateway, async () => {
      primary.thaw(); // it answers "primary" to the question of before
      await standby.promote();
      await primary.crash();
    });
    assert.is(await query(gateway.clients, WHERE), String(standby.port));
    await gateway.primaryIs(standby.candidate);
    await session.ended();
    const samples = await gateway.samples();
    assert.is(samples.get('pg_gateway_failovers_total'), 1);
    assert.is(samples.get('pg_gateway_has_primary'), 1);
  });
});

test('the old primary lives on beside the new one: sessions on it are cut as soon as the gateway goes on', async () => {
  await withWorld(
    async ({ primary, standby, gateway }) => {
      const session = await PgSession.open(gateway.clients);
      await session.query(PID);
      await stall(gateway, () => standby.promote());
      await gateway.primaryIs(standby.candidate);
      await session.ended();
      assert.is((await gateway.samples()).get('pg_gateway_sessions_cut_total', { reason: 'superseded' }), 1);
      await gateway.logged('server fenced: it gets no traffic', {
        server: primary.candidate,
        reason: 'stale-timeline',
      });
    },
    { CUT_POLICY: 'proof' },
  );
});

test('neighbours that take all of the CPU: no failover, and no session is cut', async () => {
  const defaults = { CONNECT_TIMEOUT_MS: '800', QUERY_TIMEOUT_MS: '500', CUT_POLICY: 'proof' };
  await withWorld(async ({ primary, gateway }) => {
    const session = await PgSession.open(gateway.clients);
    const pid = await session.query(PID);
    const neighbours = Array.from(
      { length: 4 * cpus().length },
      () => new Child(['/bin/sh', '-c', 'while :; do :; done']),
    );
    try {
      const end = performance.now() + BUSY_MS;
      while (performance.now() < end) {
        assert.equal(await session.query(PID, { deadlineMs: 30_000 }), pid);
        assert.is(await query(gateway.clients, WHERE), String(primary.port));
      }
    } finally {
      await Promise.all(neighbours.map((neighbour) => neighbour.close()));
    }
    await gateway.metric('pg_gateway_has_primary', {}, (value) => value === 1);
    const samples = await gateway.samples();
    assert.is(samples.get('pg_gateway_failovers_total'), 0);
    assert.is(samples.value('pg_gateway_sessions_cut_total') ?? 0, 0);
    assert.is(gateway.primary, primary.candidate);
    const doubts = gateway.lines.filter(({ message }) => message === 'STATE CHANGE').length - 1;
    note(
      `${4 * cpus().length} busy neighbours for ${BUSY_MS / 1000} s: ${doubts} changes of the verdict, no session cut`,
    );
    session.close();
  }, defaults);
});

test.run();
