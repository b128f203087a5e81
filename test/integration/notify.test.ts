// SPDX-License-Identifier: MIT
// What the gateway tells its service manager, as sd_notify(3) has it: readiness, status, reloads, its end; and that
// the watchdog is told "alive" only while every thread that matters is.

import { silentServer } from '../helpers/fake-servers.js';
import { freezeIfPermitted, threadIds } from '../helpers/freeze-thread.js';
import { Gateway } from '../helpers/gateway.js';
import type { GatewayOptions } from '../helpers/gateway.js';
import { PgSession } from '../helpers/pg-session.js';
import { PostgresServer } from '../helpers/postgres.js';
import { ServiceManager } from '../helpers/service-manager.js';
import type { Notification } from '../helpers/service-manager.js';
import { assert, suite } from '../helpers/suite.js';
import { eventually, observeFor } from '../helpers/wait.js';

const WATCHDOG_MS = 600;
// Pings that were decided on before a thread stood still arrive within the first; then there must be none for longer
// than systemd waits for one.
const UNDER_WAY_MS = WATCHDOG_MS / 2;
const SILENCE_MS = 1.5 * WATCHDOG_MS;

const test = suite('notify');
let server: PostgresServer;

interface Service {
  readonly gateway: Gateway;
  readonly manager: ServiceManager;
}

async function withService(options: GatewayOptions, use: (service: Service) => Promise<void>): Promise<void> {
  const manager = await ServiceManager.start([]);
  try {
    const gateway = await Gateway.start({ candidates: [server.candidate], ...options, launcher: manager.launcher });
    try {
      await use({ gateway, manager });
    } finally {
      await gateway.close();
    }
  } finally {
    await manager.close();
  }
}

function says(key: string, value: string | RegExp): (notification: Notification) => boolean {
  return (notification) => {
    const found = notification.get(key);
    return typeof value === 'string' ? found === value : found !== undefined && value.test(found);
  };
}

/** The assignments of these keys, in the order they came. */
function sequence({ manager }: Service, keys: readonly string[]): string[] {
  return manager.notifications.flatMap((notification) =>
    keys.flatMap((key) => (notification.has(key) ? `${key}=${notification.get(key) ?? ''}` : [])),
  );
}

function pings({ notifications }: ServiceManager): number {
  return notifications.filter(says('WATCHDOG', '1')).length;
}

test.before(async () => {
  server = await PostgresServer.create();
});

test.after(async () => {
  await server.close();
});

test('READY=1 comes after the first probe round, whatever its result', async () => {
  const silent = await silentServer();
  const options = {
    candidates: [silent.candidate],
    env: { CONNECT_TIMEOUT_MS: '1500', QUERY_TIMEOUT_MS: '1000' },
    waitForReady: false,
  };
  try {
    await withService(options, async ({ gateway, manager }) => {
      await eventually('the first round to begin', () => silent.accepted > 0);
      const begun = performance.now();
      // TimeoutStartSec= of the unit is not for somebody who waits longer for a server.
      await manager.notified('how long it may take', says('EXTEND_TIMEOUT_USEC', '8500000'));
      assert.not(manager.notifications.some(says('READY', '1')));
      await manager.notified('READY=1', says('READY', '1'));
      assert.ok(performance.now() - begun > 1000, 'it has waited for the candidate');
      await manager.notified('the status', says('STATUS', /^No primary \(.+\); 0 sessions$/));
      assert.is((await gateway.http('/readyz')).status, 503);
    });
  } finally {
    await silent.close();
  }
});

test('STATUS= tells the primary and the number of sessions', async () => {
  await withService({}, async ({ gateway, manager }) => {
    const status = (count: string): RegExp => new RegExp(`^Primary is ${server.candidate} on timeline 1; ${count}$`);
    await manager.notified('no session', says('STATUS', status('0 sessions')));
    const sessions = await Promise.all([PgSession.open(gateway.clients), PgSession.open(gateway.clients)]);
    await manager.notified('two sessions', says('STATUS', status('2 sessions')));
    const from = manager.notifications.length;
    for (const session of sessions) session.close();
    await manager.notified('no session again', says('STATUS', status('0 sessions')), from);
  });
});

test('a stop that waits for sessions says so in STATUS= and on /readyz, and is well all the same', async () => {
  await withService({ env: { DRAIN_TIMEOUT_MS: '60000' } }, async ({ gateway, manager }) => {
    await manager.notified('READY=1', says('READY', '1'));
    const session = await PgSession.open(gateway.clients);
    gateway.kill('SIGTERM');
    await manager.notified('the drain', says('STATUS', /; 1 session; draining: no new clients are accepted$/));
    const ready = await gateway.http('/readyz');
    assert.is(ready.status, 503);
    assert.match(ready.body, /^draining: /);
    assert.is((await gateway.http('/healthz')).status, 200);
    assert.is((await gateway.samples()).get('pg_gateway_draining'), 1);
    session.close();
    assert.is((await gateway.ended).status, 0);
  });
});

