// SPDX-License-Identifier: MIT
// What goes through a session: every byte, in both directions, whatever the client
// does. One cluster for all.

import { withGateway } from '../helpers/gateway.js';
import type { Gateway, GatewayOptions } from '../helpers/gateway.js';
import { PgSession, queryMessage, readMessage, startupMessage } from '../helpers/pg-session.js';
import { createCluster } from '../helpers/postgres.js';
import type { Cluster } from '../helpers/postgres.js';
import { PRELOAD } from '../helpers/paths.js';
import { descriptorsOf, residentBytes } from '../helpers/processes.js';
import { clientProgram, query } from '../helpers/psql.js';
import { RawClient } from '../helpers/raw-client.js';
import { assert, suite } from '../helpers/suite.js';
import { eventually, observeFor } from '../helpers/wait.js';

const MIB = 1024 * 1024;
const ACTIVE = 'pg_gateway_connections_active';
const TO_SERVER = 'pg_gateway_bytes_client_to_backend_total';
const TO_CLIENT = 'pg_gateway_bytes_backend_to_client_total';
const ENDED = 'pg_gateway_sessions_ended_total';

/** A sanitizer does, so that it sees who uses it. */
const KEEPS_FREED_MEMORY = PRELOAD !== undefined;
const test = suite('sessions');
let cluster: Cluster;

function gatewayToPrimary(use: (gateway: Gateway) => Promise<void>, options: GatewayOptions = {}): Promise<void> {
  return withGateway({ candidates: [cluster.primary.candidate], ...options }, use);
}

/** Sessions on the server but the one that asks. */
function serverSessions(): Promise<string> {
  return cluster.primary.query(
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'test' AND pid <> pg_backend_pid()",
  );
}

function pipes(gateway: Gateway): number {
  return descriptorsOf(gateway.pid).filter((what) => what.startsWith('pipe:')).length;
}

test.before(async () => {
  cluster = await createCluster(0);
});

test.after(async () => {
  await cluster.close();
});

test('300 concurrent sessions over 4 workers, each with its own answers', async () => {
  await gatewayToPrimary(
    async (gateway) => {
      const before = descriptorsOf(gateway.pid).length;
      const sessions = await Promise.all(Array.from({ length: 300 }, () => PgSession.open(gateway.clients)));
      assert.is(await serverSessions(), '300');
      for (let round = 0; round < 5; round += 1) {
        const answers = await Promise.all(
          sessions.map((session, index) =>
            session.query(`SELECT ${index} || ':' || ${round} || repeat('.', ${index * 100})`),
          ),
        );
        for (const [index, answer] of answers.entries()) {
          assert.is(answer[0], `${index}:${round}${'.'.repeat(index * 100)}`);
        }
      }
      const samples = await gateway.samples();
      assert.is(samples.get(ACTIVE), 300);
      for (const worker of ['0', '1', '2', '3']) {
        const held = samples.get('pg_gateway_worker_sessions', { worker });
        assert.ok(held >= 60 && held <= 90, `worker ${worker} has ${held} of 300 sessions`);
      }
      for (const session of sessions) session.close();
      await gateway.metric(ACTIVE, {}, (value) => value === 0);
      await eventually('the server to see it', async () => (await serverSessions()) === '0');
      // What is left over is at most the few pipes that each worker keeps.
      await eventually('the descriptors to be closed', () => descriptorsOf(gateway.pid).length <= before + 4 * 2 * 4);
    },
    { env: { NUM_THREADS: '4' } },
  );
});

test('sessions come and go by the thousand and nothing is left over', async () => {
  await gatewayToPrimary(
    async (gateway) => {
      const churn = async (count: number): Promise<void> => {
        for (let done = 0; done < count; done += 20) {
          const sessions = await Promise.all(Array.from({ length: 20 }, () => PgSession.open(gateway.clients)));
          for (const [index, { raw }] of sessions.entries()) {
            if (index % 3 === 0) raw.reset();
            else if (index % 3 === 1) raw.close();
            else raw.halfClose();
          }
        }
        await gateway.metric(ACTIVE, {}, (value) => value === 0);
      };
      await churn(100);
      const before = descriptorsOf(gateway.pid).length;
      await churn(1000);
      // Scrapes and probes have a connection each that comes and goes.
      await eventually('no more descriptors than before', () => descriptorsOf(gateway.pid).length <= before + 2);
    },
    { env: { NUM_THREADS: '2' } },
  );
});

test('half-close: what the client still gets after its FIN is complete', async () => {
  await gatewayToPrimary(async (gateway) => {
    const client = await RawClient.connect(gateway.clients);
    client.discard();
    client.send(
      Buffer.concat([
        startupMessage(),
        queryMessage("COPY (SELECT repeat('x', 999) FROM generate_series(1, 30000)) TO STDOUT"),
      ]),
    );
    client.halfClose();
    assert.is(await client.ended({ deadlineMs: 30_000 }), 'fin');
    // CopyData: a type, a length, and a line with its end.
    assert.ok(client.received > 30_000 * (5 + 1000), `only ${client.received} bytes came`);
    await gateway.metric(TO_CLIENT, {}, (value) => value === client.received);
    await gateway.metric(ENDED, { reason: 'client_closed' }, (value) => value === 1);
    await gateway.metric(ACTIVE, {}, (value) => value === 0);
  });
});

