// SPDX-License-Identifier: MIT
// Where a client ends up, by what the candidates are.

import { garbageServer, silentServer, slammingServer } from '../helpers/fake-servers.js';
import type { FakeServer } from '../helpers/fake-servers.js';
import { withGateway } from '../helpers/gateway.js';
import { createCluster } from '../helpers/postgres.js';
import type { Cluster } from '../helpers/postgres.js';
import { freePort } from '../helpers/ports.js';
import { query } from '../helpers/psql.js';
import { assert, suite } from '../helpers/suite.js';
import { observeFor } from '../helpers/wait.js';

const WHERE = 'SELECT inet_server_port(), pg_is_in_recovery()';
/** More probe rounds than it takes to be told a lie. */
const SEVERAL_ROUNDS_MS = 1500;

const test = suite('routing');
let cluster: Cluster;

function primaryAnswer(): string {
  return `${cluster.primary.port}|f`;
}

test.before(async () => {
  cluster = await createCluster(2);
});

test.after(async () => {
  await cluster.close();
});

for (const position of [0, 1, 2]) {
  test(`the primary is found when it is candidate ${position + 1} of three`, async () => {
    const standbys = cluster.standbys.map(({ candidate }) => candidate);
    const candidates = [...standbys.slice(0, position), cluster.primary.candidate, ...standbys.slice(position)];
    await withGateway({ candidates }, async (gateway) => {
      assert.is(await query(gateway.clients, WHERE), primaryAnswer());
      assert.is(gateway.primary, cluster.primary.candidate);
    });
  });
}

const BAD_FIRST: readonly (readonly [string, () => Promise<FakeServer>])[] = [
  ['accepts TCP and never answers', silentServer],
  ['answers with garbage without end', garbageServer],
  ['closes every connection', slammingServer],
];
for (const [what, start] of BAD_FIRST) {
  test(`the primary is found though the first candidate ${what}`, async () => {
    const bad = await start();
    try {
      const candidates = [
        bad.candidate,
        ...cluster.standbys.map(({ candidate }) => candidate),
        cluster.primary.candidate,
      ];
      await withGateway({ candidates }, async (gateway) => {
        assert.is(await query(gateway.clients, WHERE), primaryAnswer());
        await gateway.metric('pg_gateway_servers_unhealthy', {}, (value) => value === 1);
        assert.is((await gateway.samples()).get('pg_gateway_servers_healthy'), 3);
        await observeFor(SEVERAL_ROUNDS_MS);
        assert.is(await query(gateway.clients, WHERE), primaryAnswer(), 'and stays the primary');
        assert.is(gateway.lines.filter(({ message }) => message === 'STATE CHANGE').length, 1);
      });
    } finally {
      await bad.close();
    }
  });
}

test('a candidate that nobody serves does no harm', async () => {
  const candidates = [`127.0.0.1:${await freePort()}`, cluster.primary.candidate];
  await withGateway({ candidates }, async (gateway) => {
    assert.is(await query(gateway.clients, WHERE), primaryAnswer());
  });
});

test('a candidate may be a host name', async () => {
  await withGateway({ candidates: [`localhost:${cluster.primary.port}`] }, async (gateway) => {
    assert.is(await query(gateway.clients, WHERE), primaryAnswer());
  });
});

test('standbys alone are never routed to', async () => {
  await withGateway({ candidates: cluster.standbys.map(({ candidate }) => candidate) }, async (gateway) => {
    assert.is((await gateway.samples()).get('pg_gateway_servers_healthy'), 2);
    const ready = await gateway.http('/readyz');
    assert.is(ready.status, 503);
    await query(gateway.clients, 'SELECT 1').then(
      () => assert.unreachable('a client was served'),
      (error: unknown) => assert.match(String(error), 'no PostgreSQL primary is available'),
    );
  });
});

test.run();
