// SPDX-License-Identifier: MIT
// The life of the service: how it starts, what it listens on, reload, stop, exit
// statuses.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { run } from '../helpers/child.js';
import type { Ended } from '../helpers/child.js';
import { Gateway, withGateway } from '../helpers/gateway.js';
import { MAIN, PROGRAM_ENV, temporaryFolder } from '../helpers/paths.js';
import { PgSession, queryMessage } from '../helpers/pg-session.js';
import { hasIpv6 } from '../helpers/postgres-install.js';
import { createCluster } from '../helpers/postgres.js';
import type { Cluster } from '../helpers/postgres.js';
import { freePort } from '../helpers/ports.js';
import { psql, query } from '../helpers/psql.js';
import { RawClient } from '../helpers/raw-client.js';
import { assert, suite } from '../helpers/suite.js';
import { observeFor, timed } from '../helpers/wait.js';

const STOP_WITHIN_MS = 2000;

const test = suite('lifecycle');
let cluster: Cluster;

/** Runs the program to its end, without any configuration but what is given. */
function program(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ended> {
  return run([process.execPath, MAIN, ...args], {
    env: { PATH: process.env['PATH'], ...PROGRAM_ENV, ...env },
    deadlineMs: 20_000,
  });
}

function candidatesToml(candidates: readonly string[]): string {
  return `candidates = ${JSON.stringify(candidates)}\n`;
}

test.before(async () => {
  cluster = await createCluster(1);
});

test.after(async () => {
  await cluster.close();
});

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test(`${signal} ends all sessions and the program within two seconds, with status 0`, async () => {
    await withGateway({ candidates: [cluster.primary.candidate], env: { NUM_THREADS: '2' } }, async (gateway) => {
      const { clients } = gateway;
      const sessions = await Promise.all(Array.from({ length: 20 }, () => PgSession.open(clients)));
      const took = await timed(async () => {
        gateway.kill(signal);
        assert.equal((await gateway.ended).status, 0);
      });
      assert.ok(took < STOP_WITHIN_MS, `it took ${took} ms`);
      await Promise.all(sessions.map((session) => session.ended()));
      await RawClient.connect(clients).then(
        () => assert.unreachable('it still listens'),
        (error: unknown) => assert.match(String(error), 'ECONNREFUSED'),
      );
    });
  });
}

test('SIGTERM ends it though a client does not read', async () => {
  await withGateway({ candidates: [cluster.primary.candidate] }, async (gateway) => {
    const slow = await PgSession.open(gateway.clients);
    slow.raw.pause();
    slow.raw.send(queryMessage('COPY (SELECT generate_series(1, 9999999)) TO STDOUT'));
    await gateway.metric('pg_gateway_bytes_backend_to_client_total', {}, (value) => value > 1024 * 1024);
    const took = await timed(async () => {
      assert.is((await gateway.stop()).status, 0);
    });
    assert.ok(took < STOP_WITHIN_MS, `it took ${took} ms`);
    slow.close();
  });
});

test('SIGTERM ends it though no server answers and it is not ready yet', async () => {
  const gateway = await Gateway.start({
    candidates: [cluster.primary.candidate],
    env: { CONNECT_TIMEOUT_MS: '60000', QUERY_TIMEOUT_MS: '60000' },
    waitForReady: false,
  });
  try {
    cluster.primary.freeze();
    await gateway.logged('serving metrics');
    const took = await timed(async () => {
      assert.is((await gateway.stop()).status, 0);
    });
    assert.ok(took < STOP_WITHIN_MS, `it took ${took} ms`);
  } finally {
    cluster.primary.thaw();
    await gateway.close();
  }
});

test('SIGHUP while it starts counts when it has started', async () => {
  const [standby] = cluster.standbys;
  assert.ok(standby);
  const gateway = await Gateway.start({
    config: candidatesToml([cluster.primary.candidate]),
    env: { CONNECT_TIMEOUT_MS: '60000', QUERY_TIMEOUT_MS: '60000' },
    waitForReady: false,
  });
  try {
    cluster.primary.freeze();
    await gateway.logged('serving metrics');
    await gateway.configure(candidatesToml([cluster.primary.candidate, standby.candidate]));
    gateway.kill('SIGHUP');
    await observeFor(300);
    cluster.primary.thaw();
    await gateway.logged('configuration reloaded', { changed: 'candidates' });
    assert.ok(gateway.lines.some(({ message }) => message === 'ready'));
  } finally {
    cluster.primary.thaw();
    await gateway.close();
  }
});

