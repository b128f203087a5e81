// SPDX-License-Identifier: MIT
// How many clients there may be, and what is left to the gateway itself when they take all they can get.

import { Gateway } from '../helpers/gateway.js';
import { KeptGateway } from '../helpers/kept-gateway.js';
import { PgSession, startupMessage } from '../helpers/pg-session.js';
import { createCluster } from '../helpers/postgres.js';
import type { Cluster } from '../helpers/postgres.js';
import { psql, query } from '../helpers/psql.js';
import type { Target } from '../helpers/psql.js';
import { RawClient } from '../helpers/raw-client.js';
import { assert, suite } from '../helpers/suite.js';
import { eventually, timed } from '../helpers/wait.js';

const test = suite('limits');
const REJECTED = 'pg_gateway_clients_rejected_total';
const FULL =
  /FATAL: {2}the gateway has too many clients already\s+DETAIL: {2}It serves 2 at once \(MAX_CONNECTIONS\)\./;
const FULL_OF_ONE =
  /FATAL: {2}too many connections from your address\s+DETAIL: {2}The gateway takes 2 from each \(MAX_CONNECTIONS_PER_CLIENT\)\./;

let cluster: Cluster;
test.before(async () => {
  cluster = await createCluster(0);
});
test.after(async () => {
  await cluster.close();
});

function toml(sessions: string): string {
  return `candidates = ["${cluster.primary.candidate}"]\n[sessions]\n${sessions}\n`;
}

/** What psql shows of being turned away, whatever it asks for first. */
async function refusal(clients: Target, sslmode: 'disable' | 'prefer'): Promise<string> {
  const { status, stderr } = await psql({ ...clients, env: { PGSSLMODE: sslmode } }, 'SELECT 1');
  assert.is(status, 2);
  return stderr;
}

async function reloaded(gateway: Gateway, config: string): Promise<void> {
  const before = gateway.mark;
  await gateway.configure(config);
  gateway.kill('SIGHUP');
  await gateway.logged('configuration reloaded', {}, undefined, before);
}

test('one too many is told so in words that psql shows; a reload makes room', async () => {
  const gateway = await Gateway.start({ config: toml('max_connections = 2') });
  try {
    await gateway.primaryIs(cluster.primary.candidate);
    assert.is((await gateway.logged('ready')).fields.get('max_connections'), '2');
    const sessions = [await PgSession.open(gateway.clients), await PgSession.open(gateway.clients)];
    assert.match(await refusal(gateway.clients, 'disable'), FULL);
    assert.match(await refusal(gateway.clients, 'prefer'), FULL);
    const samples = await gateway.samples();
    assert.is(samples.get('pg_gateway_connections_limit'), 2);
    assert.ok(samples.get(REJECTED, { reason: 'too_many_clients' }) >= 2);
    const line = await gateway.logged('there are as many clients as there may be: more are turned away');
    assert.is(line.level, 'warning');

    await reloaded(gateway, toml('max_connections = 3'));
    assert.is(await query(gateway.clients, 'SELECT 1'), '1');
    await reloaded(gateway, toml('max_connections = 1'));
    for (const session of sessions) assert.equal(await session.query('SELECT 2'), ['2']);
    for (const session of sessions) session.close();
  } finally {
    await gateway.close();
  }
});

test('an address has its share, over a restart too; others are not kept out by it', async () => {
  const gateway = await KeptGateway.start({
    candidates: [cluster.primary.candidate],
    env: { MAX_CONNECTIONS_PER_CLIENT: '2' },
  });
  try {
    await gateway.current.primaryIs(cluster.primary.candidate);
    const mine = [await PgSession.open(gateway.clients), await PgSession.open(gateway.clients)];
    assert.match(await refusal(gateway.clients, 'disable'), FULL_OF_ONE);
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      await gateway.restart(signal);
      assert.match(await refusal(gateway.clients, 'disable'), FULL_OF_ONE);
      for (const session of mine) assert.equal(await session.query('SELECT 1'), ['1']);
    }
    const samples = await gateway.current.samples();
    assert.is(samples.get(REJECTED, { reason: 'too_many_per_client' }), 1);
    const other = await RawClient.connect(gateway.clients, '127.0.0.2');
    await gateway.current.metric('pg_gateway_connections_active', {}, (value) => value === 3);
    other.close();
    mine[0]?.close();
    await gateway.current.metric('pg_gateway_connections_active', {}, (value) => value === 1);
    assert.is(await query(gateway.clients, 'SELECT 1'), '1');
    mine[1]?.close();
  } finally {
    await gateway.close();
  }
});

