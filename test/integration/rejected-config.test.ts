// SPDX-License-Identifier: MIT
// A start that finds a configuration it cannot use, with the sessions of an earlier
// process in hand: they go on, and new ones come, by that of before.

import { rm } from 'node:fs/promises';
import { join } from 'node:path';

import type { Ended } from '../helpers/child.js';
import { runCtl } from '../helpers/ctl.js';
import { KeptGateway } from '../helpers/kept-gateway.js';
import { temporaryFolder } from '../helpers/paths.js';
import { PgSession } from '../helpers/pg-session.js';
import { PostgresServer } from '../helpers/postgres.js';
import { query } from '../helpers/psql.js';
import { assert, suite } from '../helpers/suite.js';

const GOES_ON = 'the configuration was rejected, that of the process before goes on: its sessions need not end';
const LIMIT = 77;

const test = suite('rejected configuration');
let server: PostgresServer;

test.before(async () => {
  server = await PostgresServer.create();
});

test.after(async () => {
  await server.close();
});

function configuration(more = ''): string {
  return `candidates = ["${server.candidate}"]\n[sessions]\nmax_connections = ${LIMIT}\n${more}`;
}

async function assertServes(gateway: KeptGateway, session: PgSession): Promise<void> {
  assert.equal(await session.query('SELECT pg_backend_pid()'), [String(session.processId)]);
  assert.is(await query(gateway.clients, 'SELECT inet_server_port()'), String(server.port));
  const samples = await gateway.current.samples();
  assert.is(samples.get('pg_gateway_has_primary'), 1);
  assert.is(samples.get('pg_gateway_connections_limit'), LIMIT);
}

async function rejected(gateway: KeptGateway): Promise<number> {
  return (await gateway.current.samples()).get('pg_gateway_config_rejected');
}

const FAULTS: readonly (readonly [what: string, text: () => string, line: RegExp])[] = [
  ['a value that it cannot have', () => configuration('[log]\nlevel = "loud"\n'), /log\.level = "loud"/],
  ['no TOML', () => configuration('[['), /line 4, column \d+: not valid TOML/],
  ['no candidates', () => '', /candidates: none are set/],
];

for (const early of [true, false]) {
  const how = early ? 'ahead of Node' : 'by Node';
  for (const [what, faulty, line] of FAULTS) {
    test(`sessions go on, taken up ${how}: ${what}`, async () => {
      const gateway = await KeptGateway.start({ config: configuration() }, { early });
      try {
        const session = await PgSession.open(gateway.clients);
        gateway.configure(faulty());
        // What is left of the good one is left to each of those that follow.
        for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
          const next = await gateway.restart(signal);
          const problem = next.lines.find(({ fields }) => fields.get('code') === 'CONFIG_INVALID');
          assert.match(problem?.message ?? '', line);
          await next.logged(GOES_ON);
          await assertServes(gateway, session);
          assert.is(await rejected(gateway), 1);
        }
        gateway.configure(configuration());
        const mended = await gateway.restart('SIGTERM');
        await assertServes(gateway, session);
        assert.is(await rejected(gateway), 0);
        assert.not.match(mended.log, 'CONFIG_INVALID');
        session.close();
      } finally {
        await gateway.close();
      }
    });
  }
}

test('the status says so until a reload finds a good one', async () => {
  const folder = await temporaryFolder();
  const socket = join(folder.path, 'control.sock');
  const status = (): Promise<Ended> => runCtl(socket, ['status']);
  const gateway = await KeptGateway.start({ config: configuration(), env: { CONTROL_SOCKET: socket } });
  try {
    const session = await PgSession.open(gateway.clients);
    assert.is((await status()).status, 0);
    gateway.configure(configuration('loud = 1\n'));
    const next = await gateway.restart('SIGTERM', () => rm(socket, { force: true }));
    const told = await status();
    assert.is(told.status, 1);
    assert.match(
      told.stdout,
      /! the configuration was rejected, an earlier one goes on: \S+: sessions\.loud: unknown key/,
    );

    // Another fault is another answer; the old one still goes on.
    await next.configure('[[');
    next.kill('SIGHUP');
    await next.logged('the new configuration was rejected, the old one goes on');
    assert.match((await status()).stdout, /goes on: \S+: line 1, column \d+: not valid TOML/);

    await next.configure(configuration());
    next.kill('SIGHUP');
    await next.metric('pg_gateway_config_rejected', {}, (value) => value === 0);
    assert.is((await status()).status, 0);
    await assertServes(gateway, session);
    session.close();
  } finally {
    await gateway.close();
    await folder.close();
  }
});

test('what a reload has changed counts, too', async () => {
  const gateway = await KeptGateway.start({ config: configuration().replace(String(LIMIT), '55') });
  try {
    const session = await PgSession.open(gateway.clients);
    await gateway.current.configure(configuration());
    gateway.current.kill('SIGHUP');
    await gateway.current.metric('pg_gateway_connections_limit', {}, (value) => value === LIMIT);
    gateway.configure('[[');
    await gateway.restart('SIGKILL');
    await assertServes(gateway, session);
    session.close();
  } finally {
    await gateway.close();
  }
});

test.run();
