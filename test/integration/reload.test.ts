// SPDX-License-Identifier: MIT
// SIGHUP: what a new configuration changes, and that it never touches a session before another primary is proven.

import { withGateway } from '../helpers/gateway.js';
import type { Gateway, GatewayOptions } from '../helpers/gateway.js';
import { PgSession } from '../helpers/pg-session.js';
import { freePort } from '../helpers/ports.js';
import { createCluster } from '../helpers/postgres.js';
import type { Cluster } from '../helpers/postgres.js';
import { keptAlive } from '../helpers/processes.js';
import { clientProgram, psql, query } from '../helpers/psql.js';
import { assert, suite } from '../helpers/suite.js';
import { eventually, observeFor } from '../helpers/wait.js';

const WHERE = 'SELECT inet_server_port()';
const RELOADS = 'pg_gateway_config_reloads_total';
const PROBES = 'pg_gateway_probe_duration_seconds_count';
const UNDER_LOAD = 20;

const test = suite('reload');
let cluster: Cluster;

/** Without the settings in the environment, which would win against those in the file. */
function gatewayOfFile(
  config: string,
  use: (gateway: Gateway) => Promise<void>,
  options: GatewayOptions = {},
): Promise<void> {
  const env = { LISTEN_HOST: undefined, LISTEN_PORT: undefined, CHECK_EVERY: undefined };
  return withGateway({ config, ...options, env }, use);
}

interface Settings {
  readonly servers: readonly { readonly candidate: string }[];
  readonly checkEvery?: number;
  readonly level?: string;
  readonly port?: number;
  readonly keepalive?: boolean;
  readonly cutPolicy?: 'proof' | 'eager';
}

function toml({
  servers,
  checkEvery = 0.2,
  level = 'info',
  port = 0,
  keepalive = true,
  cutPolicy = 'proof',
}: Settings): string {
  return [
    `candidates = ${JSON.stringify(servers.map(({ candidate }) => candidate))}`,
    `[listen]\nhost = "127.0.0.1"\nport = ${port}`,
    `[sessions]\ntcp_keepalive = ${keepalive}`,
    `[failover]\ncut_policy = "${cutPolicy}"`,
    `[probe]\ncheck_every = ${checkEvery}`,
    `[log]\nlevel = "${level}"\n`,
  ].join('\n');
}

/** Writes the file, sends SIGHUP, and waits until the result is counted. */
async function reload(gateway: Gateway, config: string, result: 'ok' | 'rejected' = 'ok'): Promise<void> {
  const before = (await gateway.samples()).get(RELOADS, { result });
  await gateway.configure(config);
  gateway.kill('SIGHUP');
  await gateway.metric(RELOADS, { result }, (value) => value === before + 1);
}

test.before(async () => {
  cluster = await createCluster(2);
});

test.after(async () => {
  await cluster.close();
});

test('a standby is added and removed: its series come and go, a session does not notice', async () => {
  const { primary, standbys } = cluster;
  const [standby] = standbys;
  assert.ok(standby);
  await gatewayOfFile(toml({ servers: [primary] }), async (gateway) => {
    const session = await PgSession.open(gateway.clients);
    const labels = { server: standby.candidate };
    assert.is((await gateway.samples()).value('pg_gateway_server_up', labels), undefined);

    await reload(gateway, toml({ servers: [primary, standby] }));
    await gateway.metric('pg_gateway_server_role', { ...labels, role: 'standby' }, (value) => value === 1);
    assert.is((await gateway.samples()).get('pg_gateway_servers_total'), 2);

    await reload(gateway, toml({ servers: [primary] }));
    const samples = await gateway.samples();
    assert.is(samples.get('pg_gateway_servers_total'), 1);
    for (const name of ['pg_gateway_server_up', PROBES, 'pg_gateway_server_sessions']) {
      assert.is(samples.value(name, labels), undefined, `${name} of the removed one`);
    }
    await eventually('the connection of the probes to be closed', async () => {
      const probes = 'SELECT count(*) FROM pg_stat_activity WHERE client_port > 0 AND pid <> pg_backend_pid()';
      return (await standby.query(probes)) === '0';
    });
    assert.equal(await session.query(WHERE), [String(primary.port)]);
    assert.is(samples.get('pg_gateway_epoch'), 1);
    assert.is(gateway.lines.filter(({ message }) => message === 'STATE CHANGE').length, 1);
    session.close();
  });
});

