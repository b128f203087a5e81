// SPDX-License-Identifier: MIT
// The resolver is down, or does not answer: while the gateway runs, and when it starts.

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { Gateway } from '../helpers/gateway.js';
import { whereMountsCanBe, withMounts } from '../helpers/own-mounts.js';
import { temporaryFolder } from '../helpers/paths.js';
import { PgSession } from '../helpers/pg-session.js';
import { createCluster } from '../helpers/postgres.js';
import type { PostgresServer } from '../helpers/postgres.js';
import { query } from '../helpers/psql.js';
import { assert, suite } from '../helpers/suite.js';
import { observeFor, timed } from '../helpers/wait.js';

/** Nobody listens there, but for the test of a resolver that hangs. */
const NAME_SERVER = '127.113.0.53';
const DNS_PORT = 53;
const WHERE = 'SELECT inet_server_port()';
const PID = 'SELECT pg_backend_pid()';
const LOOK_UP_FAILED = 'a name cannot be looked up: the addresses that it had are used';
const SEVERAL_PROBES_MS = 1000;

const test = suite('resolver down');
const register = whereMountsCanBe(test);

interface World {
  readonly primary: PostgresServer;
  readonly standby: PostgresServer;
  readonly start: () => Promise<Gateway>;
  /** Of the primary and the standby, as the log has them. */
  readonly names: readonly [string, string];
  /** The names are known from now on, or are not. */
  readonly know: (known: boolean) => Promise<void>;
}

async function withWorld(use: (world: World) => Promise<void>): Promise<void> {
  const folder = await temporaryFolder();
  const cluster = await createCluster(1);
  const { primary } = cluster;
  const [standby] = cluster.standbys;
  if (standby === undefined) throw new Error('the cluster has no standby');
  const [hosts, servers] = [join(folder.path, 'hosts'), join(folder.path, 'resolv.conf')];
  const gateways: Gateway[] = [];
  const know = (known: boolean): Promise<void> =>
    writeFile(hosts, known ? '127.0.0.1 localhost one.test two.test\n' : '127.0.0.1 localhost\n');
  try {
    await know(true);
    // A resolver that hangs does so for longer than any test.
    await writeFile(servers, `nameserver ${NAME_SERVER}\noptions timeout:30 attempts:2\n`);
    const [one, two] = [`one.test:${primary.port}`, `two.test:${standby.port}`];
    await use({
      primary,
      standby,
      names: [`${one}(127.0.0.1)`, `${two}(127.0.0.1)`],
      know,
      start: async () => {
        const gateway = await Gateway.start({
          candidates: [one, two],
          launcher: withMounts(`mount --bind ${hosts} /etc/hosts\nmount --bind ${servers} /etc/resolv.conf`),
          env: { UV_THREADPOOL_SIZE: '16', HOLD_TIMEOUT_MS: '15000' },
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

/** They have to connect anew, and look the name up for that. */
async function breakProbes(server: PostgresServer): Promise<void> {
  await server.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pg-gateway'");
}

function stateChanges(gateway: Gateway): number {
  return gateway.lines.filter(({ message }) => message === 'STATE CHANGE').length;
}

register('while it runs: probes go on at the addresses that are known, and a failover is followed', async () => {
  await withWorld(async ({ primary, standby, names, know, start }) => {
    const gateway = await start();
    await gateway.primaryIs(names[0]);
    const session = await PgSession.open(gateway.clients);
    const pid = await session.query(PID);
    await know(false);
    await breakProbes(primary);
    const line = await gateway.logged(LOOK_UP_FAILED, { host: 'one.test', addresses: '127.0.0.1' });
    assert.is(line.level, 'warning');
    assert.is(await query(gateway.clients, WHERE), String(primary.port));
    await breakProbes(primary);
    await observeFor(SEVERAL_PROBES_MS);
    assert.is(stateChanges(gateway), 1, gateway.log);
    const lines = gateway.lines.filter(({ message, fields }) => {
      return message === LOOK_UP_FAILED && fields.get('host') === 'one.test';
    });
    assert.is(lines.length, 1, 'it is said once');
    assert.equal(await session.query(PID), pid);

    await primary.crash();
    await standby.promote();
    await gateway.primaryIs(names[1]);
    assert.is(await query(gateway.clients, WHERE), String(standby.port));

    await know(true);
    await gateway.logged('a name can be looked up again', { host: 'one.test' });
    assert.is(gateway.primary, names[1]);
    session.close();
  });
});

register('one that hangs while it runs keeps no probe waiting', async () => {
  const silent = createSocket('udp4').bind(DNS_PORT, NAME_SERVER);
  await once(silent, 'listening');
  try {
    await withWorld(async ({ primary, names, know, start }) => {
      const gateway = await start();
      await gateway.primaryIs(names[0]);
      await know(false);
      await breakProbes(primary);
      const ms = await timed(async () => assert.is(await query(gateway.clients, WHERE), String(primary.port)));
      assert.ok(ms < 3000, `a client waited for ${ms.toFixed(0)} ms`);
      await observeFor(SEVERAL_PROBES_MS);
      assert.is(stateChanges(gateway), 1, gateway.log);
      assert.is((await gateway.samples()).get('pg_gateway_servers_healthy'), 2);
    });
  } finally {
    silent.close();
  }
});

register('at the start: it is up, says why there is no primary, and finds it when there are names', async () => {
  await withWorld(async ({ primary, names, know, start }) => {
    await know(false);
    const gateway = await start();
    for (const name of names) {
      const candidate = name.replace(/\(.*/, '');
      const line = await gateway.logged('candidate does not answer', { candidate, reason: 'dns' });
      assert.match(line.fields.get('detail') ?? '', /^(?:one|two)\.test: E/);
    }
    assert.is((await gateway.http('/healthz')).status, 200);
    assert.is((await gateway.http('/readyz')).status, 503);
    const waits = query(gateway.clients, WHERE);
    await gateway.metric('pg_gateway_clients_held', {}, (value) => value === 1);
    await know(true);
    assert.is(await waits, String(primary.port));
    await gateway.primaryIs(names[0]);
  });
});

test.run();
