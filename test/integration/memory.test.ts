// SPDX-License-Identifier: MIT
// What the gateway remembers of the cluster when it is stopped, and whom it therefore
// does not route to when it is started again.

import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { run } from '../helpers/child.js';
import type { Ended } from '../helpers/child.js';
import { Gateway } from '../helpers/gateway.js';
import { KeptGateway } from '../helpers/kept-gateway.js';
import { MAIN, temporaryFolder } from '../helpers/paths.js';
import { PgSession } from '../helpers/pg-session.js';
import { createCluster, PostgresServer } from '../helpers/postgres.js';
import type { Cluster } from '../helpers/postgres.js';
import { psql, query } from '../helpers/psql.js';
import { assert, suite } from '../helpers/suite.js';
import { eventually, observeFor } from '../helpers/wait.js';

const WHERE = 'SELECT inet_server_port()';
const NOT_REMEMBERED = 'the cluster cannot be remembered beyond a stop';
/** Several probe rounds in which something must not happen. */
const SEVERAL_ROUNDS_MS = 1000;

const test = suite('memory');

interface StartOptions {
  readonly extra?: readonly PostgresServer[];
  readonly runtimeDirectory?: string;
  readonly waitForReady?: boolean;
}

interface World {
  readonly cluster: Cluster;
  readonly primary: PostgresServer;
  readonly standby: PostgresServer;
  readonly stateDirectory: string;
  readonly clusterFile: string;
  /** `extra` servers are candidates too. */
  readonly start: (options?: StartOptions) => Promise<Gateway>;
}

async function withWorld(use: (world: World) => Promise<void>): Promise<void> {
  const folder = await temporaryFolder();
  const cluster = await createCluster(1);
  const gateways: Gateway[] = [];
  const { primary } = cluster;
  const [standby] = cluster.standbys;
  if (standby === undefined) throw new Error('the cluster has no standby');
  const stateDirectory = join(folder.path, 'state');
  try {
    await use({
      cluster,
      primary,
      standby,
      stateDirectory,
      clusterFile: join(stateDirectory, 'cluster.json'),
      start: async ({ extra = [], runtimeDirectory, waitForReady = true } = {}) => {
        const candidates = [...cluster.servers, ...extra].map(({ candidate }) => candidate);
        const gateway = await Gateway.start({
          candidates,
          env: { STATE_DIRECTORY: stateDirectory, RUNTIME_DIRECTORY: runtimeDirectory, HOLD_TIMEOUT_MS: '0' },
          waitForReady,
        });
        gateways.push(gateway);
        return gateway;
      },
    });
  } finally {
    for (const gateway of gateways) await gateway.close();
    await cluster.close();
    await folder.close();
  }
}

function forget(stateDirectory: string): Promise<Ended> {
  const env = { PATH: process.env['PATH'] ?? '', STATE_DIRECTORY: stateDirectory };
  return run([process.execPath, MAIN, '--forget-cluster'], { env });
}

async function assertNotServed(gateway: Gateway, forMs = SEVERAL_ROUNDS_MS): Promise<void> {
  await observeFor(forMs);
  const refused = await psql(gateway.clients, 'SELECT 1');
  assert.is(refused.status, 2);
  assert.match(refused.stderr, 'no PostgreSQL primary is available');
  assert.is((await gateway.http('/readyz')).status, 503);
}

test('an old primary, alone after a stop of everything, is fenced until the cluster is forgotten', async () => {
  await withWorld(async ({ primary, standby, stateDirectory, clusterFile, start }) => {
    const before = await start();
    await before.primaryIs(primary.candidate);
    await primary.crash();
    await standby.promote();
    await before.primaryIs(standby.candidate);
    await before.metric('pg_gateway_state_saved', {}, (value) => value === 1);
    assert.match(await readFile(clusterFile, 'utf8'), /"timeline": 2,/);
    assert.is((await before.stop()).status, 0);
    await standby.stop();

    await primary.start();
    assert.is(await primary.query('SELECT pg_is_in_recovery()'), 'f', 'it believes that it is the primary');
    const after = await start();
    await after.logged('the cluster is known', { timeline: '2' });
    const fenced = await after.logged('server fenced: it gets no traffic', {
      server: primary.candidate,
      reason: 'stale-timeline',
    });
    assert.match(fenced.fields.get('detail') ?? '', 'on timeline 1, the cluster is on 2');
    await assertNotServed(after);
    const samples = await after.samples();
    assert.is(samples.get('pg_gateway_servers_fenced', { reason: 'stale-timeline' }), 1);
    assert.is(samples.get('pg_gateway_server_role', { server: primary.candidate, role: 'fenced' }), 1);

    const running = await forget(stateDirectory);
    assert.is(running.status, 69, 'not under a running gateway');
    assert.match(running.stderr, /a gateway is running on it, process \d+ code=STATE_IN_USE/);
    await after.stop();
    const forgotten = await forget(stateDirectory);
    assert.is(forgotten.status, 0, forgotten.stderr);
    assert.match(forgotten.stdout, /^\S+cluster\.json: forgot the cluster \d+ on timeline 2\n$/);
    assert.is(forgotten.stderr, '');
    const restored = await start();
    await restored.primaryIs(primary.candidate);
    assert.is(await query(restored.clients, WHERE), String(primary.port));
  });
});

