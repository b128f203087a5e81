// SPDX-License-Identifier: MIT
// A check by root on a machine where the service is installed: it judges for the service, with its user and its
// password, and not for root. The machine is a copy of /etc with the units in it, which only the program sees.

import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { encodeCluster } from '#src/cluster-file.js';
import { run } from '../helpers/child.js';
import type { Ended } from '../helpers/child.js';
import { whereMountsCanBe, withMounts } from '../helpers/own-mounts.js';
import { MAIN, preloading, PROGRAM_ENV, PROJECT_ROOT, temporaryFolder } from '../helpers/paths.js';
import type { TemporaryFolder } from '../helpers/paths.js';
import { createCluster } from '../helpers/postgres.js';
import type { Cluster } from '../helpers/postgres.js';
import { assert, suite } from '../helpers/suite.js';

const PASSWORD = 'hunter2-swordfish';
const UNITS = ['pg-gateway.service', 'pg-gateway@.service'];

const test = suite('check for the service');
const register = whereMountsCanBe(test);
let cluster: Cluster;
let folder: TemporaryFolder;

test.before(async () => {
  // Root is let in by whatever it says: a check that judged for it would be content.
  const hba = ['host all root all trust', 'host all postgres all trust', 'host all pg-gateway all scram-sha-256'];
  cluster = await createCluster(0, { hba });
  await cluster.primary.query(`
    SET password_encryption = 'scram-sha-256';
    CREATE ROLE root LOGIN IN ROLE pg_read_all_stats;
    CREATE ROLE "pg-gateway" LOGIN PASSWORD '${PASSWORD}' IN ROLE pg_read_all_stats`);
  folder = await temporaryFolder();
  const etc = join(folder.path, 'etc');
  // Who is not root does not get all of it, and does not need it: the tests are skipped then.
  await run(['cp', '-a', '/etc', etc]);
  const [settings, units] = [join(etc, 'pg-gateway'), join(etc, 'systemd/system')];
  const memory = join(folder.path, 'lib/pg-gateway-sales');
  for (const path of [settings, units, memory, join(folder.path, 'home')]) await mkdir(path, { recursive: true });
  for (const name of UNITS) await copyFile(join(PROJECT_ROOT, 'systemd', name), join(units, name));
  const text = `candidates = ["${cluster.primary.candidate}"]
    [probe]
    connect_timeout_ms = 20000
    query_timeout_ms = 20000`;
  for (const name of ['pg-gateway', 'sales', 'bare']) await writeFile(join(settings, `${name}.toml`), text);
  for (const name of ['pgpassword', 'sales.pgpassword']) {
    await writeFile(join(settings, name), `${PASSWORD}\n`, { mode: 0o600 });
  }
  await writeFile(join(folder.path, 'home/.pgpass'), `*:*:*:*:${PASSWORD}\n`, { mode: 0o600 });
  const systemId = await cluster.primary.query('SELECT system_identifier FROM pg_control_system()');
  await writeFile(join(memory, 'cluster.json'), encodeCluster({ systemId, timeline: 2 }));
});

test.after(async () => {
  await Promise.all([cluster.close(), folder.close()]);
});

interface Machine {
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Default: the units are there. */
  readonly script?: string;
}

async function program({ args, env = {}, script = '' }: Machine): Promise<Ended> {
  const mounts = `mount --bind '${folder.path}/lib' /var/lib\nmount --bind '${folder.path}/etc' /etc\n${script}`;
  const ended = await run([...preloading(withMounts(mounts)), MAIN, ...args], {
    env: { PATH: process.env['PATH'], HOME: join(folder.path, 'home'), ...PROGRAM_ENV, LD_PRELOAD: undefined, ...env },
    deadlineMs: 60_000,
  });
  assert.not.match(ended.stdout + ended.stderr, PASSWORD);
  return ended;
}

const PROBE = ['--check-config', '--probe'];

