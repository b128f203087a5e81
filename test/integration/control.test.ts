// SPDX-License-Identifier: MIT
// The control socket and pg-gatewayctl, before real servers: each command, what it prints
// and how it ends.

import { chmod } from 'node:fs/promises';

import type { FailoversDocument, StatusDocument } from '#src/control/documents.js';
import { ActivatedGateway } from '../helpers/activated-gateway.js';
import { ControlledGateway, runCtl, withCluster } from '../helpers/ctl.js';
import { KeptGateway } from '../helpers/kept-gateway.js';
import { temporaryFolder } from '../helpers/paths.js';
import { PgSession } from '../helpers/pg-session.js';
import { createCluster } from '../helpers/postgres.js';
import type { Cluster } from '../helpers/postgres.js';
import { query } from '../helpers/psql.js';
import type { Target } from '../helpers/psql.js';
import { assert, suite } from '../helpers/suite.js';
import { eventually, observeFor } from '../helpers/wait.js';

const test = suite('control');
/** Of Debian. */
const NOBODY = 65_534;

/** What differs from one run to the next has a name, and columns are one space apart. */
function masked(text: string, cluster: Cluster): string[] {
  let out = text.replaceAll(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z/gu, 'TIME');
  cluster.servers.forEach(({ candidate }, at) => {
    out = out.replaceAll(candidate, at === 0 ? 'PRIMARY' : 'STANDBY');
  });
  return out
    .replaceAll(/process \d+/gu, 'process PID')
    .replaceAll(/\d+\.\d ms/gu, 'N ms')
    .replaceAll(/\+? *-?\d+\.\d +ms/gu, ' N ms')
    .replaceAll(/\b\d+(?:\.\d)? s\b/gu, 'N s')
    .replaceAll(/127\.0\.0\.1:\d+/gu, 'CLIENT')
    .replaceAll(/of \d+ at most/gu, 'of LIMIT at most')
    .replaceAll(/\b\d+(?:\.\d)? k?B\b/gu, 'BYTES')
    .split('\n')
    .map((line) => line.trim().replaceAll(/ +/gu, ' '))
    .filter((line) => line !== '');
}

/** Waits for a connection as long as a test may take. */
function patient(target: Target): Target {
  return { ...target, env: { PGCONNECT_TIMEOUT: '110' } };
}

test('status: on a good day, with a standby down, without a primary, and when nobody can be asked', async () => {
  await withCluster({}, async (cluster, controlled) => {
    const session = await PgSession.open(controlled.gateway.clients);
    const good = await controlled.ctl('status');
    assert.equal(masked(good.stdout, cluster), [
      'OK pg-gateway 0.1.0, up N s, process PID',
      'primary PRIMARY on timeline 1 for N s: first-primary',
      'clients 1 session, 0 waiting, of LIMIT at most',
      'sessions they end with the process',
      'SERVER ROLE TL LAG SESSIONS PROBE SEEN FOR ADDRESS',
      'PRIMARY primary 1 - 1 N ms N s ago N s PRIMARY',
      'STANDBY standby 1 BYTES 0 N ms N s ago N s STANDBY',
    ]);
    assert.equal([good.status, good.stderr], [0, '']);

    await cluster.standbys[0]?.stop('immediate');
    await eventually('the standby to be seen down', async () => {
      const { servers, health } = await controlled.status();
      return health === 'warning' && servers[1]?.reason === 'refused';
    });
    const fair = await controlled.ctl('status');
    assert.is(fair.status, 1);
    assert.match(masked(fair.stdout, cluster).at(-1) ?? '', /^! STANDBY is down \(refused\): /u);

    await cluster.primary.stop('immediate');
    await controlled.gateway.primaryIs('none');
    const bad = await controlled.ctl('status');
    assert.is(bad.status, 2);
    assert.match(bad.stdout, /^CRITICAL /u);
    const json = await controlled.ctl('status', '--json');
    assert.is(json.status, 2);
    const document = JSON.parse(json.stdout) as StatusDocument;
    assert.equal([document.health, document.primary], ['critical', null]);

    session.close();
    await controlled.gateway.stop();
    const gone = await controlled.ctl('status', '--json');
    assert.is(gone.status, 3);
    assert.match(gone.stdout, /"code": "CONTROL_UNREACHABLE"/u);
    assert.match(gone.stderr, /^pg-gatewayctl: CONTROL_UNREACHABLE: cannot ask the gateway at /u);
  });
});

