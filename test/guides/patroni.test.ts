// SPDX-License-Identifier: MIT
// PATRONI of pg-gateway-guides(7), and the move from HAProxy in front of it.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { Child, succeed } from '../helpers/child.js';
import { Gateway } from '../helpers/gateway.js';
import { temporaryFolder } from '../helpers/paths.js';
import { plainEnvironment, runAsOwner } from '../helpers/postgres-install.js';
import { freePort } from '../helpers/ports.js';
import { query, startPsql } from '../helpers/psql.js';
import type { Target } from '../helpers/psql.js';
import { assert, note, suite } from '../helpers/suite.js';
import { eventually } from '../helpers/wait.js';
import { PatroniCluster } from '../patroni/cluster.js';
import type { PatroniNode } from '../patroni/node.js';
import { AS_INSTALLED } from './gateway-host.js';
import { block, linesOf } from './page.js';

const HOST_IN_PAGE = ['10.0.0.11', '10.0.0.12', '10.0.0.13'] as const;
/** The lease of a leader is 20 seconds here; then the others have to agree. */
const FAILOVER_DEADLINE_MS = 90_000;

/** What HAProxy needs around the block. */
const HAPROXY_REST = `global
    maxconn 100

defaults
    mode tcp
    retries 2
    timeout client 30m
    timeout connect 4s
    timeout server 30m
    timeout check 5s

`;

let cluster: PatroniCluster | undefined;
let gateway: Gateway | undefined;
const test = suite('Patroni', {}, 600_000);

test.before(async () => {
  const hba = linesOf(block('patroni.yml', { '10.0.0.0/24': '127.0.0.1/32' })).flatMap((line) => {
    const entry = /^- (.*)$/u.exec(line)?.[1];
    return entry === undefined ? [] : [entry];
  });
  assert.is(hba.length, 1);
  cluster = await PatroniCluster.start({ hba });
  await (await cluster.leader()).query(block('probe.sql'));
  gateway = await startGateway(cluster, block('patroni.toml', addresses(cluster)));
});

test.after(async () => {
  await gateway?.close();
  await cluster?.close();
});

/** The addresses of the page -> those of the members. */
function addresses({ nodes }: PatroniCluster): Record<string, string> {
  return Object.fromEntries(HOST_IN_PAGE.map((host, index) => [host, nodes[index]?.candidate ?? '']));
}

async function startGateway(of: PatroniCluster, config: string): Promise<Gateway> {
  const own = { LISTEN_HOST: '127.0.0.1', LISTEN_PORT: '0', METRICS_HOST: '127.0.0.1', METRICS_PORT: '0' };
  const started = await Gateway.start({ config, env: { ...AS_INSTALLED, ...own, PGPASSWORD: 'secret' } });
  await started.primaryIs((await of.leader()).candidate);
  return started;
}

function stage(): { readonly cluster: PatroniCluster; readonly gateway: Gateway; readonly patient: Target } {
  if (cluster === undefined || gateway === undefined) throw new Error('the cluster did not start');
  return { cluster, gateway, patient: { ...gateway.clients, env: { PGCONNECT_TIMEOUT: '60' } } };
}

function portOf(node: PatroniNode): string {
  return String(node.port);
}

test('the probe logs in by its password, by the line of patroni.yml', async () => {
  const leader = await stage().cluster.leader();
  const refused = { host: leader.host, port: leader.port, env: { PGUSER: 'probe', PGPASSWORD: 'wrong' } };
  assert.match(await query(refused, 'SELECT 1').catch(String), /password authentication failed/u);
});

test('a switchover: clients are at the new primary', async () => {
  const { cluster: members, gateway: running, patient } = stage();
  const next = await members.synchronousStandby();
  const [, node] = members.nodes;
  const commands = block('patroni-switchover', {
    ' n2 ': ` ${next.name} `,
    '/etc/patroni/config.yml': node?.configFile ?? '',
  });
  assert.is(await query(patient, 'SELECT inet_server_port()'), portOf(await members.leader()));
  await runAsOwner(['sh', '-euc', commands]);
  await running.primaryIs(next.candidate, { deadlineMs: FAILOVER_DEADLINE_MS });
  assert.is(await query(patient, 'SELECT inet_server_port()'), portOf(next));
  await members.healthy();
});

test('HAProxy: its list of servers becomes that of the gateway, and both lead to the same one', async () => {
  const { cluster: members } = stage();
  const folder = await temporaryFolder();
  const port = await freePort();
  const file = join(folder.path, 'haproxy.cfg');
  const nodes = Object.fromEntries(
    members.nodes.map(({ candidate, restPort }, index) => [
      `${HOST_IN_PAGE[index] ?? ''}:5432 maxconn 100 check port 8008`,
      `${candidate} maxconn 100 check port ${restPort}`,
    ]),
  );
  await writeFile(file, HAPROXY_REST + block('haproxy.cfg', { ...nodes, '*:5000': `127.0.0.1:${port}` }));
  const haproxy = new Child(['/usr/sbin/haproxy', '-db', '-f', file], { cwd: '/', input: '' });
  const commands = block('haproxy-candidates', { '/etc/haproxy/haproxy.cfg': file });
  const line = await succeed(['sh', '-euc', commands], { env: plainEnvironment() });
  assert.is(line, `candidates = [${members.candidates.map((name) => `"${name}"`).join(', ')}]\n`);
  const moved = await startGateway(members, `${line}[probe]\nuser = "probe"\n`);
  try {
    const leader = portOf(await members.leader());
    for (const target of [{ host: '127.0.0.1', port }, moved.clients]) {
      // HAProxy takes every server for good until it has asked each of them.
      const leads = async (): Promise<boolean> => (await query(target, 'SELECT inet_server_port()')) === leader;
      await eventually(`${leader} behind port ${target.port}`, () => leads().catch(() => false));
    }
  } finally {
    await moved.close();
    await haproxy.close();
    await folder.close();
  }
});

test('the primary is killed with its Patroni: a client waits until the lease is over, and no row is lost', async () => {
  const { cluster: members, gateway: running, patient } = stage();
  const leader = await members.leader();
  const next = await members.synchronousStandby();
  await query(patient, 'CREATE TABLE written (n int); INSERT INTO written VALUES (1)');
  const start = performance.now();
  await leader.kill();
  await running.primaryIs('none');
  const psql = startPsql(
    patient,
    'INSERT INTO written VALUES (2); SELECT inet_server_port(), count(*) FROM written;\n',
  );
  await running.primaryIs(next.candidate, { deadlineMs: FAILOVER_DEADLINE_MS });
  const { status, stdout, stderr } = await psql.ended;
  assert.equal([status, stdout], [0, `${next.port}|2\n`], stderr);
  note(`a client that came when the primary was killed was served after ${Math.round(performance.now() - start)} ms`);
});

test.run();
