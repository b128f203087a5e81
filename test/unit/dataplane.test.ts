// SPDX-License-Identifier: MIT
// The typed face of the engine: what it refuses, and that its numbers have the
// promised shape. What the engine does is tested in test/native and test/integration.

import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { once } from 'node:events';

import { MAX_HOLD_MS, MAX_SERVERS, openDataPlane } from '#src/dataplane.js';
import type { DataPlane, DataPlaneSettings, Route } from '#src/dataplane.js';
import {
  CONNECT_BUCKETS_SECONDS,
  CONNECT_FAILURE_REASONS,
  CUT_REASONS,
  END_REASONS,
  REJECT_REASONS,
} from '#src/dataplane-stats.js';
import { GatewayError } from '#src/errors.js';
import { assert, suite } from '../helpers/suite.js';

interface Context {
  plane: DataPlane;
}

const test = suite<Context>('data plane');
const tcp = { keepalive: true, keepalivesIdleS: 60, keepalivesIntervalS: 10, keepalivesCount: 12, userTimeoutMs: 0 };
const settings: DataPlaneSettings = {
  connectTimeoutMs: 500,
  tcp,
  holdTimeoutMs: 0,
  maxHeld: 0,
  releaseRate: 1,
  maxConnections: 1000,
  maxConnectionsPerClient: 0,
  maxConnectionRate: 0,
  descriptors: { clients: 10_000, all: 10_000 },
  logSessions: false,
};
const route: Route = { epoch: 1, server: 0, address: '127.0.0.1', port: 5432 };

test.before.each((context) => {
  context.plane = openDataPlane({ ...settings, workers: 2 });
});
test.after.each(({ plane }) => {
  assert.ok(plane.close(5000));
});

function refusal(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof GatewayError) return `${error.code}: ${error.message}`;
    throw error;
  }
  return 'accepted';
}

test('values out of range never reach the native side', ({ plane }) => {
  const rows: [() => unknown, string][] = [
    [() => plane.setRoute({ ...route, epoch: 0 }), 'epoch is 0: expected a whole number from 1 to 4294967295'],
    [() => plane.setRoute({ ...route, epoch: 1.5 }), 'epoch is 1.5: expected a whole number from 1 to 4294967295'],
    [() => plane.setRoute({ ...route, server: MAX_SERVERS }), 'server is 128: expected a whole number from 0 to 127'],
    [() => plane.setRoute({ ...route, port: 0 }), 'port is 0: expected a whole number from 1 to 65535'],
    [() => plane.setRoute({ ...route, address: 'db1' }), 'address is "db1": expected an IP address'],
    [
      () => plane.setRoute(null, { belowEpoch: -1, reason: 'demoted' }),
      'belowEpoch is -1: expected a whole number from 0 to 4294967295',
    ],
    [() => plane.adoptListener(-1), 'descriptor is -1: expected a whole number from 0 to 2147483647'],
    [() => plane.bindListener('localhost', 1), 'address is "localhost": expected an IP address'],
    [
      () => plane.configure({ ...settings, tcp: { ...tcp, keepalivesCount: 128 } }),
      'keepalivesCount is 128: expected a whole number from 0 to 127',
    ],
    [
      () => plane.configure({ ...settings, connectTimeoutMs: Number.NaN }),
      'connectTimeoutMs is NaN: expected a whole number from 1 to 600000',
    ],
    [
      () => plane.configure({ ...settings, holdTimeoutMs: -1 }),
      'holdTimeoutMs is -1: expected a whole number from 0 to 604800000',
    ],
    [
      () => plane.configure({ ...settings, holdTimeoutMs: MAX_HOLD_MS + 1 }),
      'holdTimeoutMs is 604800001: expected a whole number from 0 to 604800000',
    ],
    [
      () => plane.configure({ ...settings, maxHeld: 1_000_001 }),
      'maxHeld is 1000001: expected a whole number from 0 to 1000000',
    ],
    [
      () => plane.configure({ ...settings, releaseRate: 0 }),
      'releaseRate is 0: expected a whole number from 1 to 1000000',
    ],
    [
      () => plane.configure({ ...settings, maxConnections: 0 }),
      'maxConnections is 0: expected a whole number from 1 to 1000000',
    ],
    [
      () => plane.configure({ ...settings, maxConnectionRate: 1_000_001 }),
      'maxConnectionRate is 1000001: expected a whole number from 0 to 1000000',
    ],
    [
      () => plane.configure({ ...settings, maxConnectionsPerClient: -1 }),
      'maxConnectionsPerClient is -1: expected a whole number from 0 to 1000000',
    ],
    [
      () => plane.configure({ ...settings, descriptors: { clients: 0, all: 1 } }),
      'descriptors.clients is 0: expected a whole number from 1 to 2147483647',
    ],
    [
      () => plane.configure({ ...settings, descriptors: { clients: 1, all: 2 ** 31 } }),
      'descriptors.all is 2147483648: expected a whole number from 1 to 2147483647',
    ],
    [() => openDataPlane({ ...settings, workers: 65 }), 'workers is 65: expected a whole number from 1 to 64'],
  ];
  for (const [work, expected] of rows) assert.is(refusal(work), `DATAPLANE_ARGUMENT: ${expected}`);
});

