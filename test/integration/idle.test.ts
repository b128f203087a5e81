// SPDX-License-Identifier: MIT
// What the gateway costs while nothing happens: two descriptors for each session, hardly a wake-up.

import { Gateway } from '../helpers/gateway.js';
import { message, PgSession } from '../helpers/pg-session.js';
import { createCluster } from '../helpers/postgres.js';
import type { Cluster } from '../helpers/postgres.js';
import { descriptorsOf, wakeUps } from '../helpers/processes.js';
import { clientProgram } from '../helpers/psql.js';
import { assert, suite } from '../helpers/suite.js';
import { eventually, observeFor } from '../helpers/wait.js';

const SESSIONS = 100;
const MAX_WAKE_UPS_PER_SECOND = 10;
const WINDOW_MS = 5000;
/** V8 compiles, collects and gives back memory for a while after the start; that is over before the last window. */
const WINDOWS = 6;

const test = suite('idle');
let cluster: Cluster;
let one: Gateway;
let four: Gateway;

/** As it comes: the default cadence of the probes. */
function start(workers: number): Promise<Gateway> {
  const candidates = cluster.servers.map(({ candidate }) => candidate);
  return Gateway.start({ candidates, env: { CHECK_EVERY: undefined, NUM_THREADS: String(workers) } });
}

function openSessions(gateway: Gateway): Promise<PgSession[]> {
  return Promise.all(Array.from({ length: SESSIONS }, () => PgSession.open(gateway.clients)));
}

/** In good order: the server ends the connection after Terminate. */
async function leave(session: PgSession): Promise<void> {
  session.raw.send(message('X', new Uint8Array()));
  await session.ended();
  session.close();
}

function sockets(gateway: Gateway): number {
  return descriptorsOf(gateway.pid).filter((what) => what.startsWith('socket:')).length;
}

test.before(async () => {
  cluster = await createCluster(1);
  [one, four] = await Promise.all([start(1), start(4)]);
});

test.after(async () => {
  await Promise.all([one.close(), four.close()]);
  await cluster.close();
});

test(`${SESSIONS} idle sessions hold two descriptors each, and nothing when they have gone`, async () => {
  // What comes with the first sessions and stays: the pipes that the worker keeps for all of them, and the socket that it
  // has ready for the next one.
  await Promise.all((await openSessions(one)).map(leave));
  await eventually('the first sessions to be gone', async () => {
    return (await one.samples()).get('pg_gateway_connections_active') === 0;
  });
  // A probe that a hundred new sessions made late has lost its connection, and the next one opens it again. The
  // connection of the scrape itself closes after its answer: what is counted has been the same for a second.
  const [server] = cluster.servers;
  const settled = async (): Promise<number> => {
    let last = -1;
    let same = 0;
    return eventually('a steady number of descriptors, with a probe that is answered', async () => {
      const before = last;
      const up = (await one.samples()).value('pg_gateway_server_up', { server: server?.candidate ?? '' });
      await observeFor(200);
      last = descriptorsOf(one.pid).length;
      same = up === 1 && before === last ? same + 1 : 0;
      return same === 5 ? last : undefined;
    });
  };
  const before = await settled();
  const socketsBefore = sockets(one);

  const sessions = await openSessions(one);
  assert.is((await settled()) - before, 2 * SESSIONS);
  assert.is(sockets(one) - socketsBefore, 2 * SESSIONS, 'all of them sockets');
  for (const session of sessions) assert.equal(await session.query('SELECT 1'), ['1']);
  assert.is((await settled()) - before, 2 * SESSIONS, 'and no more after each has worked');

  await Promise.all(sessions.map(leave));
  await eventually('the descriptors to be given back', () => descriptorsOf(one.pid).length === before);
});

test(`an idle gateway wakes at most ${MAX_WAKE_UPS_PER_SECOND} times a second, with idle sessions too`, async () => {
  const sessions = await openSessions(four);
  const gateways = [one, four];
  const seen: string[] = [];
  // Every window of a gateway that wakes too often would be over the limit: one that is not will do.
  const quiet = async (): Promise<boolean> => {
    const before = gateways.map(({ pid }) => wakeUps(pid));
    const begun = performance.now();
    await observeFor(WINDOW_MS);
    const seconds = (performance.now() - begun) / 1000;
    const rates = gateways.map(({ pid }, index) => (wakeUps(pid) - (before[index] ?? 0)) / seconds);
    seen.push(rates.map((rate) => rate.toFixed(1)).join(' and '));
    return rates.every((rate) => rate > 0 && rate <= MAX_WAKE_UPS_PER_SECOND);
  };
  let found = false;
  for (let windows = 0; windows < WINDOWS && !found; windows += 1) found = await quiet();
  assert.ok(found, `wake-ups a second with 1 and 4 workers: ${seen.join(', ')}`);
  assert.ok(
    sessions.every(({ raw }) => raw.end === 'open'),
    'the sessions are still there',
  );
  await Promise.all(sessions.map(leave));
});

test('and works at once: pgbench with 8 clients has no failed transaction', async () => {
  const init = await clientProgram(four.clients, 'pgbench', ['-i', '-q', '-s', '8']);
  assert.is(init.status, 0, init.stderr);
  const { status, stdout, stderr } = await clientProgram(four.clients, 'pgbench', ['-n', '-c', '8', '-T', '3']);
  assert.is(status, 0, stderr);
  assert.match(stdout, 'number of failed transactions: 0 ');
  assert.ok(Number(/transactions actually processed: (\d+)/.exec(stdout)?.[1]) > 0, stdout);
});

test.run();
