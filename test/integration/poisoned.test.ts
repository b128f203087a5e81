// SPDX-License-Identifier: MIT
// Sessions that were kept and kill each process that takes them up are given up in the end, and a
// gateway serves again. Those that kill nobody are not, however often Node itself cannot start.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { KeptGateway } from '../helpers/kept-gateway.js';
import { temporaryFolder } from '../helpers/paths.js';
import { PgSession } from '../helpers/pg-session.js';
import { createCluster } from '../helpers/postgres.js';
import type { Cluster } from '../helpers/postgres.js';
import { query } from '../helpers/psql.js';
import { assert, suite } from '../helpers/suite.js';

/** kMostUnfinished of native/session_store.h. */
const MOST_CRASHES = 10;
const DIE = `process.kill(process.pid, 'SIGSEGV');
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10_000);`;
/** As a fault of the data plane would: with a session in hand, and before anything else goes on. */
const DIE_OF_SESSIONS = `const { dlopen } = process;
  process.dlopen = (module, ...rest) => {
    dlopen(module, ...rest);
    const { Engine } = module.exports;
    if (Engine === undefined) return;
    module.exports.Engine = function (...args) {
      const engine = new Engine(...args);
      if (engine.recovery().recovered > 0) { ${DIE} }
      return engine;
    };
  };`;

const test = suite('poisoned');

interface World {
  readonly cluster: Cluster;
  readonly gateway: KeptGateway;
  /** The processes from the next on run this first; nothing: they do not. */
  readonly preload: (script: string) => Promise<void>;
}

async function withWorld(use: (world: World) => Promise<void>, { early = true, standbys = 0 } = {}): Promise<void> {
  const folder = await temporaryFolder();
  const cluster = await createCluster(standbys);
  try {
    const candidates = cluster.servers.map(({ candidate }) => candidate);
    const gateway = await KeptGateway.start({ candidates }, { early });
    const file = join(folder.path, 'preload.cjs');
    const preload = async (script: string): Promise<void> => {
      await writeFile(file, script);
      gateway.set({ NODE_OPTIONS: `--require=${file}` });
    };
    try {
      await use({ cluster, gateway, preload });
    } finally {
      await gateway.close();
    }
  } finally {
    await cluster.close();
    await folder.close();
  }
}

/** Starts a process that crashes, and says nothing. */
async function crash(gateway: KeptGateway): Promise<void> {
  const failure = await gateway.next().then(() => 'it has started', String);
  assert.match(failure, '(stdout "", stderr "") ended without');
}

for (const early of [true, false]) {
  const how = early ? 'ahead of Node' : 'by Node';
  test(`ten crashes at taking up (the addon is loaded ${how}): the next one gives up, serves, and knows who is fenced`, async () => {
    await withWorld(
      async ({ cluster: { primary, standbys }, gateway, preload }) => {
        const [standby] = standbys;
        if (standby === undefined) throw new Error('no standby');
        await gateway.current.primaryIs(primary.candidate);
        await standby.promote();
        await gateway.current.primaryIs(standby.candidate);
        const session = await PgSession.open(gateway.clients);
        await preload(DIE_OF_SESSIONS);
        gateway.current.kill('SIGKILL');
        for (let i = 0; i < MOST_CRASHES; i += 1) await crash(gateway);
        // The old primary is alone, and believes that it is the primary.
        const next = await gateway.next(() => standby.stop());
        const line = await next.logged(
          'the sessions of an earlier process were given up: the processes that took them up crashed, one after the other',
          { code: 'RECOVERY_GIVEN_UP', sessions: '1', crashes: String(MOST_CRASHES) },
        );
        assert.is(line.level, 'err');
        await session.ended();
        await next.logged('server fenced: it gets no traffic', {
          server: primary.candidate,
          reason: 'stale-timeline',
        });
        const samples = await next.samples();
        assert.is(samples.get('pg_gateway_recovery_lost_total', { reason: 'given_up' }), 1);
        assert.is(samples.get('pg_gateway_sessions_recovered_total'), 0);
        await standby.start();
        await next.primaryIs(standby.candidate);
        assert.is(await query(gateway.clients, 'SHOW port'), String(standby.port));
        // What comes now is kept as ever.
        const later = await PgSession.open(gateway.clients);
        await preload('');
        await gateway.restart('SIGKILL');
        assert.equal(await later.query('SELECT pg_backend_pid()'), [String(later.processId)]);
        later.close();
      },
      { early, standbys: 1 },
    );
  });
}

test('one that comes to be ready takes the crashes before it away', async () => {
  await withWorld(async ({ gateway, preload }) => {
    const session = await PgSession.open(gateway.clients);
    gateway.current.kill('SIGKILL');
    for (let round = 0; round < 2; round += 1) {
      await preload(DIE_OF_SESSIONS);
      for (let i = 1; i < MOST_CRASHES; i += 1) await crash(gateway);
      await preload('');
      await gateway.next();
      assert.equal(await session.query('SELECT pg_backend_pid()'), [String(session.processId)]);
      gateway.current.kill('SIGKILL');
    }
    await gateway.next();
    session.close();
  });
});

test('a Node that crashes before it begins costs no session, nor does an exit or a stop in the midst of a start', async () => {
  await withWorld(async ({ gateway, preload }) => {
    const session = await PgSession.open(gateway.clients);
    gateway.current.kill('SIGKILL');
    await preload(DIE);
    for (let i = 0; i <= MOST_CRASHES; i += 1) await crash(gateway);
    // Once the data plane runs, and before the gateway is ready.
    for (const end of ['process.exit(1)', "throw new Error('a fault')", "process.kill(process.pid, 'SIGTERM')"]) {
      await preload(`setImmediate(function look() {
        if (!process.listeners('exit').some(({ name }) => name.includes('#excuse'))) setImmediate(look);
        else ${end};
      });`);
      for (let i = 0; i <= MOST_CRASHES; i += 1) {
        const failure = await gateway.next().then(() => 'it has started', String);
        assert.not.match(failure, 'it has started');
        assert.not.match(failure, 'RECOVERY_GIVEN_UP');
        assert.match(failure, 'sessions of an earlier process taken up');
      }
    }
    await preload('');
    await gateway.next();
    assert.equal(await session.query('SELECT pg_backend_pid()'), [String(session.processId)]);
    session.close();
  });
});

test.run();