test('clients may be had to wait for longer than by any configuration', ({ plane }) => {
  assert.is(
    refusal(() => {
      plane.configure({ ...settings, holdTimeoutMs: MAX_HOLD_MS });
    }),
    'accepted',
  );
});

test('a descriptor that cannot be accepted from is refused by name', ({ plane }) => {
  assert.match(
    refusal(() => {
      plane.adoptListener(2_000_000);
    }),
    /^LISTEN_FAILED: cannot accept clients on descriptor 2000000: not a socket/,
  );
});

test('binding a taken port throws as Node would', async ({ plane }) => {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  const address = taken.address();
  assert.ok(typeof address === 'object' && address !== null);
  try {
    plane.bindListener('127.0.0.1', address.port);
    assert.unreachable('bound a taken port');
  } catch (error) {
    assert.is(error instanceof Error && 'code' in error && error.code, 'EADDRINUSE');
  } finally {
    taken.close();
  }
});

test('a port is let go', async ({ plane }) => {
  const port = plane.bindListener('127.0.0.1', 0);
  plane.releaseListener(port);
  const next = createServer().listen(port, '127.0.0.1');
  await once(next, 'listening');
  next.close();
});

test('routes of both families, with a scope, and none are taken', ({ plane }) => {
  plane.setRoute(route);
  plane.setRoute({ ...route, epoch: 2, address: '::1' }, { belowEpoch: 2, reason: 'superseded' });
  plane.setRoute({ ...route, epoch: 3, address: 'fe80::1%lo' });
  plane.setRoute(null, { belowEpoch: 4, reason: 'demoted' });
});

test('the numbers have their promised shape, also after the end', ({ plane }) => {
  const check = (): void => {
    const stats = plane.stats();
    assert.equal(Object.keys(stats.rejected), [...REJECT_REASONS]);
    assert.equal(Object.keys(stats.cut), [...CUT_REASONS]);
    assert.equal(Object.keys(stats.ended), [...END_REASONS]);
    assert.is(stats.accepted, 0n);
    assert.is(stats.active, 0);
    assert.is(stats.workers.length, 2);
  };
  check();
  assert.ok(plane.close(5000));
  check();
});

test('a refused backend is counted and reported once', async () => {
  const gone = createServer().listen(0, '127.0.0.1');
  await once(gone, 'listening');
  const address = gone.address();
  assert.ok(typeof address === 'object' && address !== null);
  gone.close();
  await once(gone, 'close');

  let tell: (error: string) => void = () => undefined;
  const told = new Promise<string>((resolve) => {
    tell = resolve;
  });
  const plane = openDataPlane({
    ...settings,
    workers: 1,
  });
  plane.onBackendFailure = (failure) => {
    tell(`${failure.epoch.toString()} ${failure.server.toString()} ${failure.error} ${String(failure.relayed)}`);
  };
  try {
    const port = plane.bindListener('127.0.0.1', 0);
    plane.setRoute({ epoch: 7, server: 3, address: '127.0.0.1', port: address.port });
    plane.startAccepting();
    const client = connect(port, '127.0.0.1');
    await once(client, 'connect');
    assert.is(await told, '7 3 Connection refused false');
    const server = plane.stats().servers.find((entry) => entry.server === 3);
    assert.ok(server);
    assert.equal(Object.keys(server.connectFailures), [...CONNECT_FAILURE_REASONS]);
    assert.is(server.connectFailures.refused, 1n);
    assert.is(server.connectSeconds.buckets.length, CONNECT_BUCKETS_SECONDS.length + 1);
    client.destroy();
  } finally {
    assert.ok(plane.close(5000));
  }
});

test('sessions are told and ended by their ids', async ({ plane }) => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  const port = plane.bindListener('127.0.0.1', 0);
  plane.setRoute({ epoch: 1, server: 5, address: '127.0.0.1', port: address.port });
  plane.startAccepting();
  const client = connect(port, '127.0.0.1');
  const [backend] = (await once(server, 'connection')) as [Socket];
  const { sessions, matching } = await plane.inquiries.list({ port: backend.remotePort ?? 0, limit: 10 });
  assert.is(matching, 1);
  const [session] = sessions;
  assert.ok(session);
  assert.equal(
    { ...session, id: 0, ageSeconds: 0, idleSeconds: 0, worker: 0, state: '' },
    {
      id: 0,
      state: '',
      clientAddress: '127.0.0.1',
      clientPort: client.localPort,
      server: 5,
      sourcePort: backend.remotePort,
      worker: 0,
      ageSeconds: 0,
      idleSeconds: 0,
      bytesClientToBackend: 0,
      bytesBackendToClient: 0,
    },
  );
  assert.ok(session.ageSeconds > 0 && session.ageSeconds < 60, String(session.ageSeconds));
  assert.is((await plane.inquiries.list({ client: 'unix', limit: 10 })).matching, 0);
  assert.is((await plane.inquiries.list({ client: '::1', limit: 10 })).matching, 0);
  const ended = once(client.resume(), 'close');
  assert.equal(await plane.inquiries.kill([session.id + 1, session.id]), [session.id]);
  await ended;
  assert.is(plane.stats().cut.killed, 1n);
  backend.destroy();
  server.close();
});

test.run();
