// SPDX-License-Identifier: MIT
// The disk of the state directory is full: at the start, or when a failover comes. A
// real one: a file system in memory with room for four pages.

import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { run } from '../helpers/child.js';
import { Gateway } from '../helpers/gateway.js';
import { pathInside, whereMountsCanBe, withMounts } from '../helpers/own-mounts.js';
import { MAIN, temporaryFolder } from '../helpers/paths.js';
import { createCluster } from '../helpers/postgres.js';
import type { Cluster, PostgresServer } from '../helpers/postgres.js';
import { query } from '../helpers/psql.js';
import { assert, suite } from '../helpers/suite.js';
import { timed } from '../helpers/wait.js';

const WHERE = 'SELECT inet_server_port()';
const NOT_REMEMBERED = 'the cluster cannot be remembered beyond a stop';
/** Takes what is free, and fails. */
const FILL = `head -c 100000 /dev/zero >"$STATE_DIRECTORY/filler" 2>/dev/null || :`;

const test = suite('full disk');
const register = whereMountsCanBe(test);

interface World {
  readonly cluster: Cluster;
  readonly primary: PostgresServer;
  readonly standby: PostgresServer;
  readonly gateway: Gateway;
  /** Of a file in the state directory. */
  readonly path: (name: string) => string;
  readonly fill: () => Promise<void>;
  readonly makeRoom: () => Promise<void>;
}

async function withWorld(fullAtStart: boolean, use: (world: World) => Promise<void>): Promise<void> {
  const folder = await temporaryFolder();
  const cluster = await createCluster(1);
  const { primary } = cluster;
  const [standby] = cluster.standbys;
  if (standby === undefined) throw new Error('the cluster has no standby');
  const stateDirectory = join(folder.path, 'state');
  await mkdir(stateDirectory);
  const mount = `mount -t tmpfs -o size=16k,mode=700 tmpfs "$STATE_DIRECTORY"`;
  try {
    const gateway = await Gateway.start({
      candidates: cluster.servers.map(({ candidate }) => candidate),
      launcher: withMounts(fullAtStart ? `${mount}\n${FILL}` : mount),
      env: { STATE_DIRECTORY: stateDirectory, HOLD_TIMEOUT_MS: '10000' },
    });
    const path = (name: string): string => pathInside(gateway.pid, join(stateDirectory, name));
    try {
      await gateway.primaryIs(primary.candidate);
      await use({
        cluster,
        primary,
        standby,
        gateway,
        path,
        fill: async () => {
          const error: unknown = await writeFile(path('filler'), Buffer.alloc(100_000)).catch(
            (caught: unknown) => caught,
          );
          assert.match(String(error), 'ENOSPC');
        },
        makeRoom: () => rm(path('filler')),
      });
    } finally {
      await gateway.close();
    }
  } finally {
    await cluster.close();
    await folder.close();
  }
}

function told(gateway: Gateway): number {
  return gateway.lines.filter(({ message }) => message.startsWith(NOT_REMEMBERED)).length;
}

register('full at the start: the gateway serves, says so once, and makes it good', async () => {
  await withWorld(true, async ({ primary, gateway, path, makeRoom }) => {
    const atStart = await gateway.logged('the state directory cannot be written to', { code: 'STATE_WRITE_FAILED' });
    assert.match(atStart.fields.get('error') ?? '', 'ENOSPC');
    const line = await gateway.logged(NOT_REMEMBERED, { code: 'STATE_WRITE_FAILED' });
    assert.match(line.fields.get('error') ?? '', 'ENOSPC');
    assert.is(await query(gateway.clients, WHERE), String(primary.port));
    assert.is((await gateway.samples()).get('pg_gateway_state_saved'), 0);
    await gateway.metric('pg_gateway_state_write_failures_total', {}, (value) => value >= 2);
    assert.is(told(gateway), 1, gateway.log);

    await makeRoom();
    await gateway.metric('pg_gateway_state_saved', {}, (value) => value === 1);
    await gateway.logged('the cluster is remembered');
    assert.match(await readFile(path('cluster.json'), 'utf8'), /"timeline": 1,/);
    // Others see now whose the directory is.
    const env = { PATH: process.env['PATH'] ?? '', STATE_DIRECTORY: path('') };
    const forgetting = await run([process.execPath, MAIN, '--forget-cluster'], { env });
    assert.is(forgetting.status, 69, forgetting.stderr);
    assert.match(forgetting.stderr, `process ${gateway.pid} code=STATE_IN_USE`);
  });
});

register(
  'full when a failover comes: it is followed, and what was remembered stays whole until there is room',
  async () => {
    await withWorld(false, async ({ primary, standby, gateway, path, fill, makeRoom }) => {
      await gateway.metric('pg_gateway_state_saved', {}, (value) => value === 1);
      const before = await readFile(path('cluster.json'), 'utf8');
      await fill();
      await primary.crash();
      await standby.promote();
      await gateway.primaryIs(standby.candidate);
      assert.is(await query(gateway.clients, WHERE), String(standby.port));
      await gateway.logged(NOT_REMEMBERED, { code: 'STATE_WRITE_FAILED' });
      assert.is(await readFile(path('cluster.json'), 'utf8'), before);
      assert.not(existsSync(path('cluster.json.new')), 'nothing that is not whole gets a name that counts');

      await makeRoom();
      await gateway.metric('pg_gateway_state_saved', {}, (value) => value === 1);
      assert.match(await readFile(path('cluster.json'), 'utf8'), /"timeline": 2,/);
      assert.is(told(gateway), 1, gateway.log);
    });
  },
);

register('full at the stop: it ends as fast as ever, and with 0', async () => {
  await withWorld(false, async ({ primary, standby, gateway, fill }) => {
    await gateway.metric('pg_gateway_state_saved', {}, (value) => value === 1);
    await fill();
    await primary.crash();
    await standby.promote();
    await gateway.primaryIs(standby.candidate);
    const tookMs = await timed(async () => assert.is((await gateway.stop()).status, 0));
    assert.ok(tookMs < 5000, `stopping took ${tookMs.toFixed(0)} ms`);
  });
});

test.run();