test('a disk that does not answer holds up no failover, and no end of the process forgets it', async () => {
  await withWorld(async ({ primary, standby, stateDirectory, clusterFile, start }) => {
    const runtimeDirectory = join(dirname(stateDirectory), 'run');
    await mkdir(runtimeDirectory);
    const before = await start({ runtimeDirectory });
    await before.metric('pg_gateway_state_saved', {}, (value) => value === 1);
    // Whoever opens it waits for a reader.
    const part = `${clusterFile}.part`;
    await run(['mkfifo', part]);
    await primary.crash();
    await standby.promote();
    await before.primaryIs(standby.candidate);
    assert.is(await query(before.clients, WHERE), String(standby.port));
    assert.is((await before.samples()).get('pg_gateway_state_saved'), 0);
    assert.match(await readFile(clusterFile, 'utf8'), /"timeline": 1,/);
    before.kill('SIGKILL');
    await before.ended;
    await standby.stop();

    await primary.start();
    const after = await start({ runtimeDirectory });
    await after.logged('the cluster is known', { timeline: '2' });
    await after.logged('server fenced: it gets no traffic', { server: primary.candidate, reason: 'stale-timeline' });
    await assertNotServed(after);
    const { status, signal } = await after.stop();
    assert.is(status ?? signal, 'SIGTERM', 'nothing is waited for any more');
    await after.logged(NOT_REMEMBERED, { code: 'STATE_WRITE_FAILED' });

    await rm(part);
    const mended = await start({ runtimeDirectory });
    await mended.metric('pg_gateway_state_saved', {}, (value) => value === 1);
    assert.match(await readFile(clusterFile, 'utf8'), /"timeline": 2,/);
    assert.equal(await readdir(runtimeDirectory), []);
  });
});

test('the successor, back again, is routed to; a promotion that was missed counts too', async () => {
  await withWorld(async ({ primary, standby, start }) => {
    const before = await start();
    await before.primaryIs(primary.candidate);
    await before.stop();
    await standby.promote(); // both are writable now, and the old one is listed first
    const after = await start();
    await after.primaryIs(standby.candidate);
    assert.is(await query(after.clients, WHERE), String(standby.port));
    assert.equal(
      after.lines.filter(({ message }) => message === 'STATE CHANGE').map(({ fields }) => fields.get('new')),
      [standby.candidate],
      'the old one was never routed to',
    );
  });
});

test('a server of another cluster is fenced after a stop, also as the only one', async () => {
  await withWorld(async ({ cluster, primary, start }) => {
    const before = await start();
    await before.primaryIs(primary.candidate);
    await before.stop();
    for (const server of cluster.servers) await server.stop('immediate');
    const foreign = await PostgresServer.create({ foreign: true });
    try {
      const after = await start({ extra: [foreign] });
      await after.logged('server fenced: it gets no traffic', { server: foreign.candidate, reason: 'foreign-cluster' });
      await assertNotServed(after);
      assert.is((await after.samples()).get('pg_gateway_servers_fenced', { reason: 'foreign-cluster' }), 1);
    } finally {
      await foreign.close();
    }
  });
});

test('two writable servers on one timeline: nobody is served, and everybody is told', async () => {
  await withWorld(async ({ primary, standby, start }) => {
    const before = await start();
    await before.primaryIs(primary.candidate);
    await before.stop();
    await standby.stop();
    await rm(join(standby.dataDir, 'standby.signal'));
    await standby.start();

    const after = await start();
    const change = await after.logged('STATE CHANGE', { new: 'none', reason: 'split-brain' });
    assert.match(change.fields.get('detail') ?? '', primary.candidate);
    assert.match(change.fields.get('detail') ?? '', standby.candidate);
    await assertNotServed(after);
    assert.match((await after.http('/readyz')).body, 'split-brain');
    const samples = await after.samples();
    assert.is(samples.get('pg_gateway_split_brain'), 1);
    assert.is(samples.get('pg_gateway_servers_fenced', { reason: 'rival' }), 2);

    await standby.stop();
    await after.primaryIs(primary.candidate);
    await after.metric('pg_gateway_split_brain', {}, (value) => value === 0);
  });
});

