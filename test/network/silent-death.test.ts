// SPDX-License-Identifier: MIT
// A client, or a server, whose host vanishes without a packet: the kernel notices by
// the options that the gateway sets, and the other side of the session is closed.

import { Child } from '../helpers/child.js';
import type { Gateway } from '../helpers/gateway.js';
import { PgSession } from '../helpers/pg-session.js';
import { plainEnvironment, postgresProgram, SUPERUSER } from '../helpers/postgres-install.js';
import { assert, suite } from '../helpers/suite.js';
import { eventually, observeFor, timed } from '../helpers/wait.js';
import { sessionsCut, whereNetworksCanBe, withGateway, withLab } from './lab.js';
import type { Lab } from './lab.js';

const test = suite('silent death');
const register = whereNetworksCanBe(test);

const KEEPALIVE = { TCP_KEEPALIVES_IDLE: '1', TCP_KEEPALIVES_INTERVAL: '1', TCP_KEEPALIVES_COUNT: '2' };
const NOTICED_MS = 3000;
const USER_TIMEOUT = { TCP_KEEPALIVE: '0', TCP_USER_TIMEOUT: '1500' };
const SLACK_MS = 2000;
const MARK = 'vanishing';

/** psql on the client's host, with this line of input. */
function clientOf({ hosts }: Lab, gateway: Gateway, line: string): Child {
  const { host, port } = gateway.clients;
  const env = plainEnvironment({
    PGHOST: host,
    PGPORT: String(port),
    PGUSER: SUPERUSER,
    PGDATABASE: 'postgres',
    PGAPPNAME: MARK,
  });
  const child = new Child([...hosts.client.enter, postgresProgram('psql'), '-XAtq'], { env });
  child.write(`${line}\n`);
  return child;
}

function sessionsAt({ primary }: Lab): Promise<string> {
  return primary.query(`SELECT count(*) FROM pg_stat_activity WHERE application_name = '${MARK}'`);
}

async function isOver(lab: Lab, gateway: Gateway): Promise<void> {
  await gateway.metric('pg_gateway_connections_active', {}, (value) => value === 0);
  await eventually('the server process of the session to end', async () => (await sessionsAt(lab)) === '0');
}

register('an idle client that vanishes gives back its server process, and its locks', async () => {
  await withLab(async (lab) => {
    await withGateway(lab, KEEPALIVE, async (gateway) => {
      const client = clientOf(lab, gateway, `BEGIN; SELECT 'begun';`);
      await client.output('the transaction', (stdout) => stdout.includes('begun') || undefined);
      // One that answers is left alone, however long it is idle.
      await observeFor(NOTICED_MS + SLACK_MS);
      assert.is(await sessionsAt(lab), '1');
      await lab.network.isolate(lab.hosts.client);
      const ms = await timed(() => isOver(lab, gateway));
      assert.ok(ms <= NOTICED_MS + SLACK_MS, `it took ${ms.toFixed(0)} ms`);
      await client.close();
    });
  });
});

register('a client that vanishes with data on its way to it is noticed by TCP_USER_TIMEOUT', async () => {
  await withLab(async (lab) => {
    await withGateway(lab, USER_TIMEOUT, async (gateway) => {
      const endless = `SELECT repeat('x', 1000), generate_series(1, 2000000000)`;
      const client = clientOf(lab, gateway, `\\copy (${endless}) to /dev/null`);
      const down = 'pg_gateway_bytes_backend_to_client_total';
      await gateway.metric(down, {}, (value) => value > 10_000_000);
      await lab.network.isolate(lab.hosts.client);
      const ms = await timed(() => isOver(lab, gateway));
      assert.ok(ms >= 1000 && ms <= 1500 + SLACK_MS, `it took ${ms.toFixed(0)} ms`);
      await client.close();
    });
  });
});

register('the client of a server that vanishes learns of it, though nothing is proven', async () => {
  await withLab(async (lab) => {
    await withGateway(lab, KEEPALIVE, async (gateway) => {
      const session = await PgSession.open(gateway.clients);
      await session.query('SELECT 1');
      await lab.network.isolate(lab.hosts.primary);
      const ms = await timed(() => session.ended({ deadlineMs: NOTICED_MS + SLACK_MS }));
      assert.ok(ms >= 1000, `by keepalive, not by a probe: after ${ms.toFixed(0)} ms`);
      assert.is(await sessionsCut(gateway), 0);
      session.close();
    });
  });
});

test.run();
