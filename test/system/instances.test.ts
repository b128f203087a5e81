// SPDX-License-Identifier: MIT
// Several gateways on one machine, by the template units.

import { assert, suite } from '../helpers/suite.js';
import { Cluster, PROBE_PASSWORD } from './cluster.js';
import { install, mainPid, NEWER_PACKAGE_VARIABLE, samples } from './gateway-package.js';
import { Machine } from './machine.js';

const PORTS = { one: 6001, two: 6002 } as const;
const METRICS_PORTS = { one: 9001, two: 9002 } as const;
const NAMES = ['one', 'two'] as const;

const test = suite('instances');

let machine: Machine;
let cluster: Cluster;

/** As the man page tells: a file, an address, and the password of its own. */
async function configureInstance(name: (typeof NAMES)[number], candidates: readonly string[]): Promise<void> {
  const config = `candidates = ${JSON.stringify(candidates)}
[probe]
user = "probe"
[metrics]
port = ${METRICS_PORTS[name]}
`;
  await machine.write(`/etc/pg-gateway/${name}.toml`, config);
  await machine.write(`/etc/pg-gateway/${name}.pgpassword`, PROBE_PASSWORD, '600');
  await machine.write(
    `/etc/systemd/system/pg-gateway@${name}.socket.d/address.conf`,
    `[Socket]\nListenStream=\nListenStream=${PORTS[name]}\n`,
  );
  await machine.systemctl('daemon-reload');
}

test.before(async () => {
  machine = await Machine.boot();
  cluster = await Cluster.create(machine);
  await install(machine);
  await configureInstance('one', Cluster.candidates);
  await configureInstance('two', Cluster.candidates.slice(0, 1));
  for (const name of NAMES) await machine.systemctl('enable', '--now', `pg-gateway@${name}.socket`);
});

test.after(() => machine.close());

test('each serves at its own address, with its own metrics', async () => {
  for (const name of NAMES) assert.is(await cluster.query('SELECT 1', PORTS[name]), '1', name);
  assert.is((await samples(machine, METRICS_PORTS.one)).get('pg_gateway_servers_total'), 2);
  assert.is((await samples(machine, METRICS_PORTS.two)).get('pg_gateway_servers_total'), 1);
  assert.is(await machine.property('pg-gateway.service', 'ActiveState'), 'inactive');
  for (const name of NAMES) {
    const status = await machine.succeed(['pg-gatewayctl', '--instance', name, 'version']);
    assert.match(status, new RegExp(`process ${await mainPid(machine, `pg-gateway@${name}.service`)},`, 'u'));
  }
});

test('each is reloaded and restarted by itself', async () => {
  const [one, two] = [
    await mainPid(machine, 'pg-gateway@one.service'),
    await mainPid(machine, 'pg-gateway@two.service'),
  ];
  await configureInstance('two', Cluster.candidates);
  await machine.systemctl('reload', 'pg-gateway@two.service');
  assert.is((await samples(machine, METRICS_PORTS.two)).get('pg_gateway_servers_total'), 2);
  await machine.systemctl('restart', 'pg-gateway@two.service');
  assert.is.not(await mainPid(machine, 'pg-gateway@two.service'), two);
  assert.is(await mainPid(machine, 'pg-gateway@one.service'), one);
});

test('an upgrade restarts them all', async () => {
  const before = await Promise.all(NAMES.map((name) => mainPid(machine, `pg-gateway@${name}.service`)));
  await install(machine, NEWER_PACKAGE_VARIABLE);
  for (const [index, name] of NAMES.entries()) {
    assert.is(await cluster.query('SELECT 1', PORTS[name]), '1', name);
    assert.is.not(await mainPid(machine, `pg-gateway@${name}.service`), before[index], name);
  }
});

test('removing the package ends them all', async () => {
  await machine.succeed(['apt-get', 'remove', '-y', 'pg-gateway']);
  assert.is(await machine.succeed(['ss', '-Hltn', 'sport = :6001 or sport = :6002']), '');
  assert.is(await machine.systemctl('list-units', '--failed', '--no-legend', '--plain'), '');
});

test.run();