test('a damaged file stops the start, says what to do, and is left as it is', async () => {
  await withWorld(async ({ primary, stateDirectory, clusterFile, start }) => {
    const before = await start();
    await before.primaryIs(primary.candidate);
    await before.stop();
    const damaged = (await readFile(clusterFile, 'utf8')).replace('"timeline": 1', '"timeline": 0');
    await writeFile(clusterFile, damaged);
    const refused = await start({ waitForReady: false });
    const { status, stderr } = await refused.ended;
    assert.is(status, 78);
    assert.match(stderr, `${clusterFile}: it is damaged`);
    assert.match(stderr, 'pg-gateway --forget-cluster');
    assert.match(stderr, 'code=STATE_INVALID');
    assert.is(await readFile(clusterFile, 'utf8'), damaged);

    assert.match((await forget(stateDirectory)).stdout, ': forgot a cluster, of which the file did not tell any more');
    await (await start()).primaryIs(primary.candidate);
  });
});

test('a disk that takes no more stops nothing, and what it lacks is written later', async () => {
  await withWorld(async ({ primary, stateDirectory, clusterFile, start }) => {
    const obstacle = join(stateDirectory, 'cluster.json.part');
    await mkdir(obstacle, { recursive: true });
    const gateway = await start();
    await gateway.primaryIs(primary.candidate);
    assert.is(await query(gateway.clients, WHERE), String(primary.port));
    await gateway.logged('the cluster cannot be remembered beyond a stop', { code: 'STATE_WRITE_FAILED' });
    const samples = await gateway.samples();
    assert.is(samples.get('pg_gateway_state_saved'), 0);
    assert.ok(samples.get('pg_gateway_state_write_failures_total') >= 1);
    await rm(obstacle, { recursive: true });
    await gateway.metric('pg_gateway_state_saved', {}, (value) => value === 1, { deadlineMs: 10_000 });
    assert.match(await readFile(clusterFile, 'utf8'), /"timeline": 1,/);
  });
});

test('over a restart the note of the sessions holds; a file that was lost meanwhile is written again', async () => {
  await withWorld(async ({ cluster, primary, stateDirectory, clusterFile }) => {
    const candidates = cluster.servers.map(({ candidate }) => candidate);
    const kept = await KeptGateway.start({ candidates, env: { STATE_DIRECTORY: stateDirectory } });
    try {
      const session = await PgSession.open(kept.clients);
      const text = await eventually('the file', () => readFile(clusterFile, 'utf8'));
      await kept.restart('SIGKILL', () => rm(clusterFile));
      assert.equal(await session.query(WHERE), [String(primary.port)]);
      // Sessions and clients wait for no disk.
      assert.is(await eventually('the file anew', () => readFile(clusterFile, 'utf8')), text);
      session.close();
    } finally {
      await kept.close();
    }
  });
});

test('over a restart a file that was damaged meanwhile ends no session, and is written anew', async () => {
  await withWorld(async ({ cluster, primary, stateDirectory, clusterFile }) => {
    const candidates = cluster.servers.map(({ candidate }) => candidate);
    const kept = await KeptGateway.start({ candidates, env: { STATE_DIRECTORY: stateDirectory } });
    try {
      const session = await PgSession.open(kept.clients);
      const text = await eventually('the file', () => readFile(clusterFile, 'utf8'));
      await kept.restart('SIGTERM', () => writeFile(clusterFile, text.replace('"timeline": 1', '"timeline": 9')));
      const line = await kept.current.logged(
        `${clusterFile} cannot be used, and is written anew: the process before knew the cluster`,
        { code: 'STATE_INVALID', timeline: '1' },
      );
      assert.is(line.level, 'err');
      assert.equal(await session.query(WHERE), [String(primary.port)]);
      await eventually('the file anew', async () => (await readFile(clusterFile, 'utf8')) === text);
      session.close();
    } finally {
      await kept.close();
    }
  });
});

test('a failover while the gateway was restarted is told and counted', async () => {
  await withWorld(async ({ cluster, primary, standby, stateDirectory }) => {
    const candidates = cluster.servers.map(({ candidate }) => candidate);
    const kept = await KeptGateway.start({ candidates, env: { STATE_DIRECTORY: stateDirectory } });
    try {
      const session = await PgSession.open(kept.clients);
      await kept.restart('SIGKILL', async () => {
        await primary.crash();
        await standby.promote();
      });
      await kept.current.logged('failover', { old: primary.candidate, new: standby.candidate, doubt: 'start' });
      await session.ended();
      assert.is((await kept.current.samples()).get('pg_gateway_failovers_total'), 1);
    } finally {
      await kept.close();
    }
  });
});

test('without a state directory one line says that a stop forgets', async () => {
  const gateway = await Gateway.start({ candidates: ['127.0.0.1:1'] });
  try {
    await gateway.logged('no state directory: a stop of the gateway forgets the cluster');
    assert.is((await gateway.samples()).get('pg_gateway_state_saved'), 0);
  } finally {
    await gateway.close();
  }
});

test.run();
