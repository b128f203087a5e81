// SPDX-License-Identifier: MIT
// `--check-config --probe` and `--print-hba` in front of real servers: what they print,
// word for word but for what differs each time; and that what they advise helps.

import { appendFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { encodeCluster } from '#src/cluster-file.js';
import { parseToml } from '#src/config.js';
import { run } from '../helpers/child.js';
import type { Ended } from '../helpers/child.js';
import { MAIN, PROGRAM_ENV, temporaryFolder } from '../helpers/paths.js';
import type { TemporaryFolder } from '../helpers/paths.js';
import { freePort } from '../helpers/ports.js';
import { createCluster, PostgresServer } from '../helpers/postgres.js';
import type { Cluster } from '../helpers/postgres.js';
import { query } from '../helpers/psql.js';
import { assert, suite } from '../helpers/suite.js';
import { eventually } from '../helpers/wait.js';

const PASSWORD = 'hunter2-swordfish';

const test = suite('check of the configuration');
let cluster: Cluster;
let foreign: PostgresServer;
let folder: TemporaryFolder;
/** Nothing listens there. */
let nowhere: string;

const ROLES = `
  SET password_encryption = 'scram-sha-256';
  CREATE ROLE probe LOGIN PASSWORD '${PASSWORD}' IN ROLE pg_read_all_stats;
  CREATE ROLE plain LOGIN PASSWORD '${PASSWORD}' VALID UNTIL '2000-01-01';
  CREATE ROLE stranger LOGIN PASSWORD '${PASSWORD}' IN ROLE pg_read_all_stats;
  CREATE ROLE sleeper NOLOGIN`;

test.before(async () => {
  const hba = [
    'host all postgres all trust',
    'host replication all all trust',
    'hostnossl all sleeper all trust',
    'hostnossl all nobody all trust',
    'hostnossl all plain all trust',
    'host all identified all ident',
    'host all rejected all reject',
    'host all probe all scram-sha-256',
  ];
  const settings = { max_connections: '60', superuser_reserved_connections: '5' };
  cluster = await createCluster(1, { tls: true, hba, settings });
  foreign = await PostgresServer.create({ foreign: true });
  await cluster.primary.query(ROLES);
  await cluster.primary.query('CREATE DATABASE locked');
  for (const standby of cluster.standbys) await standby.caughtUp(cluster.primary);
  folder = await temporaryFolder();
  nowhere = `127.0.0.1:${await freePort()}`;
});

test.after(async () => {
  await Promise.all([cluster.close(), foreign.close(), folder.close()]);
});

/** The program without any configuration but this. */
async function program(args: readonly string[], env: Readonly<Record<string, string>>): Promise<Ended> {
  const ended = await run([process.execPath, MAIN, '--config', '/dev/null', ...args], {
    env: {
      PATH: process.env['PATH'],
      HOME: '/nonexistent',
      PGUSER: 'probe',
      PGPASSWORD: PASSWORD,
      PGSSLMODE: 'disable',
      MAX_CONNECTIONS: '40',
      LISTEN_HOST: '127.0.0.1',
      CONNECT_TIMEOUT_MS: '20000',
      QUERY_TIMEOUT_MS: '20000',
      ...PROGRAM_ENV,
      ...env,
    },
    deadlineMs: 60_000,
  });
  assert.not.match(ended.stdout + ended.stderr, PASSWORD);
  return ended;
}

/** What differs each time, in words; the servers of the cluster by name. */
function masked(text: string): string {
  const [standby] = cluster.standbys;
  return text
    .replaceAll(cluster.primary.candidate, 'PRIMARY')
    .replaceAll(`localhost:${cluster.primary.port}`, 'LOCALHOST')
    .replaceAll(standby?.candidate ?? '', 'STANDBY')
    .replaceAll(foreign.candidate, 'FOREIGN')
    .replaceAll(nowhere, 'NOWHERE')
    .replace(/\b\d+(?:\.\d+)? ms\b/g, 'N ms')
    .replace(/\b\d{15,20}\b/g, 'ID')
    .replace(/\b\d{4}-\d\d-\d\d\b/g, 'DATE')
    .replace(/in \d+ days?/g, 'in N days')
    .replace(/PostgreSQL \d[^,]*,/g, 'PostgreSQL VERSION,')
    .replace(/(?<=[^#\s]) {2,}/g, '  ')
    .replace(/^#  {3,}/gm, (indent) => (indent.length > 14 ? '#              ' : indent));
}

/** The report that follows the configuration and the plan. */
function reportOf({ stdout }: Ended): string {
  return masked(stdout.slice(stdout.indexOf('# What the servers say:')));
}

async function probed(env: Readonly<Record<string, string>>): Promise<{ status: number | null; report: string }> {
  const ended = await program(['--check-config', '--probe'], env);
  assert.is(ended.stderr, '');
  parseToml(ended.stdout);
  return { status: ended.status, report: reportOf(ended) };
}

/** The lines to take over of the report. */
function advised(report: string): readonly string[] {
  return [...report.matchAll(/^# {11}(\S.*)$/gm)].map((match) => match[1] ?? '');
}

function bothServers(): string {
  return cluster.servers.map(({ candidate }) => candidate).join(',');
}

test('a good configuration: status 0, and nothing to say', async () => {
  const { status, report } = await probed({ CANDIDATES: bothServers() });
  assert.is(
    report,
    `# What the servers say:
#   PRIMARY  primary, timeline 1, system identifier ID, at PRIMARY
#              PostgreSQL VERSION, logged in after N ms, answered in N ms, not encrypted
#   STANDBY  standby, streaming, timeline 1, system identifier ID, at STANDBY
#              PostgreSQL VERSION, logged in after N ms, answered in N ms, not encrypted
#   verdict  PRIMARY is the primary on timeline 1

# Nothing speaks against it.
`,
  );
  assert.is(status, 0);
});

test('all that is printed is a file that gives the same configuration', async () => {
  const { stdout } = await program(['--check-config', '--probe'], { CANDIDATES: bothServers() });
  const file = join(folder.path, 'printed.toml');
  await writeFile(file, stdout);
  const again = await run([process.execPath, MAIN, '--check-config', '--config', file], {
    env: { PATH: process.env['PATH'], HOME: '/nonexistent', ...PROGRAM_ENV },
  });
  const settings = (text: string): unknown => JSON.parse(JSON.stringify(parseToml(text)));
  assert.equal(settings(again.stdout), settings(stdout));
});

test('TLS: the certificates that will end are warned of, and the status is 1', async () => {
  const root = cluster.primary.rootCertificate;
  const env = { CANDIDATES: `localhost:${cluster.primary.port}`, PGSSLMODE: 'verify-full', PGSSLROOTCERT: root };
  const ended = await program(['--check-config', '--probe'], env);
  assert.match(ended.stdout, `trusted: ${root}`);
  assert.match(ended.stdout, `root certificate ${root}: valid until`);
  const report = reportOf(ended)
    .replaceAll(root, 'ROOT')
    .replace(/LOCALHOST\/[\d.:a-f]+/g, 'LOCALHOST');
  assert.match(
    report,
    '# PostgreSQL VERSION, logged in after N ms, answered in N ms, TLSv1.3, certificate until DATE verified'.slice(2),
  );
  assert.match(report, '#   warning: ROOT: the root certificate expires on DATE, in N days.');
  assert.match(report, '#   warning: LOCALHOST: its certificate expires on DATE, in N days.');
  assert.is(ended.status, 1);
});

test('TLS: a certificate that need not be trusted is not verified, even where it happens to be', async () => {
  const { report } = await probed({
    CANDIDATES: `localhost:${cluster.primary.port}`,
    PGSSLMODE: 'prefer',
    // Debian's Node likewise trusts what lies in /etc/ssl/certs, also the certificate that ssl-cert makes for each server.
    NODE_EXTRA_CA_CERTS: cluster.primary.rootCertificate,
  });
  assert.match(report, 'TLSv1.3, certificate until DATE not verified');
});

test('TLS: a root that has signed nothing, and a name that is not in the certificate', async () => {
  const env = { CANDIDATES: bothServers(), PGSSLMODE: 'verify-full' };
  const [standby] = cluster.standbys;
  // Each has an authority of its own.
  const strange = await probed({ ...env, PGSSLROOTCERT: standby?.rootCertificate ?? '' });
  assert.match(strange.report, 'warning: PRIMARY: its certificate was signed by nobody who is trusted.');
  assert.match(strange.report, 'by probe.sslrootcert (PGSSLROOTCERT).');
  assert.is(strange.status, 69);
});

test('each way of not answering has its remedy', async () => {
  const { status, report } = await probed({
    CANDIDATES: `${cluster.primary.candidate},${nowhere}`,
    PGPASSWORD: 'wrong',
  });
  assert.is(
    report,
    `# What the servers say:
#   PRIMARY  no answer after N ms (auth): FATAL 28P01: password authentication failed for user "probe"
#   NOWHERE  no answer after N ms (refused): connect ECONNREFUSED NOWHERE
#   verdict  no primary (no-primary): no server out of recovery and writable

# 2 warnings:
#   warning: PRIMARY: it does not take the password of probe, or has no such role.
#       Remedy: see that the password (environment PGPASSWORD) is that of the role, and set it anew if in doubt; where pg_hba.conf says scram-sha-256, one that was stored for md5 has to be set anew too:
#           SET password_encryption = 'scram-sha-256';
#           \\password probe
#   warning: NOWHERE: nothing listens there.
#       Remedy: start the server, correct the port in candidates, or let it listen at this address (listen_addresses in its postgresql.conf).
`,
  );
  assert.is(status, 69);
});

/** Environment, what is said. All are refused by the server, each by another rule. */
const REFUSALS: readonly (readonly [string, Readonly<Record<string, string>>, string])[] = [
  ['no role', { PGUSER: 'nobody' }, 'there is no role nobody that may log in'],
  ['a role without LOGIN', { PGUSER: 'sleeper' }, 'there is no role sleeper that may log in'],
  ['a line that rejects', { PGUSER: 'rejected' }, 'its pg_hba.conf does not let the probes in'],
  ['another method', { PGUSER: 'identified' }, 'asks for another kind of log-in than theirs'],
  ['no database', { PGDATABASE: 'lost' }, 'it has no database lost'],
];

for (const [what, env, says] of REFUSALS) {
  test(`refused: ${what}`, async () => {
    const { status, report } = await probed({ CANDIDATES: cluster.primary.candidate, ...env });
    assert.ok(report.includes(says), report);
    assert.match(report, 'Remedy: ');
    assert.is(status, 69);
  });
}

test('the line that pg_hba.conf lacks is the one that helps', async () => {
  const { primary } = cluster;
  const env = { CANDIDATES: primary.candidate, PGUSER: 'stranger', PGSSLMODE: 'prefer' };
  const before = await probed(env);
  assert.match(before.report, 'its pg_hba.conf does not let the probes in');
  const [line = '', ...more] = advised(before.report);
  assert.equal([line, more], ['host  postgres  stranger  127.0.0.1/32  scram-sha-256', []]);
  assert.is(before.status, 69);
  await addHba(primary, line);
  await eventually('the server to take the line', async () => (await probed(env)).status !== 69);
});

test('the grant that is missing is the one that helps', async () => {
  const { primary } = cluster;
  const env = { CANDIDATES: primary.candidate, PGDATABASE: 'locked' };
  const connect = 'REVOKE CONNECT ON DATABASE locked FROM PUBLIC';
  await primary.query(connect);
  const outside = await probed(env);
  assert.match(outside.report, 'probe may not connect to the database locked');
  for (const line of advised(outside.report)) await primary.query(line);
  await inDatabase(primary, 'REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC');
  const inside = await probed(env);
  assert.ok(inside.report.includes('probe may not run what the probes ask'), inside.report);
  assert.is(inside.status, 69);
  for (const line of advised(inside.report)) await inDatabase(primary, line);
  const { status, report } = await probed(env);
  assert.is(status, 0, report);
});

test('a role is told what it lacks, and how long its password is valid', async () => {
  const { status, report } = await probed({ CANDIDATES: cluster.primary.candidate, PGUSER: 'plain' });
  assert.is(
    report.slice(report.indexOf('# 1 warning')),
    `# 1 warning, 1 note:
#   warning: PRIMARY: the password of plain has expired on DATE.
#       Remedy: set a new one, or let it be valid for ever:
#           ALTER ROLE plain VALID UNTIL 'infinity';
#   note: PRIMARY: plain may not see what a standby streams, by which a gateway without memory tells an old primary.
#       Remedy: let it see that:
#           GRANT pg_read_all_stats TO plain;
`,
  );
  assert.is(status, 1);
  for (const line of advised(report)) await cluster.primary.query(line);
  assert.is((await probed({ CANDIDATES: cluster.primary.candidate, PGUSER: 'plain' })).status, 0);
});

test('fewer places on the server than MAX_CONNECTIONS', async () => {
  const { status, report } = await probed({ CANDIDATES: cluster.primary.candidate, MAX_CONNECTIONS: '55' });
  assert.match(
    report,
    'it has places for 55 clients (max_connections = 60, 5 of them reserved), and each probe takes one',
  );
  assert.match(report, 'set sessions.max_connections (MAX_CONNECTIONS) to 54 or less');
  assert.is(status, 1);
  assert.is((await probed({ CANDIDATES: cluster.primary.candidate, MAX_CONNECTIONS: '54' })).status, 0);
});

test('two primaries of two clusters: no primary, and both reasons', async () => {
  const env = { CANDIDATES: `${cluster.primary.candidate},${foreign.candidate}`, PGUSER: 'postgres' };
  const { status, report } = await probed(env);
  assert.match(report, 'verdict  no primary (several-clusters)');
  assert.match(
    report,
    'the candidates are of different clusters, by their system identifiers: PRIMARY: ID; FOREIGN: ID',
  );
  assert.match(
    report,
    '2 servers are out of recovery, as only a primary should be: PRIMARY on timeline 1, FOREIGN on timeline 1',
  );
  assert.match(report, 'note: PRIMARY: the probes log in as a superuser, postgres');
  assert.is(status, 69);
});

test('what is remembered of the cluster has its say', async () => {
  const env = { CANDIDATES: cluster.primary.candidate, STATE_DIRECTORY: folder.path };
  const systemId = await cluster.primary.query('SELECT system_identifier FROM pg_control_system()');
  const file = join(folder.path, 'cluster.json');
  await writeFile(file, encodeCluster({ systemId, timeline: 2 }));
  const before = await readFile(file, 'utf8');
  const { status, report } = await probed(env);
  assert.match(report, 'verdict  no primary (no-primary)');
  assert.match(report, 'it claims to be the primary on timeline 1, the cluster is on 2');
  assert.match(report, 'pg-gateway --forget-cluster');
  assert.is(status, 69);
  assert.is(await readFile(file, 'utf8'), before, 'a check changes nothing');

  await writeFile(file, 'damaged');
  const damaged = await program(['--check-config', '--probe'], env);
  assert.is(damaged.status, 78);
  assert.match(damaged.stderr, 'STATE_INVALID');
});

test('a server that does not answer costs no more than its time limits', async () => {
  const [standby] = cluster.standbys;
  standby?.freeze();
  try {
    const { status, report } = await probed({ CANDIDATES: bothServers(), CONNECT_TIMEOUT_MS: '1500' });
    assert.match(report, '#   STANDBY  no answer after N ms (connect_timeout): no log-in within N ms');
    assert.match(report, 'raise probe.connect_timeout_ms (CONNECT_TIMEOUT_MS)');
    assert.match(report, 'verdict  PRIMARY is the primary on timeline 1');
    assert.is(status, 1);
  } finally {
    standby?.thaw();
  }
});

test('a name that cannot be looked up is told once', async () => {
  const env = { CANDIDATES: `${cluster.primary.candidate},db.invalid` };
  const plain = await program(['--check-config'], env);
  assert.is(plain.status, 0);
  assert.match(plain.stdout, /^# +db\.invalid:5432 {2}cannot be looked up: \w/m);
  const { status, report } = await probed(env);
  assert.is(report.match(/warning: /g)?.length, 1, report);
  assert.match(report, /warning: db\.invalid: it cannot be looked up: \w.*\n# +Remedy: correct it in candidates/);
  assert.is(status, 1);
});

test('--quiet prints nothing of a good configuration, and looks up nothing', async () => {
  const ended = await program(['--check-config', '--quiet'], { CANDIDATES: 'db.invalid' });
  assert.equal([ended.status, ended.stdout, ended.stderr], [0, '', '']);
  assert.is((await program(['--check-config', '--quiet'], { CANDIDATES: 'db1:x' })).status, 78);
});

test('--print-hba has the role, and a line by what each server sees of this machine', async () => {
  const candidates = [cluster.primary.candidate, foreign.candidate, nowhere, 'db.invalid'];
  const { status, stdout, stderr } = await program(['--print-hba'], {
    CANDIDATES: candidates.join(','),
    PGUSER: 'new role',
    PGSSLMODE: 'require',
  });
  assert.equal([status, stderr], [0, '']);
  assert.is(
    masked(stdout),
    `-- The role of the probes: in psql on the primary, as a superuser. Standbys get
-- it from there.
SET password_encryption = 'scram-sha-256';
CREATE ROLE "new role" LOGIN;
-- Asks for the password, which so is in no log and no history.
\\password "new role"
-- Not needed: it lets the gateway see which timeline a standby streams.
GRANT pg_read_all_stats TO "new role";

# pg_hba.conf: of each server, above lines that catch the same; then SELECT
# pg_reload_conf();
# PRIMARY: the address is the one that the server sees.
hostssl  postgres  "new role"  127.0.0.1/32  scram-sha-256
# FOREIGN, NOWHERE: the address is the one that this machine would use; behind NAT the server sees another.
hostssl  postgres  "new role"  127.0.0.1/32  scram-sha-256
# db.invalid:5432: where the gateway comes from could not be told: put its address in the place of GATEWAY_ADDRESS/32.
hostssl  postgres  "new role"  GATEWAY_ADDRESS/32  scram-sha-256
# Clients of the gateway come from there too: they need lines of their own, by a
# password or a certificate, never by trust.
`,
  );
  // The server understands it: the role logs in by it.
  const { primary } = cluster;
  const [line = ''] = /^hostssl .*$/m.exec(stdout) ?? [];
  await addHba(primary, line);
  await primary.query(`SET password_encryption = 'scram-sha-256'; CREATE ROLE "new role" LOGIN PASSWORD '${PASSWORD}'`);
  const env = { CANDIDATES: primary.candidate, PGUSER: 'new role', PGSSLMODE: 'require' };
  await eventually('the server to take the line', async () => (await probed(env)).status !== 69);
});

async function addHba(server: PostgresServer, line: string): Promise<void> {
  await appendFile(join(server.dataDir, 'pg_hba.conf'), `${line}\n`);
  await server.query('SELECT pg_reload_conf()');
  assert.is(await server.query('SELECT error FROM pg_hba_file_rules WHERE error IS NOT NULL'), '');
}

/** In the database `locked`, as the superuser. */
async function inDatabase(server: PostgresServer, sql: string): Promise<void> {
  await query({ host: server.host, port: server.port, env: { PGDATABASE: 'locked' } }, sql);
}

test.run();