test('more than may come in a second wait and are served; a reload lifts that', async () => {
  const gateway = await Gateway.start({ config: toml('max_connection_rate = 5') });
  const ask = (): Promise<string[]> => Promise.all(Array.from({ length: 8 }, () => query(gateway.clients, 'SELECT 1')));
  const waits = async (): Promise<number> => (await gateway.samples()).get('pg_gateway_accept_rate_waits_total');
  try {
    await gateway.primaryIs(cluster.primary.candidate);
    const ms = await timed(async () => assert.equal(await ask(), Array(8).fill('1')));
    // Seven times 200 ms, of which the first has 50 already.
    assert.ok(ms >= 1200, String(ms));
    const line = await gateway.logged('more clients come than are accepted in a second: they wait');
    assert.is(line.level, 'warning');
    const before = await waits();
    assert.ok(before >= 1);
    await reloaded(gateway, toml('max_connection_rate = 0'));
    assert.equal(await ask(), Array(8).fill('1'));
    assert.is(await waits(), before);
  } finally {
    await gateway.close();
  }
});

test('the soft limit of descriptors is raised to the hard one, and counts', async () => {
  const launcher = ['sh', '-c', 'ulimit -Sn 200; ulimit -Hn 1000; exec "$0" "$@"', process.execPath];
  const gateway = await Gateway.start({ candidates: [cluster.primary.candidate], launcher });
  try {
    // A thousand without three parts of 125, two for each client.
    assert.is((await gateway.logged('ready')).fields.get('max_connections'), '312');
    assert.is((await gateway.samples()).get('process_max_fds'), 1000);
  } finally {
    await gateway.close();
  }
});

test('clients who take all they can get leave the probes and the metrics theirs', async () => {
  const gateway = await Gateway.start({
    candidates: [cluster.primary.candidate],
    env: { MAX_CONNECTIONS: '1000', MAX_HELD: '1000', HOLD_TIMEOUT_MS: undefined },
    launcher: ['sh', '-c', 'ulimit -n 256; exec "$0" "$@"', process.execPath],
  });
  const clients: RawClient[] = [];
  try {
    await gateway.logged('MAX_CONNECTIONS is more than the limit of open files has room for', { that_fit: '80' });
    await gateway.primaryIs(cluster.primary.candidate);
    await cluster.primary.crash();
    await gateway.primaryIs('none');
    for (let number = 0; number < 250; number += 1) clients.push(await RawClient.connect(gateway.clients));
    await gateway.metric('pg_gateway_accept_pauses_total', {}, (value) => value >= 3);
    const samples = await gateway.samples();
    // Two parts of 32 are free still, but for what the gateway has opened since.
    const open = samples.get('process_open_fds');
    assert.ok(open >= 190 && open <= 210, String(open));
    assert.ok(samples.get('pg_gateway_clients_held') < 192);
    assert.is(samples.get(REJECTED, { reason: 'resources' }), 0);
    await cluster.primary.start();
    await gateway.primaryIs(cluster.primary.candidate);
    for (const client of clients.splice(0)) client.close();
    assert.is(await query(gateway.clients, 'SELECT 1'), '1');
  } finally {
    for (const client of clients) client.close();
    await gateway.close();
  }
});

test('the longest startup message is that of PostgreSQL, to the byte', async () => {
  // Where clients are held, what they say is looked at before they have a server.
  const gateway = await Gateway.start({
    candidates: [cluster.primary.candidate],
    env: { HOLD_TIMEOUT_MS: undefined },
  });
  const shortest = startupMessage({ application_name: '' }).length;
  try {
    await gateway.primaryIs(cluster.primary.candidate);
    for (const target of [cluster.primary, gateway.clients]) {
      for (const [bytes, answer] of [
        [10_004, 'R'],
        [10_005, ''],
      ] as const) {
        const client = await RawClient.connect(target);
        const message = startupMessage({ application_name: 'x'.repeat(bytes - shortest) });
        assert.is(message.length, bytes);
        client.send(message);
        await eventually('an answer, or an end', () => client.pending.length > 0 || client.end !== 'open');
        assert.is(client.pending.toString('latin1', 0, 1), answer, `${bytes} bytes to port ${target.port}`);
        client.close();
      }
    }
    assert.is((await gateway.samples()).get(REJECTED, { reason: 'startup' }), 1);
  } finally {
    await gateway.close();
  }
});

test.run();
