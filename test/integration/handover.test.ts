// SPDX-License-Identifier: MIT
// Sockets that a service manager hands over: which are refused, and that clients in their queues are neither lost by
// a restart of the gateway nor turned away by its start.

import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { silentServer } from '../helpers/fake-servers.js';
import { Gateway } from '../helpers/gateway.js';
import { httpGet } from '../helpers/metrics-text.js';
import { PgSession } from '../helpers/pg-session.js';
import { hasIpv6 } from '../helpers/postgres-install.js';
import { PostgresServer } from '../helpers/postgres.js';
import { query } from '../helpers/psql.js';
import { ServiceManager } from '../helpers/service-manager.js';
import type { SocketSpecification } from '../helpers/service-manager.js';
import { assert, suite } from '../helpers/suite.js';
import { observeFor, within } from '../helpers/wait.js';

const WHERE = 'SELECT inet_server_port()';
/** How long a candidate that never answers keeps the first round from ending. */
const FIRST_ROUND_MS = 1000;

const test = suite('handover');
let server: PostgresServer;

async function withManager(
  sockets: readonly SocketSpecification[],
  use: (manager: ServiceManager) => Promise<void>,
): Promise<void> {
  const manager = await ServiceManager.start(sockets);
  try {
    await use(manager);
  } finally {
    await manager.close();
  }
}

test.before(async () => {
  server = await PostgresServer.create();
});

test.after(async () => {
  await server.close();
});

test('the sockets outlive the gateway, and the next one serves who came in between', async () => {
  const ipv6 = await hasIpv6();
  const sockets: SocketSpecification[] = [
    ['primary', 'tcp4'],
    ['metrics', 'tcp4'],
    ['pg-gateway.socket', 'unix'],
    ['pg-gateway-metrics.socket', 'tcp4'],
    ...(ipv6 ? [['primary', 'tcp6'] as const] : []),
  ];
  await withManager(sockets, async (manager) => {
    const forClients = manager.sockets.filter(({ name }) => !name.includes('metrics'));
    const forMetrics = manager.sockets.filter(({ name }) => name.includes('metrics'));
    assert.is(forClients.length, ipv6 ? 3 : 2);
    const options = { candidates: [server.candidate], launcher: manager.launcher };

    const first = await Gateway.start(options);
    try {
      for (const address of forClients) assert.is(await query(address, WHERE), String(server.port), address.host);
      for (const address of forMetrics) assert.is((await httpGet(address, '/readyz')).status, 200);
      assert.is((await first.stop()).status, 0);
    } finally {
      await first.close();
    }

    for (const { host, port } of forClients.filter(({ host }) => host.startsWith('/'))) {
      assert.ok(existsSync(join(host, `.s.PGSQL.${port}`)), 'the path of the UNIX socket is still there');
    }
    // Nobody accepts now: these wait in the queues of the kernel.
    const queued = forClients.map((address) => query(address, WHERE));
    const scrapes = forMetrics.map((address) => httpGet(address, '/healthz'));
    const waiting = await Promise.race([...queued, ...scrapes, pauseForClients()]);
    assert.is(waiting, 'waiting');

    const second = await Gateway.start(options);
    try {
      for (const answer of await Promise.all(queued)) assert.is(answer, String(server.port));
      for (const { status } of await Promise.all(scrapes)) assert.is(status, 200);
    } finally {
      await second.close();
    }
  });
});

/** Long enough for a client that would be refused to be refused. */
async function pauseForClients(): Promise<string> {
  await observeFor(300);
  return 'waiting';
}

function isReady(gateway: Gateway): boolean {
  return gateway.lines.some(({ message }) => message === 'ready');
}

