// SPDX-License-Identifier: MIT
// Encryption is between client and server; the gateway passes it through. Its own
// probes encrypt too.

import { join } from 'node:path';

import { Gateway } from '../helpers/gateway.js';
import { temporaryFolder } from '../helpers/paths.js';
import { createCluster } from '../helpers/postgres.js';
import type { Cluster } from '../helpers/postgres.js';
import { psql, query } from '../helpers/psql.js';
import type { Target } from '../helpers/psql.js';
import { assert, suite } from '../helpers/suite.js';
import { createAuthority } from '../helpers/tls.js';

const ENCRYPTED = 'SELECT ssl, inet_server_port() FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl';

const test = suite('tls');
let cluster: Cluster;
let gateway: Gateway;

function verifying(host: string, rootCertificate: string): Target {
  return {
    host,
    port: gateway.clients.port,
    env: { PGSSLMODE: 'verify-full', PGSSLROOTCERT: rootCertificate, PGHOSTADDR: gateway.clients.host },
  };
}

test.before(async () => {
  // Whoever does not encrypt is turned away: a probe or a session in the clear would be seen.
  const hba = ['hostssl all all all trust', 'host replication all all trust', 'hostnossl all all all reject'];
  cluster = await createCluster(0, { tls: true, hba });
  gateway = await Gateway.start({
    candidates: [`localhost:${cluster.primary.port}`],
    env: { PGSSLMODE: 'verify-full', PGSSLROOTCERT: cluster.primary.rootCertificate },
  });
});

test.after(async () => {
  await gateway.close();
  await cluster.close();
});

for (const host of ['localhost', '127.0.0.1']) {
  test(`psql with sslmode=verify-full is content with ${host}`, async () => {
    const target = verifying(host, cluster.primary.rootCertificate);
    assert.is(await query(target, ENCRYPTED), `t|${cluster.primary.port}`);
  });
}

test('the name in the certificate counts: it is that of the server', async () => {
  const { status, stderr } = await psql(verifying('other.example', cluster.primary.rootCertificate), 'SELECT 1');
  assert.is(status, 2);
  assert.match(stderr, 'does not match host name "other.example"');
});

test('a certificate of another authority is refused by the client', async () => {
  const folder = await temporaryFolder();
  try {
    await createAuthority(folder.path);
    const { status, stderr } = await psql(verifying('localhost', join(folder.path, 'root.crt')), 'SELECT 1');
    assert.is(status, 2);
    assert.match(stderr, 'certificate verify failed');
  } finally {
    await folder.close();
  }
});

test('megabytes go through encrypted as well', async () => {
  const target = verifying('localhost', cluster.primary.rootCertificate);
  const answer = await query(target, "SELECT repeat('0123456789', 500000)");
  assert.is(answer, '0123456789'.repeat(500_000));
});

test('psql in the clear gets the answer of the server, not of the gateway', async () => {
  const { status, stderr } = await psql({ ...gateway.clients, env: { PGSSLMODE: 'disable' } }, 'SELECT 1');
  assert.is(status, 2);
  assert.match(stderr, 'pg_hba.conf rejects connection');
});

test.run();
