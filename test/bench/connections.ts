// SPDX-License-Identifier: MIT
// A connection for each transaction: `pgbench -C -S`.

import type { Part } from './part.js';
import { pgbench } from './pgbench.js';
import { interleaved } from './routes.js';
import { runSeconds } from './settings.js';

const CLIENTS = 8;

export const connections: Part = {
  name: 'connections',
  title: `pgbench -C -S with ${CLIENTS} clients`,
  metrics: [
    { key: 'perS', title: 'connections/s', digits: 0, better: 'more', headline: true },
    { key: 'cpuUs', title: 'CPU of the proxy, us/connection', digits: 1, better: 'less', headline: true },
  ],
  seconds: (settings, routes) => routes * runSeconds(settings, CLIENTS),
  run: async (bench) => {
    const { settings, stand, progress } = bench;
    const what = 'connections';
    await interleaved(settings.rounds, stand.routes, async (route, round) => {
      const figures = await progress.during(
        `${what}, round ${round}/${settings.rounds}, ${route.name}`,
        async () => {
          const { tps, transactions, cpu } = await pgbench(stand, route, settings, { clients: CLIENTS, connect: true });
          const cpuUs = cpu.totalUs / transactions;
          const seen: Record<string, number> = { perS: tps, ...(route.pids.length > 0 ? { cpuUs } : {}) };
          return seen;
        },
        ({ perS = 0, cpuUs }) => `${perS.toFixed(0)}/s${cpuUs === undefined ? '' : `, ${cpuUs.toFixed(1)} us`}`,
      );
      bench.record({ part: connections.name, case: what, route: route.name, round, figures });
    });
    bench.finished(connections, what);
  },
};
