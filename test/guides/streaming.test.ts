// SPDX-License-Identifier: MIT
// STREAMING REPLICATION of pg-gateway-guides(7), from a new primary to the old one that
// streams from its successor; and the list of hosts in libpq before and after the move.

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { run } from '../helpers/child.js';
import { plainEnvironment, postgresProgram } from '../helpers/postgres-install.js';
import type { PostgresServer } from '../helpers/postgres.js';
import { startPsql } from '../helpers/psql.js';
import { assert, suite } from '../helpers/suite.js';
import { eventually, observeFor } from '../helpers/wait.js';
import { GatewayHost } from './gateway-host.js';
import { Lan, whereLansCanBe } from './lan.js';
import { block } from './page.js';
import { runAsPostgres, startServers } from './servers.js';

const CLIENTS = { host: '10.0.0.21', port: 5432 };
/** Some probes, for what must not happen. */
const QUIET_MS = 3000;
const FENCED_DEADLINE_MS = 40_000;

const test = suite('streaming replication', {}, 600_000);
const testGuide = whereLansCanBe(test);

testGuide('a standby is promoted, the old primary gets nobody, and follows after pg_rewind', async () => {
  const lan = await Lan.create();
  const closing: { close(): Promise<void> }[] = [lan];
  try {
    const servers = await startServers(lan);
    closing.unshift(servers);
    const { db1, db2 } = servers;
    const gatewayHost = await GatewayHost.start(lan.host('gw1'), {
      config: block('pg-gateway.toml'),
      env: { PGPASSWORD: 'secret' },
    });
    closing.unshift(gatewayHost);
    const { gateway } = gatewayHost;
    await gateway.primaryIs(db1.candidate);
    assert.is(await whereTo(block('libpq-before')), '10.0.0.11|f');
    assert.is(await whereTo(block('libpq-after')), '10.0.0.11|f');

    await db1.query('CREATE TABLE written (n int)');
    await db2.caughtUp(db1);
    await db1.crash();
    await gateway.primaryIs('none');
    const waiting = startPsql(CLIENTS, 'INSERT INTO written VALUES (1); SELECT inet_server_addr();\n');
    await runAsPostgres(lan.host('db2'), block('streaming-promote'));
    const { status, stdout, stderr } = await waiting.ended;
    assert.equal([status, stdout], [0, '10.0.0.12\n'], stderr);
    assert.is(await whereTo(block('libpq-after')), '10.0.0.12|f');

    // It thinks that it is the primary, as it was.
    await db1.start();
    // A server that was down is asked at least every ten seconds.
    await gateway.logged('server fenced: it gets no traffic', { server: db1.candidate }, FENCED_DEADLINE_MS);
    await observeFor(QUIET_MS);
    assert.is(gateway.primary, db2.candidate);
    await db1.query('INSERT INTO written VALUES (2)');
    await db1.crash();

    await rewind(lan, db1);
    await db1.start();
    await eventually('the old primary to stream from the new one', async () => {
      return (await db2.query("SELECT state FROM pg_stat_replication WHERE client_addr = '10.0.0.11'")) === 'streaming';
    });
    await db1.caughtUp(db2);
    assert.is(await db1.query('SELECT n, pg_is_in_recovery() FROM written'), '1|t');
  } finally {
    for (const leftover of closing) await leftover.close();
  }
});

/** Which server it leads to, and whether that is in recovery. */
async function whereTo(connection: string): Promise<string> {
  const target = `${connection.trim()} user=postgres`;
  const { status, stdout, stderr } = await run(
    [postgresProgram('psql'), '-XAtc', 'SELECT inet_server_addr(), pg_is_in_recovery()', target],
    { env: plainEnvironment() },
  );
  assert.is(status, 0, stderr);
  return stdout.trimEnd();
}

/** Debian has a server's configuration beside its data, where pg_rewind leaves it alone: so it is put back here. */
async function rewind(lan: Lan, server: PostgresServer): Promise<void> {
  const files = ['postgresql.conf', 'pg_hba.conf'].map((name) => join(server.dataDir, name));
  const texts = await Promise.all(files.map((file) => readFile(file, 'utf8')));
  const commands = block('streaming-rewind', {
    '/usr/lib/postgresql/15/bin/pg_rewind': postgresProgram('pg_rewind'),
    '/var/lib/postgresql/15/main': server.dataDir,
    '/etc/postgresql/15/main': server.dataDir,
  });
  await runAsPostgres(lan.host('db1'), commands);
  for (const [index, file] of files.entries()) await writeFile(file, texts[index] ?? '');
}

test.run();
