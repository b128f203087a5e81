// SPDX-License-Identifier: MIT
// What the log says of single sessions, at which level what is said, and what is never said.

import { chmod } from 'node:fs/promises';
import { dirname } from 'node:path';

import { Gateway } from '../helpers/gateway.js';
import { succeed } from '../helpers/child.js';
import { PgSession } from '../helpers/pg-session.js';
import { createCluster } from '../helpers/postgres.js';
import type { Cluster } from '../helpers/postgres.js';
import { descriptorsOf } from '../helpers/processes.js';
import { clientProgram, query } from '../helpers/psql.js';
import { RawClient } from '../helpers/raw-client.js';
import { assert, suite } from '../helpers/suite.js';
import { eventually } from '../helpers/wait.js';

const RELOADS = 'pg_gateway_config_reloads_total';
const SECRET = 'correct-horse-battery';

const test = suite('log of sessions');
let cluster: Cluster;

test.before(async () => {
  cluster = await createCluster(1);
});

test.after(async () => {
  await cluster.close();
});

function toml(level: string): string {
  return [
    `candidates = ${JSON.stringify(cluster.servers.map(({ candidate }) => candidate))}`,
    `[log]\nlevel = "${level}"\n`,
  ].join('\n');
}

async function setLevel(gateway: Gateway, level: string): Promise<void> {
  const before = (await gateway.samples()).get(RELOADS, { result: 'ok' });
  await gateway.configure(toml(level));
  gateway.kill('SIGHUP');
  await gateway.metric(RELOADS, { result: 'ok' }, (value) => value === before + 1);
}

test('SIGHUP turns the lines about sessions on and off', async () => {
  const gateway = await Gateway.start({ config: toml('info') });
  try {
    const early = await PgSession.open(gateway.clients);
    await query(gateway.clients, 'SELECT 1');
    await setLevel(gateway, 'debug');

    const session = await PgSession.open(gateway.clients);
    const opened = await gateway.logged('session opened');
    assert.is(opened.level, 'debug');
    assert.is(opened.fields.get('server'), cluster.primary.candidate);
    assert.match(opened.fields.get('client') ?? '', /^127\.0\.0\.1:\d+$/);
    session.close();
    const closed = await gateway.logged('session closed', { client: opened.fields.get('client') ?? '' });
    assert.is(closed.level, 'debug');
    assert.is(closed.fields.get('source_port'), opened.fields.get('source_port'));
    assert.is(closed.fields.get('reason'), 'client_closed');
    for (const name of ['age_s', 'bytes_client_to_backend', 'bytes_backend_to_client']) {
      assert.ok(Number(closed.fields.get(name)) > 0, `${name} of ${JSON.stringify([...closed.fields])}`);
    }

    // One that was there before is told when it goes.
    const mark = gateway.mark;
    early.close();
    await gateway.logged('session closed', { reason: 'client_closed' }, undefined, mark);

    await setLevel(gateway, 'info');
    const count = gateway.lines.filter(({ level }) => level === 'debug').length;
    await query(gateway.clients, 'SELECT 1');
    await gateway.stop();
    assert.is(gateway.lines.filter(({ level }) => level === 'debug').length, count);
  } finally {
    await gateway.close();
  }
});

test('the source port is that of pg_stat_activity, and the end cuts and tells what is left', async () => {
  const gateway = await Gateway.start({ config: toml('debug') });
  try {
    const session = await PgSession.open(gateway.clients);
    const [port] = await session.query('SELECT inet_client_port()');
    await gateway.logged('session opened', { source_port: port ?? '' });
    await gateway.stop();
    await gateway.logged('session closed', { source_port: port ?? '', reason: 'shutdown' });
  } finally {
    await gateway.close();
  }
});

test('a healthy day has no line at warning or above, from start to stop', async () => {
  const gateway = await Gateway.start({ config: toml('info') });
  try {
    assert.is((await clientProgram(gateway.clients, 'pgbench', ['-i', '-q'])).status, 0);
    await setLevel(gateway, 'notice');
    await setLevel(gateway, 'info');
    const silent = await RawClient.connect(gateway.clients);
    silent.send(Buffer.from('GET / HTTP/1.0\r\n\r\n'));
    silent.reset();
    for (const path of ['/metrics', '/readyz', '/nothing']) await gateway.http(path);
    await PgSession.open(gateway.clients);
    assert.is((await gateway.stop()).status, 0);
    const urgent = gateway.lines.filter(({ level }) => level === 'warning' || level === 'err' || level === '');
    assert.equal(
      urgent.map(({ message }) => message),
      [],
    );
  } finally {
    await gateway.close();
  }
});

