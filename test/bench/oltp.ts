// SPDX-License-Identifier: MIT
// Small transactions: `pgbench -S -M prepared`.

import { clientsText } from './cases.js';
import type { Part } from './part.js';
import { pgbench } from './pgbench.js';
import type { PgbenchRun } from './pgbench.js';
import { interleaved } from './routes.js';
import { runSeconds } from './settings.js';

export const oltp: Part = {
  name: 'oltp',
  title: 'pgbench -S -M prepared',
  metrics: [
    { key: 'tps', title: 'transactions/s', digits: 0, better: 'more', headline: true },
    { key: 'averageMs', title: 'average, ms', digits: 3, better: 'less' },
    { key: 'p99Ms', title: 'p99, ms', digits: 3, better: 'less', headline: true },
    { key: 'cpuUs', title: 'CPU of the proxy, us/transaction', digits: 2, better: 'less', headline: true },
  ],
  seconds: (settings, routes) =>
    routes * settings.clients.reduce((all, clients) => all + runSeconds(settings, clients), 0),
  run: async (bench) => {
    const { settings, stand, progress } = bench;
    for (const clients of settings.clients) {
      const what = clientsText(clients);
      await interleaved(settings.rounds, stand.routes, async (route, round) => {
        const figures = await progress.during(
          `oltp, ${what}, round ${round}/${settings.rounds}, ${route.name}`,
          async () => transactionFigures(await pgbench(stand, route, settings, { clients }), route.pids.length > 0),
          (seen) => briefly(seen),
        );
        bench.record({ part: oltp.name, case: what, route: route.name, round, figures });
      });
      bench.finished(oltp, what);
    }
  },
};

/** `proxied`: there is one whose CPU time counts. */
export function transactionFigures(run: PgbenchRun, proxied: boolean): Record<string, number> {
  const { tps, averageMs, p99Ms, transactions, cpu } = run;
  return {
    tps,
    averageMs,
    p99Ms,
    ...(proxied ? { cpuUs: cpu.totalUs / transactions, busiestUs: cpu.busiestUs / transactions } : {}),
  };
}

export function briefly({ tps = 0, p99Ms = 0, cpuUs }: Readonly<Record<string, number>>): string {
  const cpu = cpuUs === undefined ? '' : `, ${cpuUs.toFixed(2)} us`;
  return `${tps.toFixed(0)}/s, p99 ${p99Ms.toFixed(3)} ms${cpu}`;
}
