// SPDX-License-Identifier: MIT
// STREAMING REPLICATION, By repmgr, of pg-gateway-guides(7): repmgrd promotes the standby of a
// primary that was killed, and the gateway follows.

import { chown, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { Child, succeed } from '../helpers/child.js';
import type { Host } from '../helpers/network.js';
import { temporaryFolder } from '../helpers/paths.js';
import {
  asServerOwner,
  becomingServerOwner,
  makeOwned,
  plainEnvironment,
  postgresProgram,
} from '../helpers/postgres-install.js';
import { PostgresServer } from '../helpers/postgres.js';
import { startPsql } from '../helpers/psql.js';
import { assert, suite } from '../helpers/suite.js';
import { eventually } from '../helpers/wait.js';
import { GatewayHost } from './gateway-host.js';
import { Lan, whereLansCanBe } from './lan.js';
import { block, linesOf } from './page.js';
import { OWN_HBA, POSTGRES_PORT, runAsPostgres, settingsOf } from './servers.js';

const HOME = '/var/lib/postgresql';
const PROMOTION_DEADLINE_MS = 60_000;

const test = suite('repmgr', {}, 600_000);
const testGuide = whereLansCanBe(test);

/** What of the page is elsewhere here. */
function elsewhere(configuration: string, dataDir: string): Record<string, string> {
  return {
    '/usr/lib/postgresql/15/bin': postgresProgram('').replace(/\/$/u, ''),
    '/etc/repmgr.conf': configuration,
    '/var/lib/postgresql/15/main': dataDir,
  };
}

/** A command of the page on a host. */
async function repmgr(host: Host, name: string, configuration: string): Promise<void> {
  const { '/var/lib/postgresql/15/main': _, ...changes } = elsewhere(configuration, '');
  await runAsPostgres(host, block(name, changes));
}

/** The home of postgres as the page has it: seen by this test alone. */
async function writePasswordFile(): Promise<void> {
  await succeed(['mount', '-t', 'tmpfs', 'tmpfs', HOME]);
  const file = join(HOME, '.pgpass');
  await writeFile(file, block('repmgr-pgpass'), { mode: 0o600 });
  const { uid = -1, gid = -1 } = asServerOwner();
  for (const path of [HOME, file]) await chown(path, uid, gid);
}

testGuide('repmgrd promotes the standby, and a client that waits goes on', async () => {
  const lan = await Lan.create();
  const closing: { close(): Promise<void> }[] = [lan];
  try {
    await writePasswordFile();
    const folder = await temporaryFolder();
    closing.unshift(folder);
    await makeOwned(folder.path);
    const [file1, file2] = [join(folder.path, 'db1.conf'), join(folder.path, 'db2.conf')] as const;
    const options = {
      port: POSTGRES_PORT,
      hba: [...OWN_HBA, ...linesOf(block('probe-pg_hba.conf')), ...linesOf(block('repmgr-pg_hba.conf'))],
      settings: settingsOf(block('repmgr-postgresql.conf')),
    };
    const db1 = await PostgresServer.create({ ...options, on: lan.host('db1') });
    closing.unshift(db1);
    await db1.query(block('probe.sql') + block('repmgr.sql'));
    await writeFile(
      file1,
      block('repmgr.conf', {
        ...elsewhere(file1, db1.dataDir),
        'node_id = 2': 'node_id = 1',
        db2: 'db1',
        '10.0.0.12': '10.0.0.11',
      }),
    );
    await repmgr(lan.host('db1'), 'repmgr-primary', file1);
    const db2 = await PostgresServer.createFrom(
      async (dataDir) => {
        await writeFile(file2, block('repmgr.conf', elsewhere(file2, dataDir)));
        await repmgr(lan.host('db2'), 'repmgr-clone', file2);
      },
      { ...options, on: lan.host('db2') },
    );
    closing.unshift(db2);
    await repmgr(lan.host('db2'), 'repmgr-standby', file2);
    for (const [name, file] of [
      ['db1', file1],
      ['db2', file2],
    ] as const) {
      closing.unshift(await startDaemon(lan.host(name), file));
    }

    const gatewayHost = await GatewayHost.start(lan.host('gw1'), {
      config: block('pg-gateway.toml'),
      env: { PGPASSWORD: 'secret' },
    });
    closing.unshift(gatewayHost);
    const { gateway } = gatewayHost;
    await gateway.primaryIs(db1.candidate);
    await db1.crash();
    await gateway.primaryIs('none');
    const waiting = startPsql({ host: '10.0.0.21', port: 5432 }, 'SELECT inet_server_addr(), pg_is_in_recovery();\n');
    await gateway.primaryIs(db2.candidate, { deadlineMs: PROMOTION_DEADLINE_MS });
    const { status, stdout, stderr } = await waiting.ended;
    assert.equal([status, stdout], [0, '10.0.0.12|f\n'], stderr);
  } finally {
    for (const leftover of closing) await leftover.close();
  }
});

/** It watches its server when this resolves. */
async function startDaemon(host: Host, configuration: string): Promise<Child> {
  const program = [postgresProgram('repmgrd'), '-f', configuration, '--daemonize=false', '--no-pid-file'];
  const child = new Child([...host.enter, ...becomingServerOwner(), ...program], {
    env: plainEnvironment(),
    cwd: '/',
    input: '',
  });
  await eventually(`repmgrd to watch: ${child.stderr}`, () => child.stderr.includes('monitoring'), {
    deadlineMs: 30_000,
  });
  return child;
}

test.run();