register('the service is its own user, and has the password of its file', async () => {
  const { status, stdout } = await program({ args: PROBE });
  assert.match(stdout, /^user = "pg-gateway" {2}# default$/m);
  assert.match(
    stdout,
    /^# {3}judged {6}as pg-gateway\.service would: it is the user pg-gateway, has its password from \/etc\/pg-gateway\/pgpassword, and no home directory$/m,
  );
  assert.match(stdout, 'with a password (/etc/pg-gateway/pgpassword, as the service would)');
  assert.match(
    stdout,
    'note: probe.user: it is not set, and the service logs in by the name of its own user, pg-gateway',
  );
  assert.match(stdout, `${cluster.primary.candidate} is the primary on timeline 1`);
  assert.is(status, 0, stdout);
});

register('what root has, and the service has not, helps nobody', async () => {
  const args = [...PROBE, '--config', '/etc/pg-gateway/bare.toml'];
  const { status, stdout } = await program({ args });
  assert.match(
    stdout,
    'Remedy: put it into /etc/pg-gateway/bare.pgpassword, which pg-gateway@bare.service has it from',
  );
  assert.match(stdout, `note: ${folder.path}/home/.pgpass: it is not used, for the service has no home directory.`);
  assert.is(status, 69);
  // As it was told to be done before.
  const again = await program({ args, env: { CREDENTIALS_DIRECTORY: '/etc/pg-gateway' } });
  assert.match(again.stdout, 'with a password (credential pgpassword)');
  assert.is(again.status, 0, again.stdout);
});

register('an instance has a password and a memory of its own', async () => {
  const { status, stdout } = await program({ args: [...PROBE, '--config', '/etc/pg-gateway/sales.toml'] });
  assert.match(stdout, 'with a password (/etc/pg-gateway/sales.pgpassword, as the service would)');
  assert.match(stdout, 'it claims to be the primary on timeline 1, the cluster is on 2');
  assert.is(status, 69);
});

register('--print-hba has the role of the service', async () => {
  const { status, stdout } = await program({ args: ['--print-hba'] });
  assert.match(stdout, /^-- For pg-gateway\.service, which is the user pg-gateway\.$/m);
  assert.match(stdout, /^CREATE ROLE "pg-gateway" LOGIN;$/m);
  assert.match(stdout, /^host {2}postgres {2}"pg-gateway" {2}127\.0\.0\.1\/32 {2}scram-sha-256$/m);
  assert.is(status, 0);
});

register('a file that is for root alone is none for the service', async () => {
  const env = { PGPASSFILE: join(folder.path, 'home/.pgpass') };
  const { status, stdout } = await program({ args: PROBE, env });
  assert.match(stdout, `warning: ${env.PGPASSFILE}: the service cannot read it, which probe.passfile names`);
  assert.is(status, 1);
});

register('the password is for nobody else', async () => {
  const file = '/etc/pg-gateway/pgpassword';
  const { status, stdout } = await program({ args: PROBE, script: `chmod 644 ${file}` });
  assert.match(stdout, `warning: ${file}: every user of this machine can read the password of the probes in it`);
  assert.match(stdout, `#           chmod 600 ${file}\n`);
  assert.is(status, 1);
  const again = await program({ args: PROBE, script: `chmod 600 ${file}` });
  assert.is(again.status, 0, again.stdout);
});

register('so is a configuration that is for root alone', async () => {
  const file = '/etc/pg-gateway/sales.toml';
  const args = [...PROBE, '--config', file];
  const { status, stdout } = await program({ args, script: `chmod 600 ${file}` });
  assert.match(stdout, `warning: ${file}: the service cannot read its configuration there`);
  assert.is.not(status, 0);
  const again = await program({ args, script: `chmod 644 ${file}` });
  assert.not.match(again.stdout, 'cannot read its configuration');
});

register('without the units it is a check for root, and so is the quiet one of the units', async () => {
  const script = 'mount -t tmpfs tmpfs /etc/systemd/system';
  const { status, stdout } = await program({ args: PROBE, script });
  assert.match(stdout, /^user = "root" {2}# default$/m);
  assert.not.match(stdout, 'judged');
  assert.is(status, 0, stdout);
  await mkdir(join(folder.path, 'home/.postgresql'), { recursive: true });
  await writeFile(join(folder.path, 'home/.postgresql/root.crt'), '');
  const env = { PGSSLMODE: 'verify-full' };
  const quiet = await program({ args: ['--check-config', '--quiet'], env });
  assert.equal([quiet.status, quiet.stdout, quiet.stderr], [0, '', '']);
  const loud = await program({ args: ['--check-config'], env });
  assert.is(loud.status, 78);
  assert.match(loud.stderr, 'expected a root certificate to verify with');
});

test.run();