test('a client that stops reading costs little, disturbs nobody, and gets everything when it goes on', async () => {
  await gatewayToPrimary(async (gateway) => {
    const rows = 256 * 1024;
    const neighbour = await PgSession.open(gateway.clients);
    const slow = await PgSession.open(gateway.clients);
    slow.raw.discard();
    const memory = residentBytes(gateway.pid);
    const pipesBefore = pipes(gateway);

    slow.raw.pause();
    slow.raw.send(queryMessage(`COPY (SELECT repeat('x', 999) FROM generate_series(1, ${rows})) TO STDOUT`));
    let moved = 0;
    await eventually('the session to stall', async () => {
      const last = moved;
      moved = (await gateway.samples()).get(TO_CLIENT);
      await observeFor(300);
      return moved > MIB && moved === last;
    });
    assert.ok(moved < 64 * MIB, `${moved} bytes were taken for a client that reads none`);
    assert.ok(pipes(gateway) - pipesBefore <= 8, `${pipes(gateway) - pipesBefore} more pipe descriptors`);
    const grown = residentBytes(gateway.pid) - memory;
    assert.ok(KEEPS_FREED_MEMORY || grown < 16 * MIB, `${grown} bytes more memory`);
    for (let count = 0; count < 100; count += 1)
      assert.equal(await neighbour.query(`SELECT ${count}`), [String(count)]);

    slow.raw.resume();
    const size = rows * (5 + 1000);
    await eventually('all of the rest', () => slow.raw.received > size, { deadlineMs: 60_000 });
    await eventually('the counter to agree', async () => {
      return (await gateway.samples()).get(TO_CLIENT) === slow.raw.received + neighbour.raw.received;
    });
    slow.close();
    neighbour.close();
  });
});

test('a server that stops reading holds its client back', async () => {
  await gatewayToPrimary(async (gateway) => {
    const session = await PgSession.open(gateway.clients);
    const memory = residentBytes(gateway.pid);
    // Locked by somebody else, the backend does not read while it waits.
    const holder = await PgSession.open(cluster.primary);
    await holder.query('SELECT pg_advisory_lock(7)');
    session.raw.send(queryMessage('SELECT pg_advisory_lock(7)'));
    const chunk = queryMessage(`SELECT length('${'x'.repeat(MIB)}')`);
    for (let count = 0; count < 100; count += 1) session.raw.send(chunk);
    let moved = 0;
    await eventually('the session to stall', async () => {
      const last = moved;
      moved = (await gateway.samples()).get(TO_SERVER);
      await observeFor(300);
      return moved > MIB && moved === last;
    });
    assert.ok(moved < 64 * MIB, `${moved} bytes were taken for a server that reads none`);
    assert.ok(KEEPS_FREED_MEMORY || residentBytes(gateway.pid) - memory < 16 * MIB);

    holder.close();
    for (let answers = 0; answers < 101;) {
      if ((await readMessage(session.raw)).type === 'Z') answers += 1;
    }
    assert.is((await gateway.samples()).get(TO_SERVER), session.raw.sent);
    session.close();
  });
});

test('a reset by the client ends the session on the server', async () => {
  await gatewayToPrimary(async (gateway) => {
    const session = await PgSession.open(gateway.clients);
    session.raw.reset();
    await gateway.metric(ENDED, { reason: 'client_reset' }, (value) => value === 1);
    await gateway.metric(ACTIVE, {}, (value) => value === 0);
    await eventually('the server to see it', async () => (await serverSessions()) === '0');
  });
});

test('a reset by the server ends the session of the client', async () => {
  await gatewayToPrimary(async (gateway) => {
    const session = await PgSession.open(gateway.clients);
    // A socket that is closed with bytes that nobody has read sends a reset (RFC 2525, 2.17).
    cluster.primary.freeze();
    session.raw.send(queryMessage('SELECT 1'));
    await gateway.metric(TO_SERVER, {}, (value) => value === session.raw.sent);
    await cluster.primary.crash();
    await session.ended();
    await gateway.metric(ENDED, { reason: 'backend_reset' }, (value) => value === 1);
    await gateway.metric(ACTIVE, {}, (value) => value === 0);
    await cluster.primary.start();
  });
});

test('a session that the server ends is ended in order, with its last words', async () => {
  await gatewayToPrimary(async (gateway) => {
    const session = await PgSession.open(gateway.clients);
    await cluster.primary.query(`SELECT pg_terminate_backend(${session.processId})`);
    assert.is((await readMessage(session.raw)).type, 'E');
    assert.is(await session.ended(), 'fin');
    // It may still have something to say: until it closes, too, only one direction has ended.
    session.close();
    await gateway.metric(ENDED, { reason: 'backend_closed' }, (value) => value === 1);
    await gateway.metric(ACTIVE, {}, (value) => value === 0);
  });
});

test('pgbench has no failed transaction', async () => {
  await gatewayToPrimary(
    async (gateway) => {
      const init = await clientProgram(gateway.clients, 'pgbench', ['-i', '-q', '-s', '1']);
      assert.is(init.status, 0, init.stderr);
      const { status, stdout, stderr } = await clientProgram(gateway.clients, 'pgbench', [
        '-c',
        '8',
        '-j',
        '2',
        '-T',
        '5',
      ]);
      assert.is(status, 0, stderr);
      assert.match(stdout, 'number of failed transactions: 0 ');
      const done = Number(/transactions actually processed: (\d+)/.exec(stdout)?.[1]);
      assert.is(await query(gateway.clients, 'SELECT count(*) FROM pgbench_history'), String(done));
    },
    { env: { NUM_THREADS: '2' } },
  );
});

test('pgbench with a connection for each transaction has no failed transaction', async () => {
  await gatewayToPrimary(async (gateway) => {
    const args = ['-n', '-C', '-S', '-c', '4', '-t', '100'];
    const { status, stdout, stderr } = await clientProgram(gateway.clients, 'pgbench', args);
    assert.is(status, 0, stderr);
    assert.match(stdout, 'number of failed transactions: 0 ');
  });
});

test.run();
