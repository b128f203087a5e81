// SPDX-License-Identifier: MIT
// The wall clock is set forward and back by hours, as by an administrator or an NTP
// client: nothing goes by it but the time in the log, and whether a certificate is valid.

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { Gateway } from '../helpers/gateway.js';
import { temporaryFolder } from '../helpers/paths.js';
import { PgSession } from '../helpers/pg-session.js';
import { createCluster } from '../helpers/postgres.js';
import type { Cluster, PostgresServer } from '../helpers/postgres.js';
import { psql, query } from '../helpers/psql.js';
import { assert, suite } from '../helpers/suite.js';
import { observeFor, timed } from '../helpers/wait.js';
import { WallClock } from '../helpers/wall-clock.js';

const HOUR_MS = 3_600_000;
const PID = 'SELECT pg_backend_pid()';
const PROBES = 'pg_gateway_probe_duration_seconds_count';
const CHECK_EVERY_MS = 100;
const OBSERVED_MS = 1500;

const test = suite('wall clock');

interface World {
  readonly clock: WallClock;
  readonly cluster: Cluster;
  readonly primary: PostgresServer;
  readonly standby: PostgresServer;
  readonly gateway: Gateway;
}

async function withWorld(env: Readonly<Record<string, string>>, use: (world: World) => Promise<void>): Promise<void> {
  const clock = await WallClock.create();
  const folder = await temporaryFolder();
  const cluster = await createCluster(1, { tls: true });
  const { primary } = cluster;
  const [standby] = cluster.standbys;
  if (standby === undefined) throw new Error('the cluster has no standby');
  try {
    // Each has an authority of its own.
    const roots = join(folder.path, 'roots.crt');
    const texts = await Promise.all(cluster.servers.map(({ rootCertificate }) => readFile(rootCertificate, 'utf8')));
    await writeFile(roots, texts.join(''));
    const gateway = await Gateway.start({
      candidates: cluster.servers.map(({ candidate }) => candidate),
      launcher: clock.launcher,
      env: {
        CHECK_EVERY: String(CHECK_EVERY_MS / 1000),
        PGSSLMODE: 'verify-full',
        PGSSLROOTCERT: roots,
        ...env,
      },
    });
    try {
      await gateway.primaryIs(primary.candidate);
      await use({ clock, cluster, primary, standby, gateway });
    } finally {
      await gateway.close();
    }
  } finally {
    await cluster.close();
    await clock.close();
    await folder.close();
  }
}

/** Hours that the gateway's log is ahead of this process: a reload makes it write a line now. */
async function hoursAheadInLog(gateway: Gateway): Promise<number> {
  const before = gateway.mark;
  gateway.kill('SIGHUP');
  const line = await gateway.logged('configuration reloaded', {}, undefined, before);
  const time = /^\S+Z/.exec(gateway.log.split('\n')[line.number - 1] ?? '')?.[0] ?? '';
  return (Date.parse(time) - new Date().getTime()) / HOUR_MS;
}

function urgent(gateway: Gateway): string[] {
  return gateway.lines.filter(({ level }) => ['warning', 'err', ''].includes(level)).map(({ message }) => message);
}

async function probes(gateway: Gateway, { candidate }: PostgresServer): Promise<number> {
  return (await gateway.samples()).get(PROBES, { server: candidate });
}

test('hours forward and back: probes keep their pace, sessions go on, and only the log shows it', async () => {
  await withWorld({}, async ({ clock, primary, gateway }) => {
    const session = await PgSession.open(gateway.clients);
    const pid = await session.query(PID);
    for (const hours of [7, -9, 0]) {
      await clock.set(hours);
      const asked = await clock.asked();
      const ahead = await hoursAheadInLog(gateway);
      assert.ok(Math.abs(ahead - hours) < 0.1, `the log is ${ahead.toFixed(2)} hours ahead, not ${hours}`);
      assert.ok((await clock.asked()) > asked);

      const before = await probes(gateway, primary);
      const tookMs = await timed(() => observeFor(OBSERVED_MS));
      const made = (await probes(gateway, primary)) - before;
      const due = tookMs / CHECK_EVERY_MS;
      assert.ok(made >= due / 3 && made <= due + 3, `${made} probes in ${tookMs.toFixed(0)} ms, at ${hours} hours`);
      assert.equal(await session.query(PID), pid);
      assert.is(await query(gateway.clients, 'SELECT 1'), '1');
      assert.is((await gateway.http('/readyz')).status, 200);
    }
    assert.equal(urgent(gateway), []);
    assert.is(gateway.lines.filter(({ message }) => message === 'STATE CHANGE').length, 1);
    assert.is((await gateway.samples()).get('pg_gateway_seconds_without_primary'), 0);
    session.close();
    await clock.set(7);
    const stopMs = await timed(async () => assert.is((await gateway.stop()).status, 0));
    assert.ok(stopMs < 5000, `stopping took ${stopMs.toFixed(0)} ms`);
  });
});

test('a client waits as long as it would have, and a failover takes what it takes', async () => {
  const holdMs = 2500;
  await withWorld({ HOLD_TIMEOUT_MS: String(holdMs) }, async ({ clock, primary, standby, gateway }) => {
    await primary.crash();
    await gateway.logged('STATE CHANGE', { new: 'none' });
    // Back as well: a deadline of the wall clock would be hours away then.
    for (const hours of [7, -9]) {
      const waitedMs = await timed(async () => {
        const refused = psql(gateway.clients, 'SELECT 1');
        await gateway.metric('pg_gateway_clients_held', {}, (value) => value === 1);
        await clock.set(hours);
        assert.match((await refused).stderr, 'no PostgreSQL primary is available');
      });
      assert.ok(waitedMs >= holdMs - 100 && waitedMs < holdMs + 5000, `told after ${waitedMs.toFixed(0)} ms`);
    }
    await clock.set(0);
    await standby.promote();
    await gateway.primaryIs(standby.candidate);
    await clock.set(7);
    const failover = await gateway.logged('failover', { new: standby.candidate });
    assert.ok(Number(failover.fields.get('decided_in_ms')) < 60_000);
    const samples = await gateway.samples();
    const outage = samples.get('pg_gateway_seconds_without_primary_total');
    assert.ok(outage >= (2 * holdMs) / 1000 && outage < 60, `an outage of ${outage} s`);
    assert.is(await query(gateway.clients, 'SELECT inet_server_port()'), String(standby.port));
  });
});

test('a certificate that is not valid by the wall clock is refused, by a new connection alone', async () => {
  await withWorld({ HOLD_TIMEOUT_MS: '20000' }, async ({ clock, primary, gateway }) => {
    const session = await PgSession.open(gateway.clients);
    const pid = await session.query(PID);
    await clock.set(-9);
    const { candidate } = primary;
    const breakProbes = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pg-gateway'";
    await primary.query(breakProbes);
    const line = await gateway.logged('candidate does not answer', { candidate, reason: 'tls' });
    assert.match(line.fields.get('detail') ?? '', 'not yet valid');
    assert.equal(await session.query(PID), pid, 'it is no proof against the server');
    const waits = query(gateway.clients, 'SELECT 1');
    await gateway.metric('pg_gateway_clients_held', {}, (value) => value === 1);
    await clock.set(0);
    assert.is(await waits, '1');
    assert.equal(await session.query(PID), pid);
    session.close();
  });
});

test.run();