test('a reload is bracketed by RELOADING=1 and READY=1, also one that is rejected; STOPPING=1 is the last word', async () => {
  const config = `candidates = ["${server.candidate}"]\n`;
  const manager = await ServiceManager.start([]);
  const gateway = await Gateway.start({ config, launcher: manager.launcher });
  const service = { gateway, manager };
  const keys = ['READY', 'RELOADING', 'STOPPING'];
  try {
    await manager.notified('READY=1', says('READY', '1'));
    assert.equal(sequence(service, keys), ['READY=1']);

    const reload = async (text: string): Promise<void> => {
      const before = process.hrtime.bigint() / 1000n;
      const from = manager.notifications.length;
      await gateway.configure(text);
      gateway.kill('SIGHUP');
      const reloading = await manager.notified('RELOADING=1', says('RELOADING', '1'), from);
      await manager.notified('READY=1', says('READY', '1'), from);
      // Type=notify-reload of systemd.service(5) wants to know that it is the answer to this signal.
      const at = BigInt(reloading.get('MONOTONIC_USEC') ?? 0);
      assert.ok(at >= before && at <= process.hrtime.bigint() / 1000n, 'CLOCK_MONOTONIC of the reload');
    };
    await reload(`${config}[log]\nlevel = "debug"\n`);
    await reload('candidates = 7\n');
    assert.equal(sequence(service, keys), ['READY=1', 'RELOADING=1', 'READY=1', 'RELOADING=1', 'READY=1']);

    assert.is((await gateway.stop()).status, 0);
    await manager.notified('STOPPING=1', says('STOPPING', '1'));
    assert.equal(sequence(service, keys).slice(5), ['STOPPING=1']);
  } finally {
    await gateway.close();
    await manager.close();
  }
});

/** Where the machine does not permit it, nothing is done. */
async function whileFrozen(thread: number, check: () => Promise<void>): Promise<void> {
  const frozen = await freezeIfPermitted(thread, 'that the watchdog sees a frozen thread');
  if (frozen === undefined) return;
  try {
    await check();
  } finally {
    await frozen.thaw();
  }
}

async function expectPings(manager: ServiceManager): Promise<void> {
  const before = pings(manager);
  await eventually('watchdog pings', () => pings(manager) >= before + 3, { deadlineMs: 10 * WATCHDOG_MS });
}

async function expectSilence(manager: ServiceManager): Promise<void> {
  await observeFor(UNDER_WAY_MS);
  const before = pings(manager);
  await observeFor(SILENCE_MS);
  assert.is(pings(manager), before);
}

const WATCHED = { env: { WATCHDOG_USEC: String(WATCHDOG_MS * 1000), NUM_THREADS: '3' } };

test('no watchdog ping while a worker stands still', async () => {
  await withService(WATCHED, async ({ gateway, manager }) => {
    await expectPings(manager);
    const workers = threadIds(gateway.pid, /^pg-gw-worker$/);
    assert.is(workers.length, 3);
    await whileFrozen(workers[1] ?? 0, async () => {
      await expectSilence(manager);
      assert.is((await gateway.http('/healthz')).status, 200, 'the control plane is well');
      await gateway.logged('no heartbeat from a worker, so systemd gets no watchdog ping');
    });
    await expectPings(manager);
  });
});

test('no watchdog ping while the control plane stands still, and sessions go on', async () => {
  await withService(WATCHED, async ({ gateway, manager }) => {
    const session = await PgSession.open(gateway.clients);
    await expectPings(manager);
    await whileFrozen(gateway.pid, async () => {
      await expectSilence(manager);
      assert.equal(await session.query('SELECT 1'), ['1'], 'the data plane needs no control plane');
      const late = await PgSession.open(gateway.clients);
      late.close();
    });
    await expectPings(manager);
    assert.equal(await session.query('SELECT 2'), ['2']);
    session.close();
  });
});

test('a manager that does not read holds nothing up, and hears in the end what it must', async () => {
  await withService(WATCHED, async ({ gateway, manager }) => {
    await expectPings(manager);
    await manager.deafen();
    const from = manager.notifications.length;
    // Several pings and states that cannot be sent, and one reload.
    const mark = gateway.mark;
    gateway.kill('SIGHUP');
    await gateway.logged('configuration reloaded', {}, undefined, mark);
    await observeFor(3 * WATCHDOG_MS);
    assert.is((await gateway.http('/readyz')).status, 200);
    (await PgSession.open(gateway.clients)).close();
    manager.hear();
    await manager.notified('RELOADING=1', says('RELOADING', '1'), from);
    await manager.notified('READY=1', says('READY', '1'), from);
    await expectPings(manager);
  });
});

test('without WATCHDOG_USEC there are no pings', async () => {
  await withService({}, async ({ gateway, manager }) => {
    await manager.notified('READY=1', says('READY', '1'));
    assert.is((await gateway.stop()).status, 0);
    await manager.notified('STOPPING=1', says('STOPPING', '1'));
    assert.is(pings(manager), 0);
  });
});

test.run();
