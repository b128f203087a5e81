// SPDX-License-Identifier: MIT
// Failovers of a real Patroni cluster, with writers that go through the gateway: no
// acknowledged row is lost, none is taken by a server that is no longer the primary,
// no connection attempt fails. The times are printed, not asserted: npm run bench:failover.

import { Gateway } from '../helpers/gateway.js';
import { assert, note, suite } from '../helpers/suite.js';
import { PatroniCluster } from './cluster.js';
import {
  acceptedKeys,
  createWrittenTable,
  DEFAULT_ROUNDS,
  FAILOVER_KINDS,
  failOver,
  KINDS_VARIABLE,
  ROUNDS_VARIABLE,
  writtenSpans,
} from './failovers.js';
import type { FailoverKind } from './failovers.js';
import { keyOf, lateRows, lostRows, recordOf, refusedIn, spanProblems, spansOf } from './ledger.js';
import type { RouteRecord } from './ledger.js';
import { Load } from './load.js';
import type { Route } from './load.js';
import { summaryOf } from './summary.js';

const ROUTE = 'pg-gateway';
const ROUNDS = Number(process.env[ROUNDS_VARIABLE] ?? DEFAULT_ROUNDS);
const KINDS = FAILOVER_KINDS.filter((kind) => (process.env[KINDS_VARIABLE] ?? kind).split(' ').includes(kind));
const ROUND_DEADLINE_MS = 60_000;
const START_DEADLINE_MS = 120_000;

interface Stage {
  readonly cluster: PatroniCluster;
  readonly gateway: Gateway;
  readonly load: Load;
  readonly routes: readonly Route[];
}

let stage: Stage | undefined;
const test = suite('patroni', {}, START_DEADLINE_MS + ROUNDS * ROUND_DEADLINE_MS);

test.before(async () => {
  const cluster = await PatroniCluster.start();
  await createWrittenTable(cluster);
  // The interval and the patience of the product, not the shorter ones of most tests.
  const gateway = await Gateway.start({
    candidates: cluster.candidates,
    env: { CHECK_EVERY: '2', HOLD_TIMEOUT_MS: '15000' },
  });
  await gateway.primaryIs((await cluster.leader()).candidate);
  const routes = [{ name: ROUTE, host: gateway.clients.host, port: String(gateway.clients.port) }];
  const load = await Load.start(
    routes,
    cluster.nodes.map(({ port }) => port),
  );
  stage = { cluster, gateway, load, routes };
});

test.after(async () => {
  await stage?.load.close();
  await stage?.gateway.close();
  await stage?.cluster.close();
});

for (const kind of KINDS) {
  test(`${kind}: nothing is lost, nothing goes to the wrong server, nobody is turned away`, async () => {
    if (stage === undefined) throw new Error('the cluster did not start');
    const records: RouteRecord[] = [];
    for (let round = 1; round <= ROUNDS; round += 1) records.push(await failOverOnce(stage, kind));
    note(`${kind}: ${summaryOf(records)}`);
  });
}

test('at the end every acknowledged row is there, and each timeline is of one server and one time', async () => {
  if (stage === undefined) throw new Error('the cluster did not start');
  const { cluster, load } = stage;
  const leader = await cluster.leader();
  const events = await load.events();
  const acknowledged = events.filter(({ event }) => event === 'row').length;
  assert.equal(lostRows(events, await acceptedKeys(leader)), []);
  assert.equal(spanProblems(await writtenSpans(leader)), []);
  assert.equal(spanProblems(spansOf(events)), []);
  note(`${acknowledged} acknowledged rows, none lost`);
});

async function failOverOnce({ cluster, gateway, load, routes }: Stage, kind: FailoverKind): Promise<RouteRecord> {
  const window = await failOver(kind, { cluster, load, routes });
  const events = await load.events();
  const record = recordOf(ROUTE, events, window);
  const where = `${kind} from ${window.oldPort} to ${window.newPort}: ${JSON.stringify(record)}`;
  // What is acknowledged before the query below must be in its answer.
  const there = await acceptedKeys(await cluster.leader(), window.from);
  const rowsOfWindow = events.filter((event) => event.event === 'row' && event.written >= window.from);
  assert.equal(lostRows(rowsOfWindow, there).map(keyOf), [], `${where}: rows are lost`);
  assert.equal(lateRows(events, window).map(keyOf), [], `${where}: rows were taken by the old primary`);
  assert.is(record.misrouted, 0, `${where}: statements went to a server in recovery`);
  assert.equal(refusedIn(events, ROUTE, window), [], `${where}\n${storyOf(gateway)}`);
  // What a server says in its last moment can be kept from a client that it speaks to in clear.
  assert.is(record.lastWords.plain, 0, where);
  assert.ok(record.recoveredMs !== undefined, where);
  return record;
}

/** The end of the gateway's log, for a failure. */
function storyOf(gateway: Gateway): string {
  return gateway.log.trimEnd().split('\n').slice(-15).join('\n');
}

test.run();
