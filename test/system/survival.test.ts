// SPDX-License-Identifier: MIT
// Sessions outlive the gateway on a real systemd: restarts, kills, the watchdog, a
// crash, an upgrade, systemd's own restart. Nothing fails, every byte is there.

import { randomInt } from 'node:crypto';

import type { Child } from '../helpers/child.js';
import { testFile } from '../helpers/paths.js';
import { assert, note, suite } from '../helpers/suite.js';
import { eventually, observeFor, within } from '../helpers/wait.js';
import { Cluster } from './cluster.js';
import {
  bootWithGateway,
  install,
  mainPid,
  NEWER_PACKAGE_VARIABLE,
  restarted,
  samples,
  SERVICE,
  SOCKET,
  threads,
  WORKER,
} from './gateway-package.js';
import type { Machine } from './machine.js';

const RESTARTS = 10;
const KILLS = 20;
const IDLE_SESSIONS = 1000;
const FAULT = '/root/thread-fault.py';
/** Each opened and closed at once: so many, or as many as the time is enough for. */
const SHORT_SESSIONS = { most: 10_000, least: 500, seconds: 60 };
/** No new connections among them: restart.test.ts has those, and what a kill may do to one. */
const WORK = ['pgbench', 'out', 'in', 'tls', 'listen'] as const;

const PREPARE = `
version=$(ls /usr/lib/postgresql)
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost \\
  -keyout /root/server.key -out /root/server.crt 2>/dev/null
install -o postgres -m 600 /root/server.key /root/server.crt "/var/lib/postgresql/$version/primary"
psql="psql -XAtq -v ON_ERROR_STOP=1 -h 127.0.0.1 -p 5433 -U postgres"
$psql -c "ALTER SYSTEM SET ssl = on" -c "ALTER SYSTEM SET ssl_cert_file = 'server.crt'" -c "ALTER SYSTEM SET ssl_key_file = 'server.key'"
# A standby must have room for as many as its primary.
for cluster in standby primary; do
  echo "max_connections = 1200" >"/etc/postgresql/$version/$cluster/conf.d/sessions.conf"
  pg_ctlcluster "$version" "$cluster" restart
done
pgbench -q -i -s 5 -h 127.0.0.1 -p 5433 -U postgres postgres 2>/dev/null
$psql -c "CREATE UNLOGGED TABLE bulk AS SELECT i, repeat(md5(i::text), 10) AS text FROM generate_series(1, 300000) AS i" \\
  -c "CREATE UNLOGGED TABLE bulk_copy (LIKE bulk)"
`;

interface StallOutcome {
  readonly queries: number;
  readonly failed: number;
  readonly why: readonly string[];
  readonly longest_ms: number;
}

const test = suite('survival');

let machine: Machine;

test.before(async () => {
  ({ machine } = await bootWithGateway());
  await machine.shell(PREPARE);
  for (const file of ['survival-load.sh', 'stall-load.py', 'short-sessions.py']) {
    await machine.copyIn(testFile(`system/${file}`), `/root/${file}`);
  }
  await machine.copyIn(testFile('helpers/thread-fault.py'), FAULT);
  await machine.write('/etc/systemd/system/pg-gateway.service.d/test.conf', '[Service]\nWatchdogSec=3\n');
  await machine.systemctl('daemon-reload');
  await machine.systemctl('start', SERVICE);
});

test.after(() => machine.close());

/** All kinds of work go on while `disturb` does, and none of it fails. */
async function underWork(what: string, disturb: () => Promise<void>): Promise<void> {
  const work = WORK.map((kind) => ({ kind, child: machine.start(['bash', '/root/survival-load.sh', kind]) }));
  await observeFor(1500);
  await disturb();
  for (const { child } of work) child.endInput();
  const done: string[] = [];
  for (const { kind, child } of work) {
    const { status, stdout, stderr } = await within(90_000, `the end of ${kind}`, child.ended);
    assert.is(status, 0, `${kind} failed: ${stdout}${stderr}`);
    const count = Number(/^done (\d+)$/m.exec(stdout)?.[1]);
    assert.ok(count > 0, `${kind} did nothing: ${stdout}`);
    done.push(`${count} ${kind}`);
  }
  note(`${what}: ${done.join(', ')}; none failed`);
}

