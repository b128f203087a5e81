// SPDX-License-Identifier: MIT
// More workers. Where the server and the clients fill the machine, no number of workers makes it faster: what they could
// do is seen in the CPU time of the busiest of them, which is what would be full first.

import { workersText } from './cases.js';
import { briefly, transactionFigures } from './oltp.js';
import type { Part } from './part.js';
import { PEERS } from './peers.js';
import { pgbench } from './pgbench.js';
import { gatewayRoute, interleaved, peerRoute } from './routes.js';
import type { Route } from './routes.js';
import { runSeconds, WORKERS_CLIENTS } from './settings.js';
import type { PeerName, Settings } from './settings.js';

export const workers: Part = {
  name: 'workers',
  title: `pgbench -S -M prepared with ${WORKERS_CLIENTS} clients, by workers`,
  metrics: [
    { key: 'tps', title: 'transactions/s', digits: 0, better: 'more' },
    { key: 'p99Ms', title: 'p99, ms', digits: 3, better: 'less' },
    { key: 'cpuUs', title: 'CPU of the proxy, us/transaction', digits: 2, better: 'less' },
    { key: 'busiestUs', title: 'of the busiest worker', digits: 2, better: 'less' },
    {
      key: 'capacity',
      title: 'transactions/s with the busiest worker full',
      digits: 0,
      better: 'more',
      headline: true,
    },
  ],
  seconds: (settings) =>
    settings.workers.length * (scalable(settings).length + 1) * runSeconds(settings, WORKERS_CLIENTS),
  run: async (bench) => {
    const { settings, stand, progress } = bench;
    const started: { readonly count: number; readonly route: Route }[] = [];
    try {
      for (const count of settings.workers) {
        const options = { serverPort: stand.server.port, workers: count, connections: stand.connections };
        const starts = [
          ...scalable(settings).map((peer) => () => peerRoute(peer, options)),
          () => gatewayRoute(options),
        ];
        for (const start of starts) {
          const route = await progress.during(workersText(count), start, ({ name }) => name);
          started.push({ count, route });
        }
      }
      await interleaved(settings.rounds, started, async ({ count, route }, round) => {
        const figures = await progress.during(
          `${workersText(count)}, round ${round}/${settings.rounds}, ${route.name}`,
          async () => {
            const run = await pgbench(stand, route, settings, { clients: WORKERS_CLIENTS });
            const seen = transactionFigures(run, true);
            return { ...seen, capacity: 1e6 / (run.cpu.busiestUs / run.transactions) };
          },
          briefly,
        );
        bench.record({ part: workers.name, case: workersText(count), route: route.name, round, figures });
      });
    } finally {
      for (const { route } of started) await route.close();
    }
    for (const count of settings.workers) bench.finished(workers, workersText(count));
  },
};

function scalable({ peers }: Settings): PeerName[] {
  return peers.filter((peer) => PEERS[peer].scales && PEERS[peer].variant !== true);
}
