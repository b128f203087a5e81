// SPDX-License-Identifier: MIT
// PGBOUNCER of pg-gateway-guides(7): the primary is lost, and clients that had no query
// under way do not notice; the primary is changed on purpose, and nobody does.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { Child, succeed } from '../helpers/child.js';
import type { Host } from '../helpers/network.js';
import { temporaryFolder } from '../helpers/paths.js';
import { becomingServerOwner, plainEnvironment, postgresProgram } from '../helpers/postgres-install.js';
import { clientProgram, query, startPsql } from '../helpers/psql.js';
import type { Target } from '../helpers/psql.js';
import { assert, note, suite } from '../helpers/suite.js';
import { eventually, observeFor } from '../helpers/wait.js';
import { GatewayHost } from './gateway-host.js';
import { Lan, whereLansCanBe } from './lan.js';
import { block } from './page.js';
import { startServers } from './servers.js';
import type { Servers } from './servers.js';

const PASSWORD = { PGUSER: 'app', PGPASSWORD: 'secret', PGCONNECT_TIMEOUT: '60' };
const CLIENTS: Target = { host: '10.0.0.21', port: 6432, env: PASSWORD };
const FOLDER = '/etc/pgbouncer';
const IDLE_CLIENTS = 8;
const OUTAGE_MS = 3000;

interface Stage {
  readonly servers: Servers;
  readonly gatewayHost: GatewayHost;
}

const test = suite('PgBouncer', {}, 600_000);
const testGuide = whereLansCanBe(test);

async function withStage(use: (stage: Stage) => Promise<void>): Promise<void> {
  const lan = await Lan.create();
  const closing: { close(): Promise<void> }[] = [lan];
  try {
    const servers = await startServers(lan, ['host all app 10.0.0.0/24 scram-sha-256']);
    closing.unshift(servers);
    await servers.db1.query(
      "CREATE ROLE app LOGIN PASSWORD 'secret'; CREATE TABLE written (n int); GRANT ALL ON written TO app",
    );
    await servers.db2.caughtUp(servers.db1);
    const config = block('pgbouncer.toml');
    const gatewayHost = await GatewayHost.start(lan.host('gw1'), { config, env: { PGPASSWORD: 'secret' } });
    closing.unshift(gatewayHost);
    await gatewayHost.gateway.primaryIs(servers.db1.candidate);
    closing.unshift(await startPgBouncer(lan.host('gw1')));
    await eventually('a session by way of PgBouncer', () => query(CLIENTS, 'SELECT 1'));
    await use({ servers, gatewayHost });
  } finally {
    for (const leftover of closing) await leftover.close();
  }
}

/** With the files of the page where the page has them: they are seen by this test alone. */
async function startPgBouncer(host: Host): Promise<Child> {
  await succeed(['mount', '-t', 'tmpfs', 'tmpfs', FOLDER]);
  await writeFile(join(FOLDER, 'userlist.txt'), block('userlist.txt'));
  await writeFile(join(FOLDER, 'pgbouncer.ini'), block('pgbouncer.ini'));
  const program = ['/usr/sbin/pgbouncer', join(FOLDER, 'pgbouncer.ini')];
  return new Child([...host.enter, ...becomingServerOwner(), ...program], { cwd: '/', input: '' });
}

/** Commands for the console of PgBouncer, as on the host of the page. */
async function runForPgBouncer(commands: string): Promise<void> {
  const path = `${postgresProgram('').replace(/\/$/u, '')}:${process.env['PATH'] ?? ''}`;
  await succeed(['sh', '-euc', commands], { env: plainEnvironment({ PATH: path, PGPASSWORD: 'secret' }) });
}

testGuide('the primary is killed: whoever has no query under way just waits', async () => {
  await withStage(async ({ servers: { db1, db2 }, gatewayHost: { gateway } }) => {
    const idle = Array.from({ length: IDLE_CLIENTS }, () => startPsql(CLIENTS));
    for (const psql of idle) psql.write('SELECT 1;\n');
    await Promise.all(idle.map((psql) => psql.output('an answer', (stdout) => (stdout === '1\n' ? true : undefined))));

    await db1.crash();
    await gateway.primaryIs('none');
    for (const psql of idle) psql.write('INSERT INTO written VALUES (1) RETURNING inet_server_addr();\n');
    const late = startPsql(CLIENTS, 'INSERT INTO written VALUES (1) RETURNING inet_server_addr();\n');
    await observeFor(OUTAGE_MS);
    await db2.promote();
    const start = performance.now();
    for (const psql of idle) {
      await psql.output('its row', (stdout) => (stdout === '1\n10.0.0.12\n' ? true : undefined), 30_000);
      psql.endInput();
      const { status, stderr } = await psql.ended;
      assert.equal([status, stderr], [0, '']);
    }
    const { status, stdout, stderr } = await late.ended;
    assert.equal([status, stdout], [0, '10.0.0.12\n'], stderr);
    note(`all ${IDLE_CLIENTS + 1} clients were served ${Math.round(performance.now() - start)} ms after the promotion`);
    assert.is(await db2.query('SELECT count(*) FROM written'), String(IDLE_CLIENTS + 1));
  });
});

testGuide('the primary is changed between PAUSE and RESUME: no query fails, no row is lost', async () => {
  await withStage(async ({ servers: { db1, db2 }, gatewayHost: { gateway } }) => {
    const folder = await temporaryFolder();
    const script = join(folder.path, 'insert.sql');
    await writeFile(script, 'INSERT INTO written VALUES (1);\n');
    const load = clientProgram(CLIENTS, 'pgbench', ['-n', '-f', script, '-c', '8', '-j', '2', '-T', '15', 'postgres']);
    await eventually('rows to be written', async () => Number(await db1.query('SELECT count(*) FROM written')) > 100);

    await runForPgBouncer(block('pgbouncer-pause'));
    await db1.stop('fast');
    await db2.promote();
    await gateway.primaryIs(db2.candidate);
    await runForPgBouncer(block('pgbouncer-resume'));

    const { status, stdout, stderr } = await load;
    assert.is(status, 0, stderr);
    assert.match(stdout, /number of failed transactions: 0 /u);
    assert.not.match(stderr, /aborted|error/iu);
    const processed = /actually processed: (\d+)/u.exec(stdout)?.[1];
    assert.is(await db2.query('SELECT count(*) FROM written'), processed);
    note(`${String(processed)} transactions, none failed`);
    await folder.close();
  });
});

test.run();
