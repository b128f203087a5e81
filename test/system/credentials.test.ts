// SPDX-License-Identifier: MIT
// The ways to hand over the probes' password; none of them shows it to anybody.

import { assert, suite } from '../helpers/suite.js';
import { eventually } from '../helpers/wait.js';
import { Cluster, PROBE_PASSWORD } from './cluster.js';
import { bootWithGateway, configure, mainPid, samples, SERVICE } from './gateway-package.js';
import type { Machine } from './machine.js';

const DROP_IN = '/etc/systemd/system/pg-gateway.service.d/password.conf';
const PASSWORD_FILE = '/etc/pg-gateway/pgpassword';
const ENVIRONMENT_FILE = '/etc/default/pg-gateway';
const WRONG = 'no-such-password-anywhere';

const test = suite('credentials');

let machine: Machine;
let cluster: Cluster;

test.before(async () => {
  ({ machine, cluster } = await bootWithGateway());
});

test.before.each(async () => {
  await machine.succeed(['rm', '-rf', DROP_IN, PASSWORD_FILE]);
  await machine.write(ENVIRONMENT_FILE, '');
});

test.after(() => machine.close());

async function restart(): Promise<void> {
  await machine.systemctl('daemon-reload');
  await machine.systemctl('restart', SERVICE);
}

/** What any user of the machine can see, and all of the journal. */
async function assertHidden(password: string): Promise<void> {
  const seen = await machine.shell(`
    journalctl --no-pager --output=export
    ps auxww
    curl -sS --max-time 10 http://127.0.0.1:9090/metrics
    systemctl status --no-pager --full ${SERVICE} || true`);
  assert.not.match(seen, password);
}

async function assertServes(): Promise<void> {
  assert.is(await cluster.query('SELECT 1'), '1');
  await assertHidden(PROBE_PASSWORD);
}

test('in a file that only root can read', async () => {
  await configure(machine);
  await restart();
  await assertServes();
  const copy = `/run/credentials/${SERVICE}/pgpassword`;
  assert.match(await machine.succeed(['stat', '-c', '%a', copy]), /^[46]?4[04]0$/m);
  assert.is.not((await machine.run(['runuser', '-u', 'postgres', '--', 'cat', copy])).status, 0);
  const environment = await machine.succeed(['cat', `/proc/${await mainPid(machine)}/environ`]);
  assert.not.match(environment, PROBE_PASSWORD);
});

test('root who asks before the first start is told what the service would find with it', async () => {
  await configure(machine);
  const { status, stdout } = await machine.run(['pg-gateway', '--check-config', '--probe']);
  assert.match(stdout, 'with a password (/etc/pg-gateway/pgpassword, as the service would)');
  assert.match(stdout, `127.0.0.1:${Cluster.primary} is the primary on timeline 1`);
  assert.ok(status === 0 || status === 1, `${status} ${stdout}`);
  assert.not.match(stdout, PROBE_PASSWORD);
});

test('from elsewhere, by a drop-in', async () => {
  await machine.write('/srv/secret', PROBE_PASSWORD, '600');
  await machine.write(DROP_IN, '[Service]\nLoadCredential=\nLoadCredential=pgpassword:/srv/secret\n');
  await restart();
  await assertServes();
  await machine.write(PASSWORD_FILE, WRONG, '600');
  await machine.systemctl('reload', SERVICE);
});

test('a new one fails a reload, which could not bring it along, and a restart takes it', async () => {
  const reload = async (): Promise<number | null> => (await machine.run(['systemctl', 'reload', SERVICE])).status;
  await configure(machine);
  await restart();
  assert.is(await reload(), 0);
  const pid = await mainPid(machine);
  const mark = await machine.mark();
  await machine.write(PASSWORD_FILE, WRONG, '600');
  assert.is.not(await reload(), 0);
  const line = await machine.logged(/pgpassword has changed/, { unit: SERVICE, after: mark });
  assert.match(line.message, `systemctl restart ${SERVICE}`);
  await assertServes();
  assert.is(await mainPid(machine), pid);
  await restart();
  await eventually('no primary', async () => (await samples(machine)).get('pg_gateway_has_primary') === 0);
  await assertHidden(WRONG);
  await machine.succeed(['rm', PASSWORD_FILE]);
  assert.is(await reload(), 0, 'there is nothing to take');
});

test('encrypted with systemd-creds', async () => {
  const file = '/etc/credstore.encrypted/pgpassword';
  await machine.succeed(['install', '-d', '-m', '700', '/etc/credstore.encrypted']);
  await machine.succeed(['systemd-creds', '--with-key=host', '--name=pgpassword', 'encrypt', '-', file], {
    input: PROBE_PASSWORD,
  });
  assert.not.match(await machine.succeed(['cat', file]), PROBE_PASSWORD);
  const lines = ['[Service]', 'LoadCredential=', `LoadCredentialEncrypted=pgpassword:${file}`];
  await machine.write(DROP_IN, `${lines.join('\n')}\n`);
  await restart();
  await assertServes();
});

test('a wrong one is told of by a warning that does not have it', async () => {
  await machine.write(PASSWORD_FILE, WRONG, '600');
  const mark = await machine.mark();
  await restart();
  const line = await machine.logged(/candidate does not answer/, { unit: SERVICE, after: mark });
  assert.is(line.priority, 'warning');
  assert.match(line.message, /password authentication failed/);
  assert.is((await samples(machine)).get('pg_gateway_has_primary'), 0);
  await assertHidden(WRONG);
});

test('without one there is no primary, and the service goes on', async () => {
  await restart();
  await eventually('no primary', async () => (await samples(machine)).get('pg_gateway_has_primary') === 0);
  await machine.write(PASSWORD_FILE, PROBE_PASSWORD, '600');
  await restart();
  await assertServes();
});

test('in a file that everybody can read it serves, but earns a warning', async () => {
  const mark = await machine.mark();
  await machine.write(ENVIRONMENT_FILE, `PGPASSWORD=${PROBE_PASSWORD}\n`, '644');
  await restart();
  await assertServes();
  await machine.logged(/^(?=.*password)(?=.*\/etc\/default\/pg-gateway)/, {
    unit: SERVICE,
    priority: 'warning',
    after: mark,
  });
});

test.run();
