// SPDX-License-Identifier: MIT
// Log-in and TLS of probes, against real servers.

import { copyFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import type { ProbeConfig } from '#src/config.js';
import type { Lookup } from '#src/probe/resolver.js';
import { temporaryFolder } from '../helpers/paths.js';
import { PostgresServer } from '../helpers/postgres.js';
import { assert, suite } from '../helpers/suite.js';
import { createAuthority, issueCertificate } from '../helpers/tls.js';
import { eventually } from '../helpers/wait.js';
import { closeOpened, failureOf, PASSWORD, probeOnce, stateOf, watch } from '../helpers/probes.js';
import type { Target } from '../helpers/probes.js';

const logins = suite<{ server?: PostgresServer; plain?: PostgresServer; folder?: string }>(
  'log-in and TLS of probes',
  {},
);

logins.before(async (context) => {
  const hba = [
    'host all postgres all trust',
    'hostssl all certified all cert',
    'hostssl all open_only all reject',
    'host all open_only all trust',
    'hostssl all tls_only all trust',
    'host all md5_role all md5',
    'host all scram_role all scram-sha-256',
    'host all clear_role all password',
  ];
  const server = await PostgresServer.create({ tls: true, hba });
  context.server = server;
  context.plain = await PostgresServer.create();
  context.folder = (await temporaryFolder()).path;
  await copyFile(server.rootCertificate, join(server.dataDir, 'root.crt'));
  const literal = `'${PASSWORD}'`;
  await server.query(`SET standard_conforming_strings = on;
    CREATE ROLE certified LOGIN; CREATE ROLE open_only LOGIN; CREATE ROLE tls_only LOGIN;
    SET password_encryption = 'md5'; CREATE ROLE md5_role LOGIN PASSWORD ${literal};
    SET password_encryption = 'scram-sha-256';
    CREATE ROLE scram_role LOGIN PASSWORD ${literal}; CREATE ROLE clear_role LOGIN PASSWORD ${literal};
    ALTER SYSTEM SET ssl_ca_file = 'root.crt'`);
  await server.query('SELECT pg_reload_conf()');
  await issueCertificate(dirname(server.rootCertificate), 'certified', join(context.folder, 'client'));
  await createAuthority(context.folder);
});
logins.after.each(closeOpened);
logins.after(async ({ server, plain }) => {
  await Promise.all([server?.close(), plain?.close()]);
});

function parts(context: { server?: PostgresServer; plain?: PostgresServer; folder?: string }): {
  readonly server: PostgresServer;
  readonly plain: PostgresServer;
  readonly folder: string;
} {
  const { server, plain, folder } = context;
  if (server === undefined || plain === undefined || folder === undefined) throw new Error('no servers');
  return { server, plain, folder };
}

/** Whether the probe's own connection is encrypted. */
async function isEncrypted(server: PostgresServer, settings: Partial<ProbeConfig>, target: Target): Promise<string> {
  const { prober } = watch(target, settings, () => Promise.resolve(['127.0.0.1']));
  stateOf(await prober.probe());
  const answer = await server.query(
    "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'pg-gateway'",
  );
  await prober.close();
  await eventually('the backend to end', async () => {
    return (await server.query("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pg-gateway'")) === '0';
  });
  return answer;
}

for (const user of ['md5_role', 'scram_role', 'clear_role']) {
  logins(`${user}: right, wrong, no password, and one from a file`, async (context) => {
    const { server, folder } = parts(context);
    stateOf(await probeOnce(server, { user, password: PASSWORD }));
    assert.is(failureOf(await probeOnce(server, { user, password: 'wrong' })), 'auth');
    assert.is(failureOf(await probeOnce(server, { user })), 'auth');
    const passfile = join(folder, `${user}.pgpass`);
    const escaped = PASSWORD.replace(/[\\:]/g, '\\$&');
    await writeFile(passfile, `127.0.0.1:${String(server.port)}:*:${user}:${escaped}\n`, { mode: 0o600 });
    stateOf(await probeOnce(server, { user, passfile }));
    await writeFile(passfile, `elsewhere:*:*:*:${escaped}\n`);
    assert.is(failureOf(await probeOnce(server, { user, passfile })), 'auth');
    const oneOf = { host: 'elsewhere', port: server.port, address: '127.0.0.1' };
    stateOf(await probeOnce(oneOf, { user, passfile }, () => new Promise(() => undefined)));
  });
}

logins('a role, a database and a host line that do not exist', async (context) => {
  const { server } = parts(context);
  assert.is(failureOf(await probeOnce(server, { user: 'tls_only' })), 'auth');
  assert.is(failureOf(await probeOnce(server, { database: 'nowhere' })), 'auth');
  assert.is(failureOf(await probeOnce(server, { user: undefined })), 'auth');
});

logins('nothing is taken from the environment that the configuration says otherwise', async (context) => {
  const { server } = parts(context);
  const before = process.env;
  const misleading = {
    PGPASSWORD: PASSWORD,
    PGSSLMODE: 'require',
    PGSSLNEGOTIATION: 'direct',
    PGHOST: 'no.such',
    PGOPTIONS: '-c default_transaction_read_only=on',
    PGREPLICATION: 'database',
    PGCLIENT_ENCODING: 'LATIN1',
  };
  process.env = { ...before, ...misleading };
  try {
    assert.is(failureOf(await probeOnce(server, { user: 'scram_role' })), 'auth');
    assert.is(await isEncrypted(server, {}, server), 'f');
    assert.not(stateOf(await probeOnce(server)).readOnly);
  } finally {
    process.env = before;
  }
});

logins('disable, prefer and require, with and without TLS on the server', async (context) => {
  const { server, plain } = parts(context);
  assert.is(await isEncrypted(server, { tls: { mode: 'disable' } }, server), 'f');
  assert.is(await isEncrypted(server, { tls: { mode: 'prefer' } }, server), 't');
  assert.is(await isEncrypted(server, { tls: { mode: 'require' } }, server), 't');
  assert.is(await isEncrypted(plain, { tls: { mode: 'prefer' } }, plain), 'f');
  assert.is(failureOf(await probeOnce(plain, { tls: { mode: 'require' } })), 'tls');
});

logins('prefer goes on in plain text where TLS fails or is not wanted, and only then', async (context) => {
  const { server, folder } = parts(context);
  const prefer = { tls: { mode: 'prefer' } } as const;
  assert.is(await isEncrypted(server, { ...prefer, user: 'open_only' }, server), 'f');
  const untrusting = { tls: { mode: 'prefer', rootCert: join(folder, 'root.crt') } } as const;
  assert.is(await isEncrypted(server, untrusting, server), 'f');
  const logged = server.log.length;
  assert.is(failureOf(await probeOnce(server, { ...prefer, user: 'clear_role', password: 'wrong' })), 'auth');
  assert.is(failureOf(await probeOnce(server, { database: 'last_line' })), 'auth');
  await eventually('all to be logged', () => server.log.includes('last_line'));
  const refusals = server.log.slice(logged).match(/password authentication failed/g) ?? [];
  assert.is(refusals.length, 1, 'the password was sent again, in the open');
  assert.is(failureOf(await probeOnce(server, { tls: { mode: 'require' }, user: 'open_only' })), 'auth');
});

logins('the certificate: chain and name', async (context) => {
  const { server, folder } = parts(context);
  const right = server.rootCertificate;
  const wrong = join(folder, 'root.crt');
  const named = { host: 'localhost', port: server.port };
  const other = { host: 'db.example', port: server.port };
  const address = { host: '127.0.0.1', port: server.port };
  const rooted = { host: 'localhost.', port: server.port };
  const full = { mode: 'verify-full', rootCert: right } as const;
  for (const target of [named, address, rooted]) assert.is(await isEncrypted(server, { tls: full }, target), 't');
  assert.is(await isEncrypted(server, { tls: { mode: 'verify-ca', rootCert: right } }, other), 't');
  assert.is(await isEncrypted(server, { tls: { mode: 'require', rootCert: right } }, other), 't');
  const lookup: Lookup = () => Promise.resolve(['127.0.0.1']);
  assert.is(failureOf(await probeOnce(other, { tls: full }, lookup)), 'tls');
  // One of several addresses goes by the name still, and waits for no look-up.
  const oneOf = { ...other, address: '127.0.0.1' };
  const never: Lookup = () => new Promise(() => undefined);
  assert.is(failureOf(await probeOnce(oneOf, { tls: full }, never)), 'tls');
  stateOf(await probeOnce({ ...oneOf, host: 'localhost' }, { tls: full }, never));
  for (const mode of ['require', 'verify-ca', 'verify-full'] as const) {
    assert.is(failureOf(await probeOnce(named, { tls: { mode, rootCert: wrong } }, lookup)), 'tls', mode);
    assert.is(
      failureOf(await probeOnce(named, { tls: { mode, rootCert: join(folder, 'none') } }, lookup)),
      'tls',
      mode,
    );
    assert.is(failureOf(await probeOnce(named, { tls: { mode, rootCert: server.dataDir } }, lookup)), 'tls', mode);
  }
  // Nobody's root signed a certificate of this test's.
  assert.is(failureOf(await probeOnce(named, { tls: { mode: 'verify-full', rootCert: 'system' } }, lookup)), 'tls');
});

logins('renewed certificates count from the next connection on', async (context) => {
  const { server, folder } = parts(context);
  const rootCert = join(folder, 'changing.crt');
  await copyFile(join(folder, 'root.crt'), rootCert);
  const { prober } = watch(server, { tls: { mode: 'verify-ca', rootCert } });
  assert.is(failureOf(await prober.probe()), 'tls');
  await copyFile(server.rootCertificate, rootCert);
  stateOf(await prober.probe());
});

logins('a client certificate', async (context) => {
  const { server, folder } = parts(context);
  const cert = join(folder, 'client.crt');
  const key = join(folder, 'client.key');
  const tls = { mode: 'verify-full', rootCert: server.rootCertificate, cert, key } as const;
  stateOf(await probeOnce(server, { user: 'certified', tls }));
  assert.is(failureOf(await probeOnce(server, { user: 'certified', tls: { mode: 'require' } })), 'auth');
  assert.is(failureOf(await probeOnce(server, { user: 'scram_role', tls })), 'auth');
  assert.is(
    failureOf(await probeOnce(server, { user: 'certified', tls: { ...tls, key: join(folder, 'root.key') } })),
    'tls',
  );
});

logins.run();
