// SPDX-License-Identifier: MIT
// Whatever becomes of the process: no client is refused, and the service comes back.

import { assert, note, suite } from '../helpers/suite.js';
import { eventually } from '../helpers/wait.js';
import { ConnectLoad, LOAD_CLIENTS } from './connect-load.js';
import type { Cluster } from './cluster.js';
import { bootWithGateway, install, mainPid, NEWER_PACKAGE_VARIABLE, restarted, SERVICE } from './gateway-package.js';
import { SOCKET } from './gateway-package.js';
import type { Machine } from './machine.js';

const RESTARTS = 10;

const test = suite('restart');

let machine: Machine;
let cluster: Cluster;

test.before(async () => {
  ({ machine, cluster } = await bootWithGateway());
});

test.after(() => machine.close());

/**
 * Connections go on all the time while `action` goes on; none is refused, and none is lost but `mayCut`: a process that
 * is killed between accepting a client and parking it takes that one along.
 */
async function underLoad(what: string, action: () => Promise<void>, mayCut = 0): Promise<void> {
  const load = await ConnectLoad.start(machine);
  await action();
  const outcome = await load.stop();
  note(`${what}: ${outcome.ok} connections, ${outcome.refused} refused, ${outcome.cut} cut`);
  assert.is(outcome.refused, 0, JSON.stringify(outcome));
  assert.is(outcome.rejected, 0, JSON.stringify(outcome));
  assert.ok(outcome.cut <= mayCut, JSON.stringify(outcome));
  // The first and the last of each client, at least.
  assert.ok(outcome.ok >= 2 * LOAD_CLIENTS, JSON.stringify(outcome));
}

async function socketIdentity(): Promise<string> {
  return machine.shell("ss -Hltne 'sport = :5432' | grep -o 'ino:[0-9]*'");
}

test(`no connection is refused over ${RESTARTS} restarts`, async () => {
  const socket = await socketIdentity();
  await underLoad(`${RESTARTS} restarts`, async () => {
    for (let i = 0; i < RESTARTS; i += 1) await machine.systemctl('restart', SERVICE);
  });
  assert.is(await socketIdentity(), socket, 'the listening socket is the same');
});

test('no connection is refused by an upgrade', async () => {
  const before = await mainPid(machine);
  const socket = await socketIdentity();
  await underLoad('upgrade', () => install(machine, NEWER_PACKAGE_VARIABLE));
  assert.match(await machine.succeed(['dpkg-query', '-W', 'pg-gateway']), /\+1$/m);
  assert.is.not(await restarted(machine, before), before, 'the new version runs');
  assert.is(await socketIdentity(), socket, 'the listening socket is the same');
  assert.is(await machine.property(SOCKET, 'ActiveState'), 'active');
});

for (const signal of ['SEGV', 'KILL', 'ABRT']) {
  test(`after a crash by SIG${signal} it is back at once, and no connection is refused`, async () => {
    const mark = await machine.mark();
    const crash = async (): Promise<void> => {
      const before = await mainPid(machine);
      const start = performance.now();
      await machine.succeed(['kill', `-${signal}`, String(before)]);
      await restarted(machine, before);
      assert.ok(performance.now() - start < 10_000, 'in less than ten seconds');
    };
    await underLoad(`SIG${signal}`, crash, 1);
    await machine.logged(new RegExp(`Main process exited.*status=\\d+/${signal}`), { unit: SERVICE, after: mark });
  });
}

test('a crash at each start keeps a pace, has no end, and does not close the socket', async () => {
  assert.is(await machine.property(SERVICE, 'StartLimitIntervalUSec'), '0');
  const dropIn = '/etc/systemd/system/pg-gateway.service.d/crash.conf';
  await machine.write(dropIn, `[Service]\nExecStart=\nExecStart=/bin/sh -c 'kill -SEGV $$$$'\n`);
  await machine.systemctl('daemon-reload');
  const begun = performance.now();
  await machine.systemctl('restart', '--no-block', SERVICE);
  // systemd's own limit would be five.
  await eventually('thirteen restarts', async () => Number(await machine.property(SERVICE, 'NRestarts')) >= 13, {
    deadlineMs: 60_000,
  });
  assert.ok(performance.now() - begun > 5000, 'two seconds before each but the first ten');
  assert.is(await machine.property(SOCKET, 'ActiveState'), 'active');
  await machine.succeed(['rm', dropIn]);
  await machine.systemctl('daemon-reload');
  await machine.systemctl('restart', SERVICE);
  assert.is(await cluster.query('SELECT 1'), '1');
  assert.is.not((await machine.run(['test', '-e', '/run/pg-gateway.crashes'])).status, 0, 'nothing is held against it');
});

test('systemd itself may be reloaded and executed anew', async () => {
  const pid = await mainPid(machine);
  await underLoad('daemon-reload, daemon-reexec', async () => {
    await machine.systemctl('daemon-reload');
    await machine.systemctl('daemon-reexec');
  });
  assert.is(await mainPid(machine), pid);
});

test.run();