test('how often to probe and what to log change at once', async () => {
  const servers = [cluster.primary];
  await gatewayOfFile(toml({ servers, checkEvery: 3600 }), async (gateway) => {
    const calm = (await gateway.samples()).get(PROBES);
    const hasDebug = (): boolean => gateway.lines.some(({ level }) => level === 'debug');
    await observeFor(500);
    assert.is((await gateway.samples()).get(PROBES), calm, 'no probe before its time');
    assert.not(hasDebug());

    await reload(gateway, toml({ servers, checkEvery: 0.05, level: 'debug' }));
    await gateway.metric(PROBES, {}, (value) => value >= calm + 5);

    await reload(gateway, toml({ servers, checkEvery: 3600, level: 'err' }));
    const lines = gateway.lines.length;
    await reload(gateway, toml({ servers, checkEvery: 3600, level: 'err' }));
    assert.is(gateway.lines.length, lines, 'what is below the level is not logged');
    assert.is((await gateway.samples()).get('pg_gateway_has_primary'), 1);
  });
});

test('TCP keepalive, on both sides of a session, changes for those that come later', async () => {
  const servers = [cluster.primary];
  await gatewayOfFile(toml({ servers, checkEvery: 3600 }), async (gateway) => {
    const probes = keptAlive(gateway.pid);
    const first = await PgSession.open(gateway.clients);
    await eventually('two more with keepalive', () => keptAlive(gateway.pid) === probes + 2);

    await reload(gateway, toml({ servers, checkEvery: 3600, keepalive: false }));
    const second = await PgSession.open(gateway.clients);
    await eventually('no timer but those there were', () => keptAlive(gateway.pid) === probes + 2);
    // Closed one after the other: the first alone gives some back.
    second.close();
    await gateway.metric('pg_gateway_connections_active', {}, (value) => value === 1);
    await eventually('none to have gone', () => keptAlive(gateway.pid) === probes + 2);
    first.close();
    await gateway.metric('pg_gateway_connections_active', {}, (value) => value === 0);
    await eventually('both to have gone', () => keptAlive(gateway.pid) === probes);
  });
});

const BAD: readonly (readonly [string, (good: string) => string, readonly RegExp[]])[] = [
  ['no TOML', () => 'candidates = [', [/pg-gateway\.toml/]],
  ['no candidate', () => 'candidates = []', [/pg-gateway\.toml.*candidates/]],
  [
    'several errors',
    (good) =>
      good.replace(/check_every = .*/, 'check_every = -1\nsurprise = 1').replace(/level = .*/, 'level = "loud"'),
    [/probe\.check_every.*-1/, /surprise/, /log\.level.*loud/],
  ],
];
for (const [what, spoil, expected] of BAD) {
  test(`rejected whole, each problem on a line of its own: ${what}`, async () => {
    const good = toml({ servers: [cluster.primary] });
    await gatewayOfFile(good, async (gateway) => {
      const session = await PgSession.open(gateway.clients);
      await reload(gateway, spoil(good), 'rejected');
      const problems = gateway.lines.filter(({ fields }) => fields.get('code') === 'CONFIG_INVALID');
      assert.is(problems.length, expected.length, gateway.log);
      for (const problem of expected) {
        assert.ok(
          problems.some(({ message, level }) => level === 'err' && problem.test(message)),
          `${String(problem)} in ${gateway.log}`,
        );
      }
      assert.equal(await session.query('SELECT 1'), ['1']);
      assert.is(await query(gateway.clients, WHERE), String(cluster.primary.port));
      await reload(gateway, good);
      session.close();
    });
  });
}