test('sessions: who is behind client_port of pg_stat_activity, and what else can be asked for', async () => {
  await withCluster({ env: { NUM_THREADS: '2' } }, async (cluster, controlled) => {
    const sessions: PgSession[] = [];
    for (let count = 0; count < 3; count += 1) sessions.push(await PgSession.open(controlled.gateway.clients));
    const [session] = sessions;
    assert.ok(session);
    const [port = ''] = await session.query('SELECT inet_client_port()');

    const all = await controlled.ctl('sessions');
    assert.is(all.status, 0);
    const lines = masked(all.stdout, cluster);
    assert.is(lines[0], 'ID STATE CLIENT SERVER PORT AGE IDLE SENT RECEIVED');
    assert.is(lines.length, 5);
    for (const line of lines.slice(1, 4)) {
      assert.match(line, /^\d+ (?:open|starting) CLIENT PRIMARY \d+ N s N s BYTES BYTES$/u);
    }
    assert.is(lines[4], '3 sessions');

    const { sessions: found, matching } = await controlled.sessions('--port', port);
    assert.is(matching, 1);
    const [one] = found;
    assert.ok(one);
    assert.is(one.source_port, Number(port));
    assert.is(one.server, cluster.primary.candidate);
    assert.ok(one.bytes_client_to_server > 0 && one.bytes_server_to_client > 0);
    const same = await controlled.sessions('--client', `127.0.0.1:${one.client_port}`);
    assert.equal(
      same.sessions.map(({ id }) => id),
      [one.id],
    );
    const counts: readonly (readonly [args: readonly string[], matching: number, listed: number])[] = [
      [['--server', cluster.primary.candidate], 3, 3],
      [['--server', cluster.standbys[0]?.candidate ?? ''], 0, 0],
      [['--client', '127.0.0.1'], 3, 3],
      [['--client', '127.0.0.2'], 0, 0],
      [['--limit', '2'], 3, 2],
      [['--idle', '3600'], 0, 0],
    ];
    for (const [args, expected, listed] of counts) {
      const answer = await controlled.sessions(...args);
      assert.equal([answer.matching, answer.sessions.length], [expected, listed], args.join(' '));
    }
    const unknown = await controlled.ctl('sessions', '--server', 'nobody');
    assert.is(unknown.status, 64);
    assert.match(unknown.stderr, /^pg-gatewayctl: CONTROL_REQUEST: server: "nobody" is none of /u);
    for (const other of sessions) other.close();
    await eventually('them to be gone', async () => (await controlled.sessions()).matching === 0);
  });
});

test('sessions --limit: the oldest of all workers, though younger ones have the first places', async () => {
  await withCluster(
    { env: { NUM_THREADS: '2' } },
    async (_, controlled) => {
      const come = async (count: number): Promise<PgSession[]> => {
        const sessions: PgSession[] = [];
        while (sessions.length < count) sessions.push(await PgSession.open(controlled.gateway.clients));
        return sessions;
      };
      const ids = async (...args: readonly string[]): Promise<number[]> =>
        (await controlled.sessions(...args)).sessions.map(({ id }) => id);
      const early = await come(10);
      const stay = await come(6);
      const oldest = (await ids()).slice(10, 14);
      for (const session of early) session.close();
      await eventually('the early ones to be gone', async () => (await controlled.sessions()).matching === 6);
      const late = await come(10);
      assert.equal(await ids('--limit', '4'), oldest);
      for (const session of [...stay, ...late]) session.close();
    },
    0,
  );
});

test('kill: the session ends on both sides and is counted, others go on, who is not there is told', async () => {
  await withCluster({}, async (cluster, controlled) => {
    const victim = await PgSession.open(controlled.gateway.clients);
    const other = await PgSession.open(controlled.gateway.clients);
    const [port = ''] = await victim.query('SELECT inet_client_port()');
    const id = String((await controlled.sessions('--port', port)).sessions[0]?.id);
    const killed = await controlled.ctl('kill', id);
    assert.equal([killed.status, killed.stdout], [0, '1 session ended.\n']);
    assert.is.not(await victim.ended(), 'open');
    await eventually('the server to have noticed', async () => {
      const left = await cluster.primary.query(`SELECT count(*) FROM pg_stat_activity WHERE client_port = ${port}`);
      return left === '0';
    });
    assert.equal(await other.query('SELECT 1'), ['1']);
    await controlled.gateway.metric('pg_gateway_sessions_cut_total', { reason: 'killed' }, (value) => value === 1);
    await controlled.gateway.logged('administrator: sessions were ended', { killed: id });

    const again = await controlled.ctl('kill', id);
    assert.equal([again.status, again.stdout], [1, '0 sessions ended.\n']);
    assert.is(again.stderr, `pg-gatewayctl: SESSION_UNKNOWN: there is no session ${id}\n`);
    other.close();
  });
});

