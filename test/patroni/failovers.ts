// SPDX-License-Identifier: MIT
// The ways in which a Patroni cluster gets another primary, done to it while the load runs.

import { observeFor } from '../helpers/wait.js';
import type { PatroniCluster } from './cluster.js';
import type { TimelineSpan, Window } from './ledger.js';
import { WRITTEN_TABLE } from './load.js';
import type { Load, Route } from './load.js';
import type { PatroniNode } from './node.js';

/**
 * - `switchover`: asked of Patroni.
 * - `kill`: kill -9 of the primary's postmaster and of its Patroni; the lease of its leader key ends.
 * - `demote`: Patroni is paused, the primary restarted by hand as a standby, and another one promoted by hand.
 */
export const FAILOVER_KINDS = ['switchover', 'kill', 'demote'] as const;
export type FailoverKind = (typeof FAILOVER_KINDS)[number];

/** How many of each kind, unless somebody asks for more. */
export const DEFAULT_ROUNDS = 3;
/** By these test/patroni/run.ts hands on what was asked for. */
export const ROUNDS_VARIABLE = 'PG_GATEWAY_FAILOVERS';
export const KINDS_VARIABLE = 'PG_GATEWAY_FAILOVER_KINDS';

/** How long a dead primary is dead before the others know: a lease takes its time, clients go on trying. */
const LEASE_MS = 1000;
/** What a promoted server takes at most to get the leader key of one that has been demoted, in a pause. */
const KEY_MS = 15_000;
/** After the new primary has been found by all, for what comes late. */
const AFTERMATH_MS = 500;

export async function createWrittenTable(cluster: PatroniCluster): Promise<void> {
  await (await cluster.leader()).query(WRITTEN_TABLE);
}

/** One failover of a healthy cluster, until every writer writes again and the cluster is healthy again. */
export async function failOver(
  kind: FailoverKind,
  {
    cluster,
    load,
    routes,
  }: { readonly cluster: PatroniCluster; readonly load: Load; readonly routes: readonly Route[] },
): Promise<Window> {
  const old = await cluster.leader();
  const next = await cluster.synchronousStandby();
  const from = now();
  await DO[kind](cluster, old, next);
  await load.allWrite(routes, next.port);
  await observeFor(AFTERMATH_MS);
  if (kind === 'kill') await old.start();
  await cluster.healthy();
  // So that the next one finds every session where it belongs, and what the old primary did on its way back is seen.
  await load.allWrite(routes, next.port);
  await load.events();
  return { from, to: now(), oldPort: old.port, newPort: next.port };
}

const DO: Readonly<
  Record<FailoverKind, (cluster: PatroniCluster, old: PatroniNode, next: PatroniNode) => Promise<void>>
> = {
  switchover: async (cluster, old, next) => {
    await old.call('POST', '/switchover', { leader: old.name, candidate: next.name });
    await cluster.leads(next);
  },
  kill: async (cluster, old, next) => {
    await old.kill();
    await observeFor(LEASE_MS);
    await cluster.expireLeader();
    await cluster.leads(next);
  },
  demote: async (cluster, old, next) => {
    await cluster.pause(true);
    await old.restartAsStandby();
    await next.promote();
    // Patroni 3.0 at times leaves the key with the old leader, and then nobody leads for as long as the pause lasts.
    if (!(await cluster.leadsWithin(KEY_MS, next))) await cluster.expireLeader();
    await cluster.leads(next);
    await next.settlePromotion();
    await cluster.pause(false);
  },
};

/** The keys of all rows that are there; of those written since `from`, if given. */
export async function acceptedKeys(server: PatroniNode, from = 0): Promise<ReadonlySet<string>> {
  const rows = await server.query(`SELECT writer || ' ' || n FROM written WHERE at >= to_timestamp(${from})`);
  return new Set(rows.split('\n'));
}

/** What each server has written on each timeline, acknowledged or not. */
export async function writtenSpans(server: PatroniNode): Promise<TimelineSpan[]> {
  const time = (which: string): string => `extract(epoch FROM ${which}(at))`;
  const rows = await server.query(
    `SELECT timeline, port, ${time('min')}, ${time('max')} FROM written GROUP BY timeline, port`,
  );
  return rows.split('\n').map((row) => {
    const [timeline = NaN, port = NaN, first = NaN, last = NaN] = row.split('|').map(Number);
    return { timeline, port, first, last };
  });
}

/** By the clock that the servers and the clients have. */
function now(): number {
  return (performance.timeOrigin + performance.now()) / 1000;
}
