// SPDX-License-Identifier: MIT
// pg-gatewayctl as the package installs it: who may use it, also for an instance, and over
// a restart.

import { assert, suite } from '../helpers/suite.js';
import { eventually } from '../helpers/wait.js';
import type { Cluster } from './cluster.js';
import { bootWithGateway, CONTROL_SOCKET, mainPid, restarted, SERVICE, SOCKET } from './gateway-package.js';
import type { Machine } from './machine.js';

const PATH = '/run/pg-gatewayctl/pg-gateway.sock';
/** Ages are told in whole milliseconds. */
const ROUNDED_MS = 1;

const test = suite('control');

let machine: Machine;
let cluster: Cluster;

test.before(async () => {
  ({ machine, cluster } = await bootWithGateway());
  await machine.succeed(['useradd', 'admin']);
  await machine.succeed(['usermod', '-a', '-G', 'pg-gateway-admin', 'admin']);
  await machine.succeed(['useradd', 'other']);
});

test.after(() => machine.close());

async function statusAs(user: string): Promise<number | null> {
  return (await machine.run(['runuser', '-u', user, '--', 'pg-gatewayctl', 'status'])).status;
}

test('the socket is there with the others, for root and its group', async () => {
  assert.is(await machine.property(CONTROL_SOCKET, 'ActiveState'), 'active');
  assert.is((await machine.succeed(['stat', '-c', '%U %G %a', PATH])).trim(), 'root pg-gateway-admin 660');
  assert.is(await cluster.query('SELECT 1'), '1');
  await eventually('both servers to be seen', async () => (await statusAs('root')) === 0);
  assert.is(await statusAs('admin'), 0);
  const { status, stderr } = await machine.run(['runuser', '-u', 'other', '--', 'pg-gatewayctl', 'status']);
  assert.is(status, 3);
  assert.match(stderr, /permission denied: be root, or in the group of the socket \(pg-gateway-admin\)/u);
});

/** The only session there is, and when it was told: performance.now() before and after. */
async function onlySession(): Promise<{ id: number; ageSeconds: number; asked: number; told: number } | undefined> {
  const asked = performance.now();
  const listing = await machine.succeed(['pg-gatewayctl', 'sessions', '--json']);
  const told = performance.now();
  const { sessions } = JSON.parse(listing) as { sessions: { id: number; age_seconds: number }[] };
  const [session] = sessions;
  if (sessions.length !== 1 || session === undefined) return undefined;
  return { id: session.id, ageSeconds: session.age_seconds, asked, told };
}

test('a session is the same one after a restart, with its age, and its end is in the journal', async () => {
  const pid = await mainPid(machine);
  const psql = `psql -XAtq -h 127.0.0.1 -U postgres -c 'SELECT pg_sleep(60)' >/tmp/psql 2>&1 & echo started`;
  await machine.shell(psql);
  const before = await eventually('the session', onlySession);
  await machine.systemctl('restart', SERVICE);
  await restarted(machine, pid);
  const after = await onlySession();
  assert.ok(after, 'it is the only one');
  assert.is(after.id, before.id);
  const older = (after.ageSeconds - before.ageSeconds) * 1000;
  const told = `${before.ageSeconds} s before, ${after.ageSeconds} s after`;
  assert.ok(older >= after.asked - before.told - ROUNDED_MS, told);
  assert.ok(older <= after.told - before.asked + ROUNDED_MS, told);
  assert.is(await machine.property(CONTROL_SOCKET, 'ActiveState'), 'active');
  const mark = await machine.mark();
  await machine.succeed(['pg-gatewayctl', 'kill', String(before.id)]);
  await machine.logged(new RegExp(`^administrator: sessions were ended killed=${before.id} `, 'u'), { after: mark });
});

test('without its socket the gateway is as it was', async () => {
  await machine.systemctl('stop', CONTROL_SOCKET);
  await machine.systemctl('mask', CONTROL_SOCKET);
  await machine.systemctl('restart', SERVICE);
  assert.is(await cluster.query('SELECT 1'), '1');
  assert.is(await statusAs('root'), 3);
  await machine.systemctl('unmask', CONTROL_SOCKET);
});

test('a planned stop: sessions are waited for, nobody new comes, and then nothing is left', async () => {
  // With the control socket again, which does not come back under a service that runs.
  await machine.systemctl('restart', SOCKET);
  await machine.shell(`psql -XAtq -h 127.0.0.1 -U postgres -c 'SELECT pg_sleep(5), 42' >/tmp/last 2>&1 & echo started`);
  await eventually('the session', onlySession);
  await machine.shell(`pg-gatewayctl drain --stay --timeout 60 && systemctl stop ${SOCKET}`);
  assert.match(await machine.succeed(['cat', '/tmp/last']), /42$/mu);
  for (const unit of [SOCKET, CONTROL_SOCKET, SERVICE]) {
    assert.is(await machine.property(unit, 'ActiveState'), 'inactive', unit);
  }
  await machine.systemctl('start', SOCKET);
  assert.is(await cluster.query('SELECT 1'), '1');
});

test('it goes with the socket of the clients', async () => {
  await machine.systemctl('restart', SOCKET);
  assert.is(await machine.property(CONTROL_SOCKET, 'ActiveState'), 'active');
  await machine.systemctl('stop', SOCKET);
  assert.is(await machine.property(CONTROL_SOCKET, 'ActiveState'), 'inactive');
  assert.is.not((await machine.run(['test', '-e', PATH])).status, 0);
});

test.run();
