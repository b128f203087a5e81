// SPDX-License-Identifier: MIT
// Listening sockets that are handed over by a service manager.

import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { ActivatedGateway } from '../helpers/activated-gateway.js';
import { hasIpv6 } from '../helpers/postgres-install.js';
import { createCluster } from '../helpers/postgres.js';
import type { Cluster } from '../helpers/postgres.js';
import { query } from '../helpers/psql.js';
import { httpGet } from '../helpers/metrics-text.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('activation');
let cluster: Cluster;

async function withSockets(specs: readonly string[], use: (gateway: ActivatedGateway) => Promise<void>): Promise<void> {
  const gateway = await ActivatedGateway.start(specs, { CANDIDATES: cluster.primary.candidate });
  try {
    await use(gateway);
  } finally {
    await gateway.close();
  }
}

test.before(async () => {
  cluster = await createCluster(0);
});

test.after(async () => {
  await cluster.close();
});

test('IPv4, IPv6 and UNIX sockets all serve, and metrics have their own', async () => {
  const ipv6 = (await hasIpv6()) ? ['primary=[::1]:0'] : [];
  const specs = ['primary=127.0.0.1:0', 'metrics=127.0.0.1:0', 'pg-gateway.socket={folder}/.s.PGSQL.5432', ...ipv6];
  await withSockets(specs, async (gateway) => {
    await gateway.logged(' ready ');
    const [v4, metrics, unix, v6] = gateway.addresses;
    assert.ok(v4 && metrics && unix);
    for (const address of [v4, unix, ...(v6 === undefined ? [] : [v6])]) {
      assert.is(await query(address, 'SELECT inet_server_port()'), String(cluster.primary.port), address.host);
    }
    const { status, body } = await httpGet(metrics, '/metrics');
    assert.is(status, 200);
    assert.match(body, 'pg_gateway_connections_total 3'.replace('3', String(v6 === undefined ? 2 : 3)));

    const outcome = await gateway.stop();
    assert.equal(outcome, { status: 0, listening: true }, 'what the manager owns is left alone');
    assert.ok(existsSync(join(unix.host, `.s.PGSQL.${unix.port}`)), 'the path of the UNIX socket is still there');
  });
});

test.run();