/** Gives a gateway that listens, and whose first probe round is held up by a candidate that never answers. */
async function withStarting(
  launcher: readonly string[] | undefined,
  use: (gateway: Gateway) => Promise<void>,
): Promise<void> {
  const silent = await silentServer();
  try {
    const gateway = await Gateway.start({
      candidates: [server.candidate, silent.candidate],
      env: { CONNECT_TIMEOUT_MS: String(FIRST_ROUND_MS) },
      waitForReady: false,
      ...(launcher === undefined ? {} : { launcher }),
    });
    try {
      await gateway.logged('serving metrics');
      await use(gateway);
    } finally {
      await gateway.close();
    }
  } finally {
    await silent.close();
  }
}

/** The sessions are opened, but not before the first round has ended; nobody is rejected. */
async function expectServed(gateway: Gateway, opening: readonly Promise<PgSession>[]): Promise<void> {
  assert.not(isReady(gateway));
  const opened = await Promise.all(
    opening.map(async (one) => ({ session: await one, at: performance.timeOrigin + performance.now() })),
  );
  // What it says of the silent candidate; then it accepts, and then it is ready.
  const { at: ended } = await gateway.logged('candidate does not answer', { reason: 'connect_timeout' });
  await gateway.logged('ready');
  for (const { session, at } of opened) {
    assert.ok(at >= ended, `served ${ended - at} ms before the end of the round`);
    assert.equal(await session.query(WHERE), [String(server.port)]);
    session.close();
  }
  assert.is((await gateway.samples()).get('pg_gateway_clients_rejected_total'), 0);
}

test('a client that comes before the first probe round has ended is served: a socket handed over', async () => {
  await withManager([['primary', 'tcp4']], async (manager) => {
    const [address] = manager.sockets;
    assert.ok(address);
    const beforeStart = PgSession.open(address);
    // It is waited for below; until then its failure is no unhandled one.
    beforeStart.catch(() => undefined);
    await withStarting(manager.launcher, async (gateway) => {
      await expectServed(gateway, [beforeStart, PgSession.open(address)]);
    });
  });
});

test('a client that comes before the first probe round has ended is served: a socket of its own', async () => {
  await withStarting(undefined, async (gateway) => {
    await expectServed(gateway, [PgSession.open(gateway.clients)]);
  });
});

const REFUSED: readonly {
  readonly what: string;
  readonly sockets: readonly SocketSpecification[];
  readonly code: string;
  readonly says: RegExp;
}[] = [
  {
    what: 'an unknown name',
    sockets: [
      ['primary', 'tcp4'],
      ['web', 'tcp4'],
    ],
    code: 'LISTEN_FDS_INVALID',
    says: /descriptor 4 is named "web": one of pg-gateway\.socket, primary, metrics, pg-gateway-metrics\.socket, control, pg-gateway-control\.socket expected/,
  },
  {
    what: 'a file for clients',
    sockets: [['primary', 'file']],
    code: 'LISTEN_FDS_INVALID',
    says: /descriptor 3 \(primary\) was announced as a socket but is not one/,
  },
  {
    what: 'a file for metrics',
    sockets: [
      ['primary', 'tcp4'],
      ['metrics', 'file'],
    ],
    code: 'LISTEN_FDS_INVALID',
    says: /descriptor 4 \(metrics\) was announced as a socket but is not one/,
  },
  {
    what: 'a socket for clients that does not listen',
    sockets: [['pg-gateway.socket', 'unlistened']],
    code: 'LISTEN_FAILED',
    says: /descriptor 3.*listen/,
  },
];
for (const { what, sockets, code, says } of REFUSED) {
  test(`refused with status 69 and one line that says why: ${what}`, async () => {
    await withManager(sockets, async (manager) => {
      const gateway = await Gateway.start({
        candidates: [server.candidate],
        launcher: manager.launcher,
        waitForReady: false,
      });
      try {
        assert.is((await within(30_000, 'the end of the gateway', gateway.ended)).status, 69);
        const errors = gateway.lines.filter(({ level }) => level === 'err');
        assert.is(errors.length, 1, gateway.log);
        assert.is(errors[0]?.fields.get('code'), code);
        assert.match(errors[0]?.message ?? '', says);
      } finally {
        await gateway.close();
      }
    });
  });
}

test.run();