test('hold and release: new clients wait, also where nobody else would, and sessions go on', async () => {
  await withCluster({}, async (cluster, controlled) => {
    const { gateway } = controlled;
    const session = await PgSession.open(gateway.clients);
    const held = await controlled.ctl('hold', '--for', '300');
    assert.is(held.status, 0);
    assert.equal(masked(held.stdout, cluster), ['New clients wait until "release", or until TIME. Sessions go on.']);
    const waiting = query(patient(gateway.clients), 'SELECT 2');
    await gateway.metric('pg_gateway_clients_held', {}, (value) => value === 1);
    assert.is((await gateway.samples()).get('pg_gateway_holding'), 1);
    assert.equal(await session.query('SELECT 1'), ['1']);
    const listed = (await controlled.sessions()).sessions.map(({ state, server }) => [state, server]);
    assert.equal(listed, [
      ['open', cluster.primary.candidate],
      ['held', null],
    ]);
    const status = await controlled.ctl('status');
    assert.is(status.status, 1);
    assert.match(status.stdout, /^hold {6}new clients wait; it ends by itself in \d min \d+ s$/mu);

    // A reload leaves it alone.
    assert.is((await controlled.ctl('reload')).status, 0);
    assert.is((await controlled.status()).clients.held, 1);
    const released = await controlled.ctl('release');
    assert.equal([released.status, released.stdout], [0, 'Clients are no longer held.\n']);
    assert.is(await waiting, '2');
    assert.is((await controlled.ctl('release')).stdout, 'There was no hold.\n');
    assert.is((await controlled.status()).health, 'ok');
    assert.is((await gateway.samples()).get('pg_gateway_holding'), 0);
    session.close();
  });
});

test('who waited while a hold lasted waits on for a primary when it has ended', async () => {
  await withCluster({ env: { HOLD_TIMEOUT_MS: '3000' } }, async (cluster, controlled) => {
    const [standby] = cluster.standbys;
    assert.ok(standby);
    assert.is((await controlled.ctl('hold', '--for', '300')).status, 0);
    const waiting = query(patient(controlled.gateway.clients), 'SELECT inet_server_port()');
    await controlled.gateway.metric('pg_gateway_clients_held', {}, (value) => value === 1);
    const begun = performance.now();
    await cluster.primary.crash();
    await controlled.gateway.primaryIs('none');
    await observeFor(3500 - (performance.now() - begun));
    assert.is((await controlled.ctl('release')).status, 0);
    assert.is((await controlled.status()).clients.held, 1, 'it has waited for longer than HOLD_TIMEOUT_MS');
    await standby.promote();
    assert.is(await waiting, String(standby.port));
  });
});

test('a hold ends by itself; a failover meanwhile is followed, and told with its steps', async () => {
  await withCluster({ env: { HOLD_TIMEOUT_MS: undefined } }, async (cluster, controlled) => {
    const [standby] = cluster.standbys;
    assert.ok(standby);
    assert.match((await controlled.ctl('failovers')).stdout, /^No failover since /u);
    assert.is((await controlled.ctl('hold', '--for', '600')).status, 0);
    const waiting = query(patient(controlled.gateway.clients), 'SELECT inet_server_port()');
    await controlled.gateway.metric('pg_gateway_clients_held', {}, (value) => value === 1);
    await cluster.primary.crash();
    await standby.promote();
    await controlled.gateway.primaryIs(standby.candidate);
    assert.is((await controlled.status()).clients.held, 1);
    assert.is((await controlled.ctl('hold', '--for', '1')).status, 0);
    assert.is(await waiting, String(standby.port));
    await controlled.gateway.logged('clients are no longer held: the time that was given is over');

    const told = masked((await controlled.ctl('failovers')).stdout, cluster);
    assert.equal(told.slice(0, 2), [
      '1 failover since TIME',
      'TIME PRIMARY -> STANDBY, timeline 1 -> 2, decided in N ms, 0 sessions cut, 1 client held',
    ]);
    const { failovers } = JSON.parse((await controlled.ctl('failovers', '--json')).stdout) as FailoversDocument;
    const steps = failovers[0]?.steps ?? [];
    assert.equal([steps[0]?.step, ...steps.slice(-2).map(({ step }) => step)], ['doubt', 'proven', 'routed']);
    const ms = steps.map((step) => step.ms);
    assert.equal(
      ms,
      [...ms].sort((one, two) => one - two),
    );
    assert.equal((await controlled.status()).last_failover, failovers[0]);
  });
});

test('drain: nobody new comes, sessions are waited for, and then the gateway has ended', async () => {
  await withCluster({}, async (_, controlled) => {
    const session = await PgSession.open(controlled.gateway.clients);
    assert.is((await controlled.gateway.samples()).get('pg_gateway_draining'), 0);
    const late = await controlled.ctl('drain', '--timeout', '0', '--stay');
    assert.equal([late.status, late.stdout], [1, '1 session had not ended.\n']);
    const ready = await controlled.gateway.http('/readyz');
    assert.equal([ready.status, ready.body.slice(0, 10)], [503, 'draining: ']);
    assert.is((await controlled.gateway.http('/healthz')).status, 200);
    assert.is((await controlled.gateway.samples()).get('pg_gateway_draining'), 1);
    const drain = controlled.ctl('drain', '--timeout', '60');
    await controlled.gateway.logged('administrator: no new clients are accepted: waiting for sessions to end', {
      at_most_s: '60',
    });
    assert.equal(await session.query('SELECT 1'), ['1']);
    session.close();
    const { status, stdout } = await drain;
    assert.equal([status, stdout], [0, 'All sessions have ended.\n']);
    const ended = await controlled.gateway.ended;
    assert.is(ended.status, 0);
  });
});

