// SPDX-License-Identifier: MIT
// The life of the service on a healthy day: started by its first client, reloaded,
// failed over; what it is to systemd, and what it writes into the journal.

import { assert, suite } from '../helpers/suite.js';
import { eventually } from '../helpers/wait.js';
import { Cluster, PROBE_PASSWORD } from './cluster.js';
import { bootWithGateway, configure, httpBody, mainPid, METRICS_SOCKET, samples } from './gateway-package.js';
import { SERVICE, SOCKET } from './gateway-package.js';
import type { Machine } from './machine.js';

const test = suite('service');

/** Connections are made, and nothing is ever said. */
const SILENT_SERVER = `import socket, time
server = socket.create_server(('127.0.0.1', 6543))
time.sleep(600)`;

let machine: Machine;
let cluster: Cluster;

test.before(async () => {
  ({ machine, cluster } = await bootWithGateway());
});

test.after(() => machine.close());

test('enabling the socket opens the ports, and nothing runs yet', async () => {
  for (const unit of [SOCKET, METRICS_SOCKET]) assert.is(await machine.property(unit, 'SubState'), 'listening', unit);
  assert.is(await machine.property(SERVICE, 'ActiveState'), 'inactive');
  assert.is((await machine.run(['systemctl', 'is-enabled', SOCKET])).stdout.trim(), 'enabled');
});

test('the first client starts the service and is served', async () => {
  assert.is(await cluster.query('SELECT inet_server_port()'), String(Cluster.primary));
  // It serves before systemd has run what follows READY=1.
  await machine.becomes(SERVICE, 'active');
  assert.is(await machine.property(SERVICE, 'Type'), 'notify');
});

test('IPv6 clients are served too', async () => {
  const psql = ['psql', '-XAtc', 'SELECT 1', '-h', '::1', '-U', 'postgres'];
  assert.is((await machine.succeed(psql)).trim(), '1');
});

test('metrics and health come from the other socket', async () => {
  assert.is((await samples(machine)).get('pg_gateway_has_primary'), 1);
  assert.match(await httpBody(machine, '/healthz'), /./);
  assert.match(await httpBody(machine, '/readyz'), /./);
  assert.match(await machine.property(METRICS_SOCKET, 'Triggers'), /pg-gateway\.service/);
});

test('it runs as a user that no file of the system knows, without a capability', async () => {
  const pid = await mainPid(machine);
  assert.is(await machine.property(SERVICE, 'DynamicUser'), 'yes');
  assert.is.not((await machine.run(['grep', '-q', '^pg-gateway:', '/etc/passwd'])).status, 0);
  const status = await machine.succeed(['cat', `/proc/${pid}/status`]);
  const uid = Number(/^Uid:\s+(\d+)/m.exec(status)?.[1]);
  assert.ok(uid >= 61184 && uid <= 65519, `a dynamic user has an id of systemd's range, not ${uid}`);
  for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) {
    assert.match(status, new RegExp(`^${set}:\\s+0+$`, 'm'), set);
  }
  assert.match(status, /^NoNewPrivs:\s+1$/m);
  assert.match(status, /^Seccomp:\s+2$/m);
  assert.is((await machine.succeed(['stat', '-c', '%U %a', '/var/lib/private/pg-gateway'])).trim(), 'pg-gateway 700');
});

test('the state line tells the primary', async () => {
  await eventually('the status line', async () =>
    (await machine.property(SERVICE, 'StatusText')).includes(`127.0.0.1:${Cluster.primary}`),
  );
});

test('a reload returns when the new configuration is in force', async () => {
  const pid = await mainPid(machine);
  for (const servers of [1, 2, 1, 2]) {
    await configure(machine, '', Cluster.candidates.slice(0, servers));
    await machine.systemctl('reload', SERVICE);
    assert.is((await samples(machine)).get('pg_gateway_servers_total'), servers);
  }
  assert.is(await mainPid(machine), pid, 'it is the same process');
});

test('a reload of a faulty configuration fails, and the old one goes on', async () => {
  const pid = await mainPid(machine);
  const mark = await machine.mark();
  await configure(machine, '\n[log]\nlevel = "loud"\n');
  const { status } = await machine.run(['systemctl', 'reload', SERVICE]);
  await configure(machine);
  assert.is.not(status, 0);
  const reason = await machine.logged(/log\.level = "loud"/, { unit: SERVICE, after: mark });
  assert.is(reason.priority, 'err');
  assert.is(await machine.property(SERVICE, 'ActiveState'), 'active');
  assert.is(await mainPid(machine), pid);
  assert.is(await cluster.query('SELECT 1'), '1');
  await machine.systemctl('reload', SERVICE);
});