test('clients cannot fill the log at info: those who are turned away are told at debug only', async () => {
  const gateway = await Gateway.start({ candidates: ['127.0.0.1:1'], env: { LOG_LEVEL: 'info' } });
  try {
    const before = gateway.lines.length;
    for (let number = 0; number < 200; number += 1) {
      const client = await RawClient.connect(gateway.clients);
      client.reset();
    }
    await eventually('all to be counted', async () => {
      const samples = await gateway.samples();
      return samples.get('pg_gateway_clients_rejected_total', { reason: 'startup' }) >= 200;
    });
    assert.ok(gateway.lines.length - before < 10, gateway.log);
  } finally {
    await gateway.close();
  }
});

test('running out of descriptors is one warning that says what to raise', async () => {
  const gateway = await Gateway.start({ config: toml('info') });
  const clients: RawClient[] = [];
  try {
    const limit = descriptorsOf(gateway.pid).length + 8;
    await succeed(['prlimit', '--pid', String(gateway.pid), `--nofile=${limit}`]);
    for (let number = 0; number < 40; number += 1) clients.push(await RawClient.connect(gateway.clients));
    const line = await gateway.logged('descriptors or memory have run out: clients wait or are turned away');
    assert.is(line.level, 'warning');
    assert.match(line.fields.get('hint') ?? '', 'LimitNOFILE');
    for (const client of clients) client.close();
    assert.is((await gateway.stop()).status, 0);
    assert.is(gateway.lines.filter(({ message }) => message === line.message).length, 1);
  } finally {
    for (const client of clients) client.close();
    await gateway.close();
  }
});

test('a reader that stands still holds nothing up, and is told afterwards how much it has missed', async () => {
  const gateway = await Gateway.start({ config: toml('info') });
  try {
    const session = await PgSession.open(gateway.clients);
    await gateway.unread(async () => {
      // Each reload that is rejected has some 40 lines; the queue and the socket take less than half a megabyte.
      const unknown = Array.from({ length: 40 }, (_, index) => `${'x'.repeat(400)}${index} = 1\n`).join('');
      await gateway.configure(`${toml('info')}${unknown}`);
      for (let reloads = 1; reloads <= 60; reloads += 1) {
        gateway.kill('SIGHUP');
        await gateway.metric(RELOADS, { result: 'rejected' }, (value) => value === reloads);
      }
      assert.equal(await session.query('SELECT 1'), ['1']);
      assert.is(await query(gateway.clients, 'SELECT 2'), '2');
      assert.is((await gateway.http('/readyz')).status, 200);
    });
    const lostLines = 'log lines were lost: stderr did not take them';
    assert.is((await gateway.logged(lostLines)).level, 'warning');
    await setLevel(gateway, 'info');
    const count = (words: string): number => gateway.lines.filter(({ message }) => message.includes(words)).length;
    // Each stands where they are missing: a short line may find room where long ones did not.
    const lost = gateway.lines
      .filter(({ message }) => message === lostLines)
      .reduce((sum, { fields }) => sum + Number(fields.get('lines')), 0);
    assert.ok(lost > 1000, `${lost} lines were lost`);
    const written = count('unknown key') + count('the new configuration was rejected');
    assert.is(written + lost, 60 * 41, 'each is there or counted');
    session.close();
  } finally {
    await gateway.close();
  }
});

test('a password in a file that all may read earns one warning, and only when it is news', async () => {
  const gateway = await Gateway.start({ config: `${toml('info')}[probe]\npassword = "${SECRET}"\n` });
  const warnings = (): readonly string[] =>
    gateway.lines.filter(({ level }) => level === 'warning').map(({ message }) => message);
  try {
    assert.equal(warnings(), []); // its folder lets nobody else in
    await chmod(dirname(gateway.configFile), 0o755);
    for (const reloads of [1, 2]) {
      gateway.kill('SIGHUP');
      await gateway.metric(RELOADS, { result: 'ok' }, (value) => value === reloads);
    }
    const [warning = ''] = warnings();
    assert.ok(
      warning.startsWith(`${gateway.configFile}: the password of the probes can be read by every user`),
      warning,
    );
    assert.is(warnings().length, 1);
    assert.is((await gateway.stop()).status, 0);
  } finally {
    await gateway.close();
  }
});

test('the password is in no line, whatever the level and whatever goes wrong', async () => {
  const config = `${toml('debug')}[probe]\npassword = "${SECRET}"\n`;
  const gateway = await Gateway.start({ config, env: { PGUSER: 'nobody_of_that_name' } });
  try {
    await gateway.logged('candidate does not answer');
    await gateway.configure(`${config}passwort = "${SECRET}"\n`);
    gateway.kill('SIGHUP');
    await gateway.logged('the new configuration was rejected, the old one goes on');
    await gateway.configure(`${config}password = "${SECRET}\n`);
    gateway.kill('SIGHUP');
    await gateway.metric(RELOADS, { result: 'rejected' }, (value) => value === 2);
    await gateway.stop();
    assert.not.ok(gateway.log.includes(SECRET), gateway.log);
  } finally {
    await gateway.close();
  }
});

test.run();
