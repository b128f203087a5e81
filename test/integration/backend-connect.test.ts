// SPDX-License-Identifier: MIT
// A client's own connection to the primary fails while the probes, on theirs, still find it well.

import { deafAddress } from '../helpers/deaf-address.js';
import { movableAddress } from '../helpers/fake-servers.js';
import type { MovableAddress } from '../helpers/fake-servers.js';
import { Gateway } from '../helpers/gateway.js';
import { PgSession } from '../helpers/pg-session.js';
import { PostgresServer } from '../helpers/postgres.js';
import { psql } from '../helpers/psql.js';
import { assert, suite } from '../helpers/suite.js';
import { timed } from '../helpers/wait.js';

const FAILURES = 'pg_gateway_backend_connect_failures_total';
const PROBES = 'pg_gateway_probe_duration_seconds_count';

const test = suite('backend connect');
let server: PostgresServer;

test.before(async () => {
  server = await PostgresServer.create();
});

test.after(async () => {
  await server.close();
});

/** No probe comes by itself: each that comes was asked for. */
function toml({ candidate }: MovableAddress, connectTimeoutMs: number): string {
  return `candidates = ["${candidate}"]\n[probe]\ncheck_every = 3600\nconnect_timeout_ms = ${connectTimeoutMs}\n`;
}

async function withAddress(
  connectTimeoutMs: number,
  use: (gateway: Gateway, address: MovableAddress) => Promise<void>,
): Promise<void> {
  const address = await movableAddress(server.port);
  try {
    const gateway = await Gateway.start({
      config: toml(address, connectTimeoutMs),
      env: { CHECK_EVERY: undefined, CONNECT_TIMEOUT_MS: undefined },
    });
    try {
      await use(gateway, address);
    } finally {
      await gateway.close();
    }
  } finally {
    await address.close();
  }
}

test('refused: the client is told, it is counted, and a probe round starts at once', async () => {
  await withAddress(800, async (gateway, address) => {
    const session = await PgSession.open(gateway.clients);
    const probes = (await gateway.samples()).get(PROBES);
    address.refuse();
    const { status, stderr } = await psql(gateway.clients, 'SELECT 1');
    assert.is(status, 2);
    assert.match(stderr, 'FATAL:  no PostgreSQL primary is available');
    assert.match(stderr, 'Connecting to the primary failed: Connection refused.');
    await gateway.metric(FAILURES, { server: address.candidate, reason: 'refused' }, (value) => value === 1);
    await gateway.metric('pg_gateway_clients_rejected_total', { reason: 'connect_failed' }, (value) => value === 1);
    await gateway.metric(PROBES, { server: address.candidate }, (value) => value > probes);

    assert.equal(await session.query('SELECT 1'), ['1'], 'suspicion cuts nobody');
    assert.is((await gateway.samples()).get('pg_gateway_has_primary'), 1, 'the probe has found it well');
    session.close();
  });
});

test('no answer: the client is told when its time is over, which a reload can change', async () => {
  await withAddress(60_000, async (gateway, address) => {
    address.refuse();
    const deaf = await deafAddress('127.0.0.1', address.port);
    try {
      await gateway.configure(toml(address, 300));
      gateway.kill('SIGHUP');
      await gateway.logged('configuration reloaded', { changed: 'probe.connect_timeout_ms' });
      const took = await timed(async () => {
        const { status, stderr } = await psql(gateway.clients, 'SELECT 1');
        assert.is(status, 2);
        assert.match(stderr, 'Connecting to the primary failed: Connection timed out.');
      });
      assert.ok(took >= 300, `it took ${took} ms`);
      await gateway.metric(FAILURES, { server: address.candidate, reason: 'timeout' }, (value) => value === 1);
    } finally {
      await deaf.close();
    }
  });
});

test.run();
