// SPDX-License-Identifier: MIT
// What the installed service remembers of its cluster, as a user that exists only
// while it runs: over a stop, over an upgrade, until it is told to forget.

import { assert, suite } from '../helpers/suite.js';
import { eventually } from '../helpers/wait.js';
import { Cluster } from './cluster.js';
import { bootWithGateway, install, mainPid, NEWER_PACKAGE_VARIABLE, restarted } from './gateway-package.js';
import { samples, SERVICE, SOCKET } from './gateway-package.js';
import type { Machine } from './machine.js';

const WHERE = 'SELECT inet_server_port()';
const STATE = '/var/lib/private/pg-gateway';
const FILE = '/var/lib/pg-gateway/cluster.json';

const test = suite('memory');

let machine: Machine;
let cluster: Cluster;

test.before(async () => {
  ({ machine, cluster } = await bootWithGateway());
});

test.after(() => machine.close());

/** No client is served, because the one server that is up is fenced. */
async function assertFenced(): Promise<void> {
  const { status, stderr } = await cluster.tryQuery('SELECT 1');
  assert.is(status, 2);
  assert.match(stderr, 'no PostgreSQL primary is available');
  assert.is((await samples(machine)).get('pg_gateway_servers_fenced', { reason: 'stale-timeline' }), 1);
}

test('what is remembered is in a file that belongs to the user of the service', async () => {
  assert.is(await cluster.query(WHERE), String(Cluster.primary));
  assert.match(await machine.succeed(['cat', FILE]), /"timeline": 1,/);
  const user = await machine.succeed(['stat', '--format=%u', `/proc/${await mainPid(machine)}`]);
  assert.is(await machine.succeed(['stat', '--format=%u', `${STATE}/cluster.json`]), user);
  assert.is.not(user.trim(), '0');
  assert.is((await machine.succeed(['stat', '--format=%a', STATE])).trim(), '700');
});

test('an old primary, alone after a stop, is not routed to', async () => {
  await cluster.failOver();
  await eventually('the gateway to follow', async () => (await cluster.query(WHERE)) === String(Cluster.standby));
  await machine.systemctl('stop', SOCKET);
  assert.is(await machine.property(SERVICE, 'ActiveState'), 'inactive');
  assert.match(await machine.succeed(['cat', FILE]), /"timeline": 2,/);

  await machine.shell(`
    version=$(ls /usr/lib/postgresql)
    pg_ctlcluster "$version" standby stop -m fast
    pg_ctlcluster "$version" primary start`);
  assert.is(await cluster.query('SELECT pg_is_in_recovery()', Cluster.primary), 'f');
  const mark = await machine.mark();
  await machine.systemctl('start', SOCKET);
  await assertFenced();
  await machine.logged(/server fenced: it gets no traffic server=127\.0\.0\.1:5433 reason=stale-timeline/, {
    unit: SERVICE,
    after: mark,
  });
  assert.match(await machine.property(SERVICE, 'StatusText'), /^No primary/);
  assert.equal(await machine.journal({ unit: SERVICE, priority: 'err' }), [], 'no error');
});

test('nor after an upgrade', async () => {
  const before = await mainPid(machine);
  await install(machine, NEWER_PACKAGE_VARIABLE);
  await restarted(machine, before);
  await assertFenced();
});

test('the cluster is not forgotten while the service runs, and is when it is stopped', async () => {
  const running = await machine.run(['pg-gateway', '--forget-cluster']);
  assert.is(running.status, 69, running.stderr);
  assert.match(running.stderr, `process ${await mainPid(machine)}`);
  await assertFenced();

  await machine.systemctl('stop', SOCKET);
  const forgotten = await machine.succeed(['pg-gateway', '--forget-cluster']);
  assert.match(forgotten, /^\/var\/lib\/pg-gateway\/cluster\.json: forgot the cluster \d+ on timeline 2\n$/);
  await machine.systemctl('start', SOCKET);
  assert.is(await cluster.query(WHERE), String(Cluster.primary));
  assert.match(await machine.succeed(['cat', FILE]), /"timeline": 1,/);
});

test('a damaged file keeps the service down until it is forgotten', async () => {
  await machine.systemctl('stop', SOCKET);
  await machine.shell(`sed -i 's/"timeline": 1/"timeline": 7/' ${STATE}/cluster.json`);
  const mark = await machine.mark();
  assert.is.not((await machine.run(['systemctl', 'start', SERVICE])).status, 0);
  await machine.logged(/cluster\.json: it is damaged.*--forget-cluster.*code=STATE_INVALID/, {
    unit: SERVICE,
    after: mark,
  });
  assert.is(await machine.property(SERVICE, 'ExecMainStatus'), '78');
  await machine.systemctl('stop', SOCKET);
  assert.match(await machine.succeed(['pg-gateway', '--forget-cluster']), /: forgot /);
  await machine.systemctl('start', SOCKET);
  assert.is(await cluster.query(WHERE), String(Cluster.primary));
});

test('systemctl clean forgets as well', async () => {
  // It cleans nothing of a unit that has a job left; this waits for the service's own.
  await machine.systemctl('stop', SOCKET, SERVICE);
  await machine.systemctl('clean', '--what=state', SERVICE);
  assert.is.not((await machine.run(['test', '-e', STATE])).status, 0);
  await machine.systemctl('start', SOCKET);
  assert.is(await cluster.query(WHERE), String(Cluster.primary));
  assert.match(await machine.succeed(['cat', FILE]), /"timeline": 1,/);
});

test.run();
