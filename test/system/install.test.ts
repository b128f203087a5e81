// SPDX-License-Identifier: MIT
// The package comes, does nothing by itself, and goes as dpkg's rules say.

import { assert, suite } from '../helpers/suite.js';
import { Cluster } from './cluster.js';
import { CONFIG_FILE, configure, CONTROL_SOCKET, install, METRICS_SOCKET, samples } from './gateway-package.js';
import { SERVICE, SOCKET } from './gateway-package.js';
import { Machine } from './machine.js';

const UNITS = [SERVICE, SOCKET, METRICS_SOCKET, CONTROL_SOCKET];
const STATE = '/var/lib/private/pg-gateway';

const test = suite('install');

let machine: Machine;

test.before(async () => {
  machine = await Machine.boot();
  await install(machine);
});

test.after(() => machine.close());

async function failedUnits(): Promise<string> {
  return machine.systemctl('list-units', '--failed', '--no-legend', '--plain');
}

async function exists(path: string): Promise<boolean> {
  return (await machine.run(['test', '-e', path])).status === 0;
}

test('a fresh installation starts nothing, enables nothing, breaks nothing', async () => {
  for (const unit of UNITS) {
    assert.is(await machine.property(unit, 'ActiveState'), 'inactive', unit);
    assert.is((await machine.run(['systemctl', 'is-enabled', unit])).stdout.trim(), 'disabled', unit);
  }
  assert.is(await failedUnits(), '');
  assert.is(await machine.succeed(['ss', '-Hltn', 'sport = :5432 or sport = :9090']), '');
});

test('systemd finds no fault in the units', async () => {
  const instances = ['pg-gateway@one.service', 'pg-gateway@one.socket', 'pg-gateway-control@one.socket'];
  const { status, stdout, stderr } = await machine.run([
    'systemd-analyze',
    'verify',
    '--man=no',
    ...UNITS,
    ...instances,
  ]);
  // It reads every unit that they need, and may complain about those of others.
  const complaints = (stdout + stderr).split('\n').filter((line) => line.includes('pg-gateway'));
  assert.equal([status, complaints], [0, []]);
});

test('without candidates the socket does not start, and one line says what to do', async () => {
  const mark = await machine.mark();
  assert.is.not((await machine.run(['systemctl', 'enable', '--now', SOCKET])).status, 0);
  const lines = await machine.journal({ unit: SOCKET, after: mark });
  const own = lines.filter(({ pid }) => pid !== 1).map(({ message }) => message);
  assert.is(own.length, 1, own.join('\n'));
  assert.match(own[0] ?? '', /candidates/i);
  assert.match(own[0] ?? '', /\/etc\/pg-gateway\/pg-gateway\.toml|CANDIDATES/);
  assert.is(await machine.succeed(['ss', '-Hltn', 'sport = :5432 or sport = :9090']), '', 'no port is open');
  assert.is((await machine.run(['systemctl', 'is-failed', SOCKET])).stdout.trim(), 'failed');
});

test('without candidates the service fails once and stays down', async () => {
  const mark = await machine.mark();
  assert.is.not((await machine.run(['systemctl', 'start', SERVICE])).status, 0);
  // Three times the longest pause before a restart.
  await machine.succeed(['sleep', '6']);
  assert.is(await machine.property(SERVICE, 'NRestarts'), '0');
  assert.is.not(await machine.property(SERVICE, 'ActiveState'), 'activating');
  const own = (await machine.journal({ unit: SERVICE, after: mark })).filter(({ pid }) => pid !== 1);
  assert.is(own.length, 1, own.map(({ message }) => message).join('\n'));
  assert.match(own[0]?.message ?? '', /candidates/i);
});

test('what root has in its home says nothing about the service', async () => {
  await configure(machine, 'sslmode = "verify-full"\n');
  await machine.write('/root/.postgresql/root.crt', '');
  assert.is.not((await machine.run(['systemctl', 'start', SOCKET])).status, 0, 'the service has no root certificate');
});

test('configured later, it works without more', async () => {
  const cluster = await Cluster.create(machine);
  await configure(machine);
  // Without its key it would be an error, if it counted.
  await machine.write('/root/.postgresql/postgresql.crt', '');
  await machine.systemctl('reset-failed');
  await machine.systemctl('enable', '--now', SOCKET);
  assert.is(await cluster.query('SELECT inet_server_port()'), String(Cluster.primary));
  assert.is((await samples(machine)).get('pg_gateway_has_primary'), 1);
});

test('removing keeps configuration and state, and closes the sockets', async () => {
  assert.ok(await exists(STATE));
  await machine.succeed(['apt-get', 'remove', '-y', 'pg-gateway']);
  assert.ok(await exists(STATE), 'state');
  assert.ok(await exists(CONFIG_FILE), 'configuration');
  assert.not.ok(await exists('/usr/bin/pg-gateway'), 'program');
  assert.is(await machine.succeed(['ss', '-Hltn', 'sport = :5432 or sport = :9090']), '');
  assert.is(await failedUnits(), '');
});

test('installed again, it is what it was', async () => {
  await install(machine);
  await machine.systemctl('start', SOCKET);
  assert.match(await machine.succeed(['psql', '-XAtc', 'SELECT 1', '-h', '127.0.0.1', '-U', 'postgres']), /^1$/m);
  await machine.succeed(['apt-get', 'remove', '-y', 'pg-gateway']);
});

test('purging leaves nothing', async () => {
  const wants = '/etc/systemd/system/sockets.target.wants';
  await machine.write('/etc/default/pg-gateway-sales', 'PGPASSWORD=secret\n', '600');
  await machine.succeed(['install', '-d', wants]);
  for (const kind of ['pg-gateway', 'pg-gateway-control']) {
    await machine.succeed(['ln', '-s', `/lib/systemd/system/${kind}@.socket`, `${wants}/${kind}@sales.socket`]);
  }
  await machine.succeed(['apt-get', 'purge', '-y', 'pg-gateway']);
  const left = await machine.succeed([
    ...['find', '/etc', '/usr', '/var/lib', '/run', '/opt', '-name', '*pg-gateway*'],
    ...['-not', '-path', '*pg-gateway-test*'],
  ]);
  assert.is(left, '');
  assert.is(await failedUnits(), '');
  for (const unit of UNITS) assert.is(await machine.property(unit, 'LoadState'), 'not-found', unit);
});

test.run();