test('SIGHUP takes new candidates into use without touching a session', async () => {
  const [standby] = cluster.standbys;
  assert.ok(standby);
  await withGateway({ config: candidatesToml([standby.candidate]) }, async (gateway) => {
    assert.is((await psql(gateway.clients, 'SELECT 1')).status, 2, 'a standby is not routed to');

    await gateway.configure(candidatesToml([standby.candidate, cluster.primary.candidate]));
    gateway.kill('SIGHUP');
    await gateway.primaryIs(cluster.primary.candidate);
    const session = await PgSession.open(gateway.clients);
    assert.is((await gateway.samples()).get('pg_gateway_servers_total'), 2);

    await gateway.configure(candidatesToml([standby.candidate]));
    gateway.kill('SIGHUP');
    await gateway.primaryIs('none');
    assert.is((await psql(gateway.clients, 'SELECT 1')).status, 2, 'the removed server is not routed to');
    assert.equal(await session.query('SELECT 1'), ['1'], 'the session on the removed server goes on');
    session.close();
  });
});

test('the addresses come from two arguments, as of old', async () => {
  const port = await freePort();
  await withGateway({ candidates: [cluster.primary.candidate], args: ['127.0.0.1', String(port)] }, async (gateway) => {
    assert.is(gateway.clients.port, port);
    assert.is(await query({ host: '127.0.0.1', port }, 'SELECT 1'), '1');
  });
});

test('"::" serves IPv4, and IPv6 where there is any', async () => {
  const hosts = ['127.0.0.1', ...((await hasIpv6()) ? ['::1'] : [])];
  const env = { LISTEN_HOST: '::', METRICS_HOST: '::' };
  await withGateway({ candidates: [cluster.primary.candidate], env }, async (gateway) => {
    const { port } = gateway.clients;
    for (const host of hosts) assert.is(await query({ host, port }, 'SELECT 1'), '1', host);
  });
});

test('it starts without a server that answers, and says so', async () => {
  await withGateway({ candidates: [`127.0.0.1:${await freePort()}`] }, async (gateway) => {
    assert.is((await gateway.http('/healthz')).status, 200);
    assert.is((await gateway.http('/readyz')).status, 503);
    assert.match((await gateway.http('/')).body, /<title>CRITICAL: No primary - pg-gateway on /);
  });
});

test('an address that is taken is status 69, and named', async () => {
  await withGateway({ candidates: [cluster.primary.candidate] }, async ({ clients }) => {
    const env = { CANDIDATES: 'db1', METRICS_PORT: '0', METRICS_HOST: '127.0.0.1' };
    const { status, stderr } = await program([clients.host, String(clients.port)], env);
    assert.is(status, 69);
    assert.match(stderr, 'LISTEN_FAILED');
    assert.match(stderr, String(clients.port));
    assert.match(stderr, 'EADDRINUSE');
  });
});

const STATUSES: readonly (readonly [string, readonly string[], Readonly<Record<string, string>>, number, RegExp])[] = [
  ['--help', ['--help'], {}, 0, /^Usage: pg-gateway/],
  ['--version', ['--version'], {}, 0, /^pg-gateway \d+\.\d+\.\d+\n$/],
  // The whole log of a service that was installed and not yet configured.
  ['no candidates', [], {}, 78, /^\S+ ERR +candidates: none are set: [^\n]*CANDIDATES[^\n]*systemctl start [^\n]*\n$/],
  ['a bad variable', [], { CANDIDATES: 'db1', LISTEN_PORT: '99999' }, 78, /LISTEN_PORT.*99999/],
  ['an unknown option', ['--surprise'], {}, 64, /--surprise/],
  ['one argument of two', ['localhost'], { CANDIDATES: 'db1' }, 64, /localhost/],
  ['a file that is not there', ['--config', '/nonexistent.toml'], {}, 78, /\/nonexistent\.toml/],
  ['--check-config, good', ['--check-config'], { CANDIDATES: 'db1, [::1]:5433' }, 0, /db1:5432/],
  ['--check-config, bad', ['--check-config'], { CANDIDATES: 'db1:x' }, 78, /CANDIDATES/],
];
for (const [what, args, env, status, says] of STATUSES) {
  test(`the exit status is ${status}: ${what}`, async () => {
    const ended = await program(args, env);
    assert.is(ended.status, status, ended.stderr);
    assert.match(status === 0 ? ended.stdout : ended.stderr, says);
  });
}

test('--check-config shows no secret', async () => {
  const folder = await temporaryFolder();
  try {
    const file = join(folder.path, 'config.toml');
    await writeFile(file, 'candidates = ["db1"]\n[probe]\npassword = "swordfish"\n');
    const fromFile = await program(['--check-config', '--config', file]);
    const fromEnv = await program(['--check-config'], { CANDIDATES: 'db1', PGPASSWORD: 'swordfish' });
    for (const { status, stdout, stderr } of [fromFile, fromEnv]) {
      assert.is(status, 0);
      assert.not.match(stdout + stderr, 'swordfish');
    }
  } finally {
    await folder.close();
  }
});

test.run();
