// SPDX-License-Identifier: MIT
// Clients that mean no good, beside others that work: nothing fails for the others, and when the bad ones have gone
// nothing of them is left. How much slower they make the others is measured by `npm run soak`.

import { Gateway } from '../helpers/gateway.js';
import { Attack, ATTACKS } from '../helpers/hostile.js';
import type { AttackKind } from '../helpers/hostile.js';
import type { Samples } from '../helpers/metrics-text.js';
import { PgSession } from '../helpers/pg-session.js';
import { PostgresServer } from '../helpers/postgres.js';
import { cpuMilliseconds, descriptorsOf, residentBytes } from '../helpers/processes.js';
import { query } from '../helpers/psql.js';
import { assert, note, suite } from '../helpers/suite.js';
import { eventually, observeFor, timed } from '../helpers/wait.js';

const test = suite('hostile');
/** How long each attack lasts. */
const ATTACK_MS = 2000;
/** A server has to start a process for each, and works them off afterwards. */
const FLOOD_PER_S = 2000;
const OTHERS = 8;
/** A heap of JavaScript breathes by so much; what an attack could take is a multiple of it. */
const MAX_GROWTH_BYTES = 32 * 1024 * 1024;
/** The pipes that a worker keeps for the next time (native/pipe_pool.h): two ends each. */
const KEPT_PIPE_ENDS = 2 * 4;
/** At rest a worker answers heartbeats. One that spins takes the whole window. */
const REST_MS = 500;
const MAX_CPU_AT_REST_MS = 50;
/** A server that was flooded works off its queue first. */
const SETTLE = { deadlineMs: 90_000, everyMs: 50 };
const WORKER = /^pg-gw-worker/;
const RATE = 50;
/** The burst, and the time that the samples take. */
const SLACK_S = 1;

let server: PostgresServer;
let gateway: Gateway;
let others: PgSession[] = [];

test.before(async () => {
  server = await PostgresServer.create();
  // Clients wait for a server as they do by default.
  gateway = await Gateway.start({ candidates: [server.candidate], env: { HOLD_TIMEOUT_MS: undefined } });
  await gateway.primaryIs(server.candidate);
  others = await Promise.all(Array.from({ length: OTHERS }, () => PgSession.open(gateway.clients)));
});

test.after(async () => {
  for (const session of others) session.close();
  await gateway.close();
  await server.close();
});

/** Each asks one query after the other until `work` has ended; how many were answered. @throws Error if one was not */
async function othersWork(work: Promise<unknown>): Promise<number> {
  let answered = 0;
  const state = { over: false };
  const ask = async (session: PgSession, number: number): Promise<void> => {
    while (!state.over) {
      assert.equal(await session.query(`SELECT ${number}`), [String(number)]);
      answered += 1;
    }
  };
  const asking = Promise.all(others.map(ask));
  // A failure of theirs must not wait for the end of the attack to be seen as one.
  asking.catch(() => undefined);
  try {
    await work;
  } finally {
    state.over = true;
  }
  await asking;
  return answered;
}

/** Only the others are left, and every descriptor that was taken for somebody else is given back. */
async function settled(descriptors: number): Promise<void> {
  await gateway.metric('pg_gateway_connections_active', {}, (value) => value === OTHERS, SETTLE);
  await gateway.metric('pg_gateway_clients_held', {}, (value) => value === 0, SETTLE);
  await eventually(
    'the descriptors to be given back',
    () => descriptorsOf(gateway.pid).length <= descriptors + KEPT_PIPE_ENDS,
    SETTLE,
  );
}

/** How many clients have had a server. */
function sessionsOf(samples: Samples): number {
  return samples.get('pg_gateway_connections_total') - samples.get('pg_gateway_clients_rejected_total');
}

async function attacked(kind: AttackKind): Promise<void> {
  const descriptors = descriptorsOf(gateway.pid).length;
  const bytes = residentBytes(gateway.pid);
  const attack = await Attack.start(kind, gateway.clients, { seconds: 60, rate: FLOOD_PER_S });
  const answered = await othersWork(observeFor(ATTACK_MS));
  const peak = residentBytes(gateway.pid);
  const { connected, unanswered, refused, seconds } = await attack.stop();
  assert.ok(connected > 0, 'somebody came');
  // A query and its answer take some 0.2 ms: who got a hundredth of that stands still.
  assert.ok(answered > OTHERS, `the others had ${answered} answers`);
  const growth = Math.max(peak, residentBytes(gateway.pid)) - bytes;
  assert.ok(growth < MAX_GROWTH_BYTES, `it has grown by ${growth} B`);
  await settled(descriptors);
  const before = cpuMilliseconds(gateway.pid, WORKER);
  await observeFor(REST_MS);
  const spent = cpuMilliseconds(gateway.pid, WORKER) - before;
  assert.ok(spent < MAX_CPU_AT_REST_MS, `at rest the worker took ${spent} ms of ${REST_MS}`);
  // The queue of the server may be full still of those who have gone.
  const served = async (): Promise<boolean> => (await query(gateway.clients, 'SELECT 1')) === '1';
  await eventually('who comes now to be served', served, SETTLE);
  const failed = unanswered + refused;
  note(
    `${kind}: ${(connected / seconds).toFixed(0)} connections/s${failed > 0 ? `, ${failed} not made` : ''}; ` +
      `the others had ${answered} answers; ${(growth / 1e6).toFixed(1)} MB more`,
  );
}

for (const kind of ATTACKS) {
  test(`${kind}: nothing fails for others, and nothing of it is left`, () => attacked(kind));
}

test('with MAX_CONNECTION_RATE a flood gets no more than that, and who comes afterwards does not wait for the dead', async () => {
  const paced = await Gateway.start({
    candidates: [server.candidate],
    env: { HOLD_TIMEOUT_MS: undefined, MAX_CONNECTION_RATE: String(RATE) },
  });
  try {
    await paced.primaryIs(server.candidate);
    for (const kind of ['ssl-flood', 'connect-flood'] as const) {
      const before = sessionsOf(await paced.samples());
      const attack = await Attack.start(kind, paced.clients, { seconds: 60, rate: FLOOD_PER_S });
      await othersWork(observeFor(ATTACK_MS));
      const { connected, seconds } = await attack.stop();
      const had = sessionsOf(await paced.samples()) - before;
      const most = (seconds + SLACK_S) * RATE;
      assert.ok(had <= most, `${kind}: ${had} in ${seconds} s, at most ${most}`);
      // One by one the dead of the flood would take a minute and more.
      const ms = await timed(async () => assert.is(await query(paced.clients, 'SELECT 1'), '1'));
      assert.ok(ms < 20_000, `it took ${ms} ms`);
      note(`${kind}, ${RATE} a second: ${connected} connected, ${had} had a server; ${ms.toFixed(0)} ms for the next`);
    }
  } finally {
    await paced.close();
  }
});

test('no session was lost, and no fault was told', () => {
  assert.ok(
    others.every(({ raw }) => raw.end === 'open'),
    'the others are still there',
  );
  assert.is(gateway.lines.filter(({ level }) => level === 'err').length, 0, gateway.log);
});

test.run();
