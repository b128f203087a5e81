// SPDX-License-Identifier: MIT
// Small queries alone, and beside one bulk COPY that goes through the same worker. On few cores the COPY also takes
// CPU time from the server and the clients: the direct way shows how much that is.

import { Child } from '../helpers/child.js';
import { plainEnvironment, postgresProgram, SUPERUSER } from '../helpers/postgres-install.js';
import type { PostgresServer } from '../helpers/postgres.js';
import { eventually } from '../helpers/wait.js';
import { ALONE, BESIDE } from './cases.js';
import { linesQuery } from './copy.js';
import { briefly, transactionFigures } from './oltp.js';
import type { Part } from './part.js';
import { pgbench } from './pgbench.js';
import { interleaved } from './routes.js';
import type { Route } from './routes.js';
import { MIXED_CLIENTS, runSeconds } from './settings.js';

/** Far more than any run lasts. */
const ENDLESS = 2_000_000_000;

export const mixed: Part = {
  name: 'mixed',
  title: `pgbench -S -M prepared with ${MIXED_CLIENTS} clients`,
  metrics: [
    { key: 'p99Ms', title: 'p99, ms', digits: 3, better: 'less', headline: true },
    { key: 'averageMs', title: 'average, ms', digits: 3, better: 'less' },
    { key: 'tps', title: 'transactions/s', digits: 0, better: 'more' },
    { key: 'copyMbPerS', title: 'COPY, MB/s', digits: 0, better: 'more' },
  ],
  seconds: (settings, routes) => 2 * routes * runSeconds(settings, MIXED_CLIENTS),
  run: async (bench) => {
    const { settings, stand, progress } = bench;
    const items = stand.routes.flatMap((route) => [
      { route, what: ALONE },
      { route, what: BESIDE },
    ]);
    await interleaved(settings.rounds, items, async ({ route, what }, round) => {
      const small = async (): Promise<Record<string, number>> => {
        const {
          cpuUs: _,
          busiestUs: __,
          ...figures
        } = transactionFigures(await pgbench(stand, route, settings, { clients: MIXED_CLIENTS }), false);
        return figures;
      };
      const figures = await progress.during(
        `mixed, ${what}, round ${round}/${settings.rounds}, ${route.name}`,
        () => (what === BESIDE ? besideCopy(stand.server, route, small) : small()),
        briefly,
      );
      bench.record({ part: mixed.name, case: what, route: route.name, round, figures });
    });
    bench.finished(mixed, ALONE);
    bench.finished(mixed, BESIDE);
  },
};

async function besideCopy(
  server: PostgresServer,
  { host, port }: Route,
  work: () => Promise<Record<string, number>>,
): Promise<Record<string, number>> {
  const bulk = new Child(
    [postgresProgram('psql'), '-Xq', '-o', '/dev/null', '-c', `COPY (${linesQuery(ENDLESS)}) TO STDOUT`],
    { env: plainEnvironment({ PGHOST: host, PGPORT: String(port), PGUSER: SUPERUSER, PGDATABASE: 'postgres' }) },
  );
  try {
    const before = await eventually('a COPY that flows', async () => {
      if (bulk.result !== undefined) return { at: 0, bytes: 0 };
      const progress = await copied(server);
      return progress.bytes > 0 ? progress : undefined;
    });
    const figures = await work();
    const after = await copied(server);
    if (bulk.result !== undefined) throw new Error(`the COPY beside the small queries ended: ${bulk.stderr}`);
    return { ...figures, copyMbPerS: (after.bytes - before.bytes) / 1000 / (after.at - before.at) };
  } finally {
    await bulk.close();
    await eventually('the end of the COPY', async () => (await copied(server)).bytes === 0);
  }
}

/** Bytes that the COPY has made so far; 0: there is none. */
async function copied(server: PostgresServer): Promise<{ readonly at: number; readonly bytes: number }> {
  const bytes = Number(await server.query('SELECT COALESCE(sum(bytes_processed), 0) FROM pg_stat_progress_copy'));
  return { at: performance.now(), bytes };
}
