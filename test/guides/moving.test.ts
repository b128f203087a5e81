// SPDX-License-Identifier: MIT
// Of pg-gateway-guides(7): the environment of the C program pg_gateway, and the gateway on
// the host of an application. (From HAProxy: patroni.test; from libpq: streaming.test.)

import { mkdir } from 'node:fs/promises';

import { succeed } from '../helpers/child.js';
import { Gateway } from '../helpers/gateway.js';
import { httpGet, Samples } from '../helpers/metrics-text.js';
import { plainEnvironment, postgresProgram } from '../helpers/postgres-install.js';
import { query } from '../helpers/psql.js';
import type { SocketKind } from '../helpers/service-manager.js';
import { assert, suite } from '../helpers/suite.js';
import { AS_INSTALLED, GatewayHost } from './gateway-host.js';
import { Lan, whereLansCanBe } from './lan.js';
import { block, linesOf } from './page.js';
import { startServers } from './servers.js';
import type { Servers } from './servers.js';

/** Where Debian's clients look for a server. */
const SOCKET_FOLDER = '/run/postgresql';
const FORMER_METRICS = [
  'connections_active',
  'connections_total',
  'bytes_client_to_backend_total',
  'bytes_backend_to_client_total',
  'servers_total',
  'servers_healthy',
  'servers_unhealthy',
];

const test = suite('moving', {}, 600_000);
const testGuide = whereLansCanBe(test);

async function withServers(use: (lan: Lan, servers: Servers) => Promise<void>): Promise<void> {
  const lan = await Lan.create();
  try {
    const servers = await startServers(lan);
    try {
      await use(lan, servers);
    } finally {
      await servers.close();
    }
  } finally {
    await lan.close();
  }
}

testGuide('the environment of the C program, and its arguments, are understood', async () => {
  await withServers(async (lan, { db1 }) => {
    const { enter, address } = lan.host('gw1');
    const former = Object.fromEntries(
      linesOf(block('pg_gateway.env')).map((line) => {
        const [, name = '', value = ''] = /^(\w+)=(.*)$/u.exec(line) ?? [];
        return [name, value];
      }),
    );
    for (const { env, args, port } of [
      { env: former, args: [], port: 5432 },
      { env: { ...former, LISTEN_HOST: '', LISTEN_PORT: '' }, args: ['0.0.0.0', '6432'], port: 6432 },
    ]) {
      const options = { env: { ...AS_INSTALLED, ...env }, args, launcher: [...enter, process.execPath] };
      const gateway = await Gateway.start(options);
      try {
        await gateway.primaryIs(db1.candidate);
        assert.is(await query({ host: address, port }, 'SELECT inet_server_addr()'), '10.0.0.11');
        const { body } = await httpGet({ host: address, port: 9090 }, '/metrics');
        const samples = Samples.parse(body);
        for (const name of FORMER_METRICS) assert.type(samples.value(`pg_gateway_${name}`), 'number', name);
        assert.is(samples.labelValues('pg_gateway_worker_sessions', 'worker').length, Number(former['NUM_THREADS']));
      } finally {
        await gateway.close();
      }
    }
  });
});

testGuide('on the host of an application clients find it where they look first', async () => {
  await withServers(async (lan, { db1 }) => {
    const host = lan.host('gw1');
    await mkdir(SOCKET_FOLDER, { recursive: true });
    // What is there is another server's; this is seen by the test alone.
    await succeed(['mount', '-t', 'tmpfs', 'tmpfs', SOCKET_FOLDER]);
    const [reset, ...listen] = linesOf(block('application-host.socket')).flatMap((line) => {
      const address = /^ListenStream=(.*)$/u.exec(line)?.[1];
      return address === undefined ? [] : [address];
    });
    assert.is(reset, '', 'the address of the package is taken away first');
    const gatewayHost = await GatewayHost.start(host, {
      config: block('pg-gateway.toml'),
      env: { PGPASSWORD: 'secret' },
      listen: listen as SocketKind[],
    });
    try {
      await gatewayHost.gateway.primaryIs(db1.candidate);
      for (const target of ['host=127.0.0.1', '']) {
        const psql = [postgresProgram('psql'), '-XAtc', 'SELECT pg_is_in_recovery()', `${target} user=postgres`];
        assert.is(await succeed([...host.enter, ...psql], { env: plainEnvironment() }), 'f\n');
      }
    } finally {
      await gatewayHost.close();
    }
  });
});

test.run();