test('a restart with a faulty configuration ends no session, and says what is wrong until it is mended', async () => {
  const before = await mainPid(machine);
  await machine.shell(
    `psql -XAtq -h 127.0.0.1 -U postgres -c 'SELECT pg_sleep(20), 42' >/tmp/slept 2>&1 & echo started`,
  );
  await eventually('the session', async () => (await samples(machine)).get('pg_gateway_connections_active') === 1);
  const mark = await machine.mark();
  await configure(machine, '\n[log]\nlevel = "loud"\n');
  await machine.systemctl('restart', SERVICE);
  assert.is.not(await mainPid(machine), before);
  await machine.logged(/log\.level = "loud"/, { unit: SERVICE, after: mark });
  assert.is(await cluster.query('SELECT 1'), '1');
  const status = await machine.run(['pg-gatewayctl', 'status']);
  assert.is(status.status, 1);
  assert.match(status.stdout, 'the configuration was rejected, an earlier one goes on');
  await eventually('the status line', async () =>
    (await machine.property(SERVICE, 'StatusText')).includes('the configuration was rejected'),
  );
  await configure(machine);
  await machine.systemctl('reload', SERVICE);
  assert.is((await machine.run(['pg-gatewayctl', 'status'])).status, 0);
  assert.match(
    await eventually(
      'the answer',
      () => machine.succeed(['cat', '/tmp/slept']).then((text) => text.trim() || undefined),
      { deadlineMs: 60_000 },
    ),
    /42$/,
  );
});

test('sessions are written at debug only, and a healthy stretch has no warning', async () => {
  const mark = await machine.mark();
  await machine.systemctl('restart', SERVICE);
  for (let i = 0; i < 20; i += 1) await cluster.query('SELECT 1');
  const entries = await machine.journal({ unit: SERVICE, after: mark });
  const messages = entries.map(({ priority, message }) => `${priority}: ${message}`);
  assert.ok(
    entries.some(({ priority, message }) => priority === 'notice' && message.includes('ready')),
    messages.join('\n'),
  );
  assert.ok(entries.length < 20, `as many lines as sessions:\n${messages.join('\n')}`);
  const warnings = await machine.journal({ unit: SERVICE, priority: 'warning', after: mark });
  assert.equal(
    warnings.map(({ message }) => message),
    [],
  );
});

test('messages have fields, a priority of their own, and no time of their own', async () => {
  const ready = await machine.logged(/ready/, { unit: SERVICE, priority: 'notice' });
  assert.match(ready.message, /^ready( \w+=\S+)+$/);
});

test('a failover is a notice, and the lost server a warning', async () => {
  const mark = await machine.mark();
  await cluster.failOver();
  await eventually(
    'the new primary to serve',
    async () => (await cluster.query('SELECT inet_server_port()')) === String(Cluster.standby),
  );
  const change = await machine.logged(/STATE CHANGE.* new=127\.0\.0\.1:5434/, { unit: SERVICE, after: mark });
  assert.is(change.priority, 'notice');
  const lost = await machine.logged(/candidate does not answer/, { unit: SERVICE, after: mark });
  assert.is(lost.priority, 'warning');
});

test('nothing that anybody can read has the password', async () => {
  const everything = await machine.shell(`
    journalctl --no-pager --output=export
    ps auxeww
    curl -sS --max-time 10 http://127.0.0.1:9090/metrics
    systemctl show ${SERVICE}
    systemctl status --no-pager --full ${SERVICE}
    cat /proc/$(systemctl show --value --property MainPID ${SERVICE})/environ | tr '\\0' '\\n'`);
  assert.not.match(everything, PROBE_PASSWORD);
});

test('a start that waits for a server may take longer than TimeoutStartSec=', async () => {
  machine.start(['python3', '-c', SILENT_SERVER]);
  await eventually('it to listen', async () => (await machine.succeed(['ss', '-Hltn', 'sport = :6543'])) !== '');
  await configure(machine, 'connect_timeout_ms = 4000\n', [...Cluster.candidates, '127.0.0.1:6543']);
  await machine.write('/etc/systemd/system/pg-gateway.service.d/hasty.conf', '[Service]\nTimeoutStartSec=1\n');
  await machine.systemctl('daemon-reload');
  // What is remembered of the cluster would spare it the wait.
  await machine.systemctl('stop', SERVICE, SOCKET);
  await machine.systemctl('clean', '--what=state', SERVICE);
  const begun = performance.now();
  await machine.systemctl('start', SOCKET, SERVICE);
  assert.ok(performance.now() - begun > 3000, 'it has waited');
  assert.is(await machine.property(SERVICE, 'NRestarts'), '0');
  assert.is(await cluster.query('SELECT 1'), '1');
});

test('stopping the sockets and the service ends all', async () => {
  await machine.systemctl('stop', SOCKET);
  await machine.becomes(SERVICE, 'inactive');
  assert.is(await machine.succeed(['ss', '-Hltn', 'sport = :5432']), '');
});

test('where the socket cannot open its address, it is said that clients may not get in', async () => {
  const mark = await machine.mark();
  const dropIn = '/etc/systemd/system/pg-gateway.socket.d/elsewhere.conf';
  await machine.write(dropIn, '[Socket]\nListenStream=\nListenStream=192.0.2.99:5432\n');
  await machine.systemctl('daemon-reload');
  await machine.run(['systemctl', 'start', SOCKET]);
  assert.is(await machine.property(SOCKET, 'ActiveState'), 'failed');
  await machine.systemctl('start', SERVICE);
  const warning = await machine.logged(/^pg-gateway\.socket is not open: /, { unit: SERVICE, after: mark });
  assert.is(warning.priority, 'warning');
  const { status, stderr } = await machine.run(['pg-gatewayctl', 'status']);
  assert.is(status, 3);
  assert.match(stderr, '(systemctl status pg-gateway.socket)');
});

test.run();