test('reload, log-level and version', async () => {
  const cluster = await createCluster(0);
  const { candidate } = cluster.primary;
  const config = (rest: string): string => `candidates = ["${candidate}"]\n${rest}`;
  const controlled = await ControlledGateway.start({ config: config('') });
  try {
    const { gateway } = controlled;
    await gateway.configure(config('[failover]\nmax_held = 7\n[sessions]\nworkers = 2\n'));
    const good = await controlled.ctl('reload');
    assert.equal(
      [good.status, good.stdout],
      [
        0,
        'The configuration was read again. Changed: failover.max_held.\n' +
          'These settings change only by a restart: sessions.workers.\n',
      ],
    );
    await gateway.configure(config('[failover]\nmax_held = "x"\n'));
    const bad = await controlled.ctl('reload');
    assert.is(bad.status, 1);
    assert.match(bad.stdout, /^The new configuration was rejected, the old one goes on:\n {2}.*failover\.max_held/u);

    const level = await controlled.ctl('log-level', 'debug');
    assert.equal([level.status, level.stdout], [0, 'The log level is debug until the next reload; it was info.\n']);
    await query(gateway.clients, 'SELECT 1');
    await gateway.logged('session opened');
    assert.is((await controlled.status()).log_level, 'debug');
    await gateway.configure(config(''));
    assert.match((await controlled.ctl('reload')).stdout, /Changed: .*log\.level/u);
    assert.is((await controlled.ctl('log-level', 'loud')).status, 64);

    const version = await controlled.ctl('version');
    assert.match(version.stdout, /^pg-gateway 0\.1\.0, process \d+, node v\d+\.\d+\.\d+\npg-gatewayctl 0\.1\.0\n$/u);
    assert.is(version.status, 0);
  } finally {
    await controlled.close();
    await cluster.close();
  }
});

test('sessions keep their ids, ages and bytes over a restart, and a hold does not outlive the process', async () => {
  const cluster = await createCluster(0);
  const folder = await temporaryFolder();
  const socket = `${folder.path}/c.sock`;
  const kept = await KeptGateway.start({ candidates: [cluster.primary.candidate], env: { CONTROL_SOCKET: socket } });
  const ask = async (...args: readonly string[]): Promise<unknown> =>
    JSON.parse((await runCtl(socket, [...args, '--json'])).stdout);
  try {
    const session = await PgSession.open(kept.clients);
    await session.query('SELECT 1');
    const before = (await ask('sessions')) as { sessions: { id: number; bytes_server_to_client: number }[] };
    assert.is(((await ask('status')) as StatusDocument).sessions_kept, 1);
    await ask('hold', '--for', '600');
    await kept.restart('SIGKILL');
    const after = (await ask('sessions')) as typeof before;
    assert.equal(
      after.sessions.map(({ id, bytes_server_to_client: bytes }) => [id, bytes]),
      before.sessions.map(({ id, bytes_server_to_client: bytes }) => [id, bytes]),
    );
    assert.is(((await ask('status')) as StatusDocument).hold, null);
    assert.is(await query(kept.clients, 'SELECT 5'), '5');
    session.close();
  } finally {
    await kept.close();
    await folder.close();
    await cluster.close();
  }
});

test('a socket that a service manager hands over is served; who may not open it is told so', async () => {
  const cluster = await createCluster(0);
  const folder = await temporaryFolder();
  const socket = `${folder.path}/handed-over.sock`;
  const specs = ['primary=127.0.0.1:0', `control=${socket}`];
  const gateway = await ActivatedGateway.start(specs, { CANDIDATES: cluster.primary.candidate });
  try {
    await gateway.logged(' ready ');
    const status = await runCtl(socket, ['status']);
    assert.is(status.status, 0, status.stderr);
    await chmod(folder.path, 0o755);
    await chmod(socket, 0o060);
    const refused = await runCtl(socket, ['status'], process.getuid?.() === 0 ? NOBODY : undefined);
    assert.is(refused.status, 3);
    assert.match(refused.stderr, /permission denied: be root, or in the group of the socket/u);
    assert.equal(await gateway.stop(), { status: 0, listening: true });
  } finally {
    await gateway.close();
    await folder.close();
    await cluster.close();
  }
});

test.run();