test('what is cut changes at once, also for an outage that has begun', async () => {
  const servers = [cluster.primary];
  await gatewayOfFile(toml({ servers }), async (gateway) => {
    const session = await PgSession.open(gateway.clients);
    cluster.primary.freeze();
    try {
      await gateway.primaryIs('none');
      assert.is(session.raw.end, 'open', 'a server that is silent loses no session');
      await reload(gateway, toml({ servers, cutPolicy: 'eager' }));
      await gateway.metric('pg_gateway_sessions_cut_total', { reason: 'lost' }, (value) => value === 1);
      await session.ended();
    } finally {
      cluster.primary.thaw();
      session.close();
    }
  });
});

test('another port waits for a restart: one warning each time, and the old port stays', async () => {
  const settings = { servers: [cluster.primary] };
  await gatewayOfFile(toml(settings), async (gateway) => {
    const { port } = gateway.clients;
    const other = await freePort();
    for (let times = 1; times <= 2; times += 1) {
      await reload(gateway, toml({ ...settings, port: other }));
      const warnings = gateway.lines.filter(({ level }) => level === 'warning');
      assert.equal(
        warnings.map(({ message, fields }) => [message, fields.get('keys')]),
        Array.from({ length: times }, () => ['these settings change only by a restart', 'listen.port']),
      );
    }
    assert.is(await query({ host: '127.0.0.1', port }, WHERE), String(cluster.primary.port));
    assert.is((await psql({ host: '127.0.0.1', port: other }, WHERE)).status, 2);
  });
});

test(`${UNDER_LOAD} reloads under load touch no session`, async () => {
  const { primary, servers } = cluster;
  const init = await clientProgram(primary, 'pgbench', ['-i', '-q', '-s', '4']);
  assert.is(init.status, 0, init.stderr);
  await gatewayOfFile(toml({ servers }), async (gateway) => {
    const session = await PgSession.open(gateway.clients);
    let reloading = true;
    const load = async (): Promise<void> => {
      while (reloading) {
        const { status, stdout, stderr } = await clientProgram(gateway.clients, 'pgbench', [
          '-n',
          '-c',
          '4',
          '-T',
          '2',
        ]);
        assert.is(status, 0, stderr);
        assert.match(stdout, 'number of failed transactions: 0 ');
      }
    };
    const loaded = load();
    try {
      await gateway.metric('pg_gateway_connections_active', {}, (value) => value === 5);
      for (let done = 0; done < UNDER_LOAD; done += 1) {
        const odd = done % 2 === 1;
        await reload(gateway, toml({ servers: odd ? servers : [primary], checkEvery: odd ? 0.2 : 0.1 }));
      }
    } finally {
      reloading = false;
      await loaded;
    }
    assert.equal(await session.query(WHERE), [String(primary.port)]);
    const samples = await gateway.samples();
    assert.is(samples.get(RELOADS, { result: 'ok' }), UNDER_LOAD);
    assert.is(samples.get('pg_gateway_sessions_cut_total'), 0);
    assert.is(samples.get('pg_gateway_clients_rejected_total'), 0);
    assert.is(samples.get('pg_gateway_epoch'), 1);
    session.close();
  });
});

// The last one: it leaves two servers that are primaries.
test('a removed primary keeps its sessions until another server is proven primary', async () => {
  const { primary, standbys } = cluster;
  const [next] = standbys;
  assert.ok(next);
  await gatewayOfFile(toml({ servers: [primary, next] }), async (gateway) => {
    const session = await PgSession.open(gateway.clients);
    await reload(gateway, toml({ servers: [next] }));
    await gateway.primaryIs('none');
    const refused = await psql(gateway.clients, WHERE);
    assert.is(refused.status, 2);
    assert.match(refused.stderr, 'FATAL:  no PostgreSQL primary is available');
    await observeFor(500);
    assert.equal(await session.query(WHERE), [String(primary.port)], 'it goes on where it is');
    assert.is((await gateway.samples()).get('pg_gateway_connections_active'), 1);

    await next.promote();
    await session.ended();
    await gateway.primaryIs(next.candidate);
    assert.is(await query(gateway.clients, WHERE), String(next.port));
    const samples = await gateway.samples();
    assert.is(samples.get('pg_gateway_sessions_cut_total', { reason: 'superseded' }), 1);
    assert.is(samples.get('pg_gateway_sessions_cut_total'), 1);
    session.close();
  });
});

test.run();