async function nextProcess(before: number): Promise<void> {
  await eventually('another process', async () => Number(await machine.property(SERVICE, 'MainPID')) !== before, {
    everyMs: 30,
  });
}

/** Of systemd itself, which keeps the store. */
async function managerDescriptors(): Promise<number> {
  return Number(await machine.shell('ls /proc/1/fd | wc -l'));
}

/** What was lost over the test's life, by the journal. */
async function lostSessions(): Promise<string[]> {
  const entries = await machine.journal({ unit: SERVICE });
  return entries
    .map(({ message }) => message)
    .filter((message) => message.includes('sessions of an earlier process'))
    .filter((message) => !message.includes(' not_whole=0 missing=0 '));
}

test(`${RESTARTS} restarts and ${KILLS} kills at any moment`, async () => {
  await underWork(`${RESTARTS} restarts, ${KILLS} kills`, async () => {
    for (let i = 0; i < RESTARTS; i += 1) {
      await machine.systemctl('restart', SERVICE);
      await observeFor(randomInt(50, 300));
    }
    for (let i = 0; i < KILLS; i += 1) {
      const before = Number(await machine.property(SERVICE, 'MainPID'));
      if (before > 0) await machine.run(['kill', '-KILL', String(before)]);
      await observeFor(randomInt(50, 500));
    }
  });
  assert.equal(await lostSessions(), []);
});

test('the watchdog, a crash, an upgrade, reloads, and systemd executed anew', async () => {
  await underWork('watchdog, crash, upgrade, reloads, daemon-reexec', async () => {
    const frozen = await mainPid(machine);
    const freezer = machine.start(['python3', FAULT, 'freeze', String(frozen)]);
    await freezer.output('the thread to stand still', (stdout) => /^frozen\n/.exec(stdout) ?? undefined);
    await machine.logged(/Watchdog timeout/, { unit: SERVICE }, { deadlineMs: 30_000 });
    await freezer.close();
    const crashed = await restarted(machine, frozen);
    const [worker] = await threads(machine, WORKER);
    assert.is(await machine.succeed(['python3', FAULT, 'crash', String(worker)]), 'crashing\n');
    await machine.logged(/code=(killed|dumped), status=11\/SEGV/, { unit: SERVICE });
    await restarted(machine, crashed);
    await install(machine, NEWER_PACKAGE_VARIABLE);
    for (let i = 0; i < 10; i += 1) await machine.systemctl('reload', SERVICE);
    await machine.systemctl('daemon-reload');
    await machine.systemctl('daemon-reexec');
    await machine.systemctl('restart', SERVICE);
  });
  assert.equal(await lostSessions(), []);
});

test(`${IDLE_SESSIONS} sessions that ask now and then wait a moment at most`, async () => {
  const child: Child = machine.start(['python3', '/root/stall-load.py', '5432', String(IDLE_SESSIONS), '1000']);
  await child.output('the sessions to run', (stdout) => /^running\n/.exec(stdout) ?? undefined, 90_000);
  const stop = async (): Promise<StallOutcome> => {
    child.endInput();
    const { stdout, stderr } = await within(60_000, 'the end of the sessions', child.ended);
    const line = stdout.trimEnd().split('\n').at(-1) ?? '';
    if (!line.startsWith('{')) throw new Error(`it ended without counts: ${stdout}${stderr}`);
    return JSON.parse(line) as StallOutcome;
  };
  for (let i = 0; i < 5; i += 1) {
    await machine.systemctl('restart', SERVICE);
    await observeFor(500);
  }
  // It closes the listening socket, and takes the service along: sessions that are there go on all the same.
  const taken = await mainPid(machine);
  await machine.systemctl('restart', SOCKET);
  await restarted(machine, taken);
  for (let i = 0; i < 5; i += 1) {
    const before = await mainPid(machine);
    await machine.succeed(['kill', '-KILL', String(before)]);
    await nextProcess(before);
    await observeFor(500);
  }
  const recovered = (await samples(machine)).get('pg_gateway_sessions_recovered_total');
  const took = (await samples(machine)).get('pg_gateway_recovery_seconds');
  const outcome = await stop();
  note(
    `${IDLE_SESSIONS} sessions over 5 restarts and 5 kills: ${outcome.queries} queries, ${outcome.failed} failed, ` +
      `longest wait ${outcome.longest_ms} ms; the last recovery took ${(took * 1000).toFixed(1)} ms`,
  );
  assert.is(outcome.failed, 0, outcome.why.join('; '));
  assert.is(recovered, IDLE_SESSIONS);
});

