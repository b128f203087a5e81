// SPDX-License-Identifier: MIT
// The demo itself: a cluster, the gateway in front, a writer through it; the primary
// is killed, a standby is promoted; then what the writer saw.

import { Gateway } from '../helpers/gateway.js';
import { PostgresServer } from '../helpers/postgres.js';
import { query } from '../helpers/psql.js';
import { eventually, observeFor } from '../helpers/wait.js';
import type { Narrator } from './narrator.js';
import { Writer } from './writer.js';
import type { Write } from './writer.js';

/** What is running when the story is over. */
export interface Stage {
  readonly gateway: Gateway;
  readonly servers: readonly PostgresServer[];
  /** Whether everything came out as promised. */
  readonly good: boolean;
}

const WRITE_FOR_MS = 1500;
/** What an operator or a failover manager takes to decide. */
const DECISION_MS = 500;

/** Plays it. What it starts is registered to be closed at the end of the process. */
export async function playFailover(narrator: Narrator): Promise<Stage> {
  narrator.title('pg-gateway: a failover, as a client sees it; about ten seconds');
  const [primary, next, other] = await startCluster(narrator);
  const servers = [primary, next, other];
  const candidates = servers.map(({ candidate }) => candidate);
  // Clients wait for a primary as they do by default, and not as in most tests.
  const starting = Gateway.start({ candidates, env: { HOLD_TIMEOUT_MS: undefined } });
  const gateway = await narrator.during('starting the gateway in front of them', starting);
  narrator.detail(`clients   ${gateway.clients.host}:${gateway.clients.port}`);
  narrator.detail(`metrics   http://${gateway.metricsAddress.host}:${gateway.metricsAddress.port}/metrics`);

  // On a machine that is busy the first probes may be too late.
  await narrator.during('waiting until it has found the primary', gateway.primaryIs(primary.candidate));
  await primary.query('CREATE TABLE written (n bigint)');
  const writer = new Writer(gateway.clients);
  try {
    writer.start();
    narrator.say('a client writes row after row through the gateway');
    await observeFor(WRITE_FOR_MS);
    await eventually('a row to be written', () => writer.acknowledged > 0);
    const killedAt = await failOver(narrator, { gateway, primary, next, other, writer });
    await writer.close();
    const good = await tell(narrator, { gateway, next, writer, killedAt });
    return { gateway, servers, good };
  } finally {
    await writer.close();
  }
}

async function startCluster(narrator: Narrator): Promise<[PostgresServer, PostgresServer, PostgresServer]> {
  const primary = await narrator.during('making a PostgreSQL primary', PostgresServer.create());
  const standby = (which: string): Promise<PostgresServer> =>
    narrator.during(`making the ${which} standby, which streams from it`, PostgresServer.createStandby(primary));
  const next = await standby('first');
  const other = await standby('second');
  // A write is acknowledged when both standbys have it: then none may be missing afterwards.
  await primary.query("ALTER SYSTEM SET synchronous_standby_names = 'ANY 2 (*)'");
  await primary.query('SELECT pg_reload_conf()');
  await eventually('both standbys to be synchronous', async () => {
    return (await primary.query("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'")) === '2';
  });
  narrator.detail(`primary   ${primary.candidate}`);
  narrator.detail(`standbys  ${next.candidate}, ${other.candidate}`);
  return [primary, next, other];
}

interface Cast {
  readonly gateway: Gateway;
  readonly primary: PostgresServer;
  readonly next: PostgresServer;
  readonly other: PostgresServer;
  readonly writer: Writer;
}

/** When the primary was killed. */
async function failOver(narrator: Narrator, { gateway, primary, next, other, writer }: Cast): Promise<number> {
  narrator.say(`${writer.acknowledged} rows written; ${narrator.bad('killing the primary')} ${primary.candidate}`);
  const killedAt = performance.now();
  await primary.crash();
  await gateway.primaryIs('none');
  narrator.say('the gateway knows that there is no primary');
  await observeFor(DECISION_MS);

  narrator.say(`promoting ${next.candidate}`);
  await next.promote();
  await gateway.primaryIs(next.candidate);
  narrator.say(`the gateway has found the new primary: ${narrator.good(next.candidate)}`);
  const before = writer.acknowledged;
  await eventually('the client to write again', () => writer.acknowledged > before);
  narrator.say('the client writes again');
  await other.follow(next);
  await observeFor(WRITE_FOR_MS);
  return killedAt;
}

/** Prints the summary; whether all is well. */
async function tell(
  narrator: Narrator,
  { gateway, next, writer, killedAt }: { gateway: Gateway; next: PostgresServer; writer: Writer; killedAt: number },
): Promise<boolean> {
  const acknowledged = writer.writes.filter(({ error }) => error === undefined);
  const { lastBefore, firstAfter } = longestGap(acknowledged);
  const before = acknowledged.filter(({ at }) => at <= lastBefore).length;
  const after = acknowledged.length - before;
  const failures = writer.writes.filter(({ error }) => error !== undefined);
  const rows = Number(await next.query('SELECT count(DISTINCT n) FROM written'));
  const server = await eventually('the gateway to serve', () =>
    query(gateway.clients, 'SELECT inet_server_port(), pg_is_in_recovery()'),
  );

  narrator.title('What the client saw');
  const row = (name: string, text: string): void => {
    narrator.detail(`${name.padEnd(16)}${text}`);
  };
  row(
    'writes before',
    `${before}, the last one at ${narrator.seconds(lastBefore)} s (killed at ${narrator.seconds(killedAt)} s)`,
  );
  row('outage', `${Math.round(firstAfter - lastBefore)} ms without a successful write`);
  for (const [text, count] of countTexts(failures)) row('', `${count} x ${text}`);
  row('writes after', `${after}, the first one at ${narrator.seconds(firstAfter)} s`);
  row('rows', `${acknowledged.length} acknowledged, ${rows} in the table`);
  row('served by', `${next.candidate}, the new primary`);
  // The last words of a dying server may not arrive: then a row is in the table that nobody was told of.
  const good = before > 0 && after > 0 && rows >= acknowledged.length && server === `${next.port}|f`;
  narrator.title(
    good ? narrator.good('No acknowledged row was lost.') : narrator.bad('That is not what should have happened.'),
  );
  return good;
}

/** The longest time without a successful write. */
function longestGap(acknowledged: readonly Write[]): { lastBefore: number; firstAfter: number } {
  let gap = { lastBefore: 0, firstAfter: 0 };
  for (const [index, { at }] of acknowledged.entries()) {
    const previous = acknowledged[index - 1];
    if (previous !== undefined && at - previous.at > gap.firstAfter - gap.lastBefore) {
      gap = { lastBefore: previous.at, firstAfter: at };
    }
  }
  return gap;
}

function countTexts(failures: readonly Write[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { error = '' } of failures) {
    const text = plainly(error);
    counts.set(text, (counts.get(text) ?? 0) + 1);
  }
  return counts;
}

function plainly(error: string): string {
  if (error.startsWith('the connection ended')) return 'connection lost';
  return error.replace(/^the server says: (.*)$/, 'refused: "$1"');
}