test('nothing is left of thousands of sessions that have ended', async () => {
  const stored = async (): Promise<number> => Number(await machine.property(SERVICE, 'NFileDescriptorStore'));
  const accepted = async (): Promise<number> => (await samples(machine)).get('pg_gateway_connections_total');
  const managerBefore = await managerDescriptors();
  // The oldest lives as long as all the others come and go.
  const psql = machine.start(['psql', '-XAtq', '-h', '127.0.0.1', '-U', 'postgres', '-d', 'postgres', '-f', '-']);
  psql.write("SELECT 'first';\n");
  await psql.output('an answer', (stdout) => stdout.includes('first') || undefined);
  const before = await accepted();
  const { most, least, seconds } = SHORT_SESSIONS;
  const load = machine.start(['python3', '/root/short-sessions.py', '5432', String(most), String(seconds)]);
  const counts: number[] = [];
  const looking = { over: false };
  const looked = (async () => {
    while (!looking.over) {
      counts.push(await stored());
      await observeFor(300);
    }
  })();
  const { status, stdout, stderr } = await within((seconds + 40) * 1000, 'the end of the sessions', load.ended).finally(
    () => {
      looking.over = true;
    },
  );
  await looked;
  assert.is(status, 0, stderr);
  const done = Number(/^done (\d+)\n$/.exec(stdout)?.[1]);
  assert.ok(done >= least, `${stdout} in ${seconds} s`);
  assert.ok((await accepted()) - before >= done);
  note(`${done} sessions opened and closed: at most ${Math.max(...counts)} descriptors in the store`);
  // The ledger and the segments of the parking lot: as many as the living and the last to end need.
  assert.ok(Math.max(...counts) <= 9, `${counts.join(' ')} descriptors in the store`);
  psql.write("SELECT 'last';\n");
  await psql.output('an answer', (stdout) => stdout.includes('last') || undefined);
  await psql.close();

  await eventually('no session to be kept', async () => {
    return (await samples(machine)).get('pg_gateway_sessions_kept') === 0;
  });
  assert.ok(
    (await stored()) <= 3,
    `${await stored()} descriptors in the store: the ledger and one socket pair expected`,
  );
  await eventually('systemd to have no more than before', async () => (await managerDescriptors()) <= managerBefore);
  const lingering = await machine.shell(
    `ss -Htn state connected '( sport = :5432 or dport = :${Cluster.primary} )' | grep -v TIME-WAIT | wc -l`,
  );
  // The probe of the primary has a connection.
  assert.ok(Number(lingering) <= 2, await machine.shell(`ss -tnp '( sport = :5432 or dport = :${Cluster.primary} )'`));
});

test('a stop ends the sessions, and says so by nothing in the store', async () => {
  const psql = machine.start(['psql', '-XAtq', '-h', '127.0.0.1', '-U', 'postgres', '-d', 'postgres', '-f', '-']);
  psql.write('SELECT 1;\n');
  await psql.output('an answer', (stdout) => stdout.includes('1') || undefined);
  await machine.systemctl('stop', SERVICE);
  psql.write('SELECT 2;\n');
  psql.endInput();
  assert.is((await within(20_000, 'the end of psql', psql.ended)).status, 2);
  assert.is(await machine.property(SERVICE, 'NFileDescriptorStore'), '0');
});

test.run();
