// SPDX-License-Identifier: MIT
// Whether the gateway gives back what sessions took: its memory before and after very many of them.

import { churnText } from './cases.js';
import { held } from './costs.js';
import { churnSessions, IdleServer } from './idle-sessions.js';
import type { Part } from './part.js';
import { gatewayRoute } from './routes.js';

/** For the announcement. */
const PER_S = 2000;
const STEPS = 4;
/** The first ones fill what is kept for the next ones: they are not counted. */
const FIRST_PART = 0.05;

export const churn: Part = {
  name: 'churn',
  title: 'sessions opened and closed',
  metrics: [
    { key: 'beforeMb', title: 'memory before, MB', digits: 2 },
    { key: 'afterMb', title: 'memory after, MB', digits: 2 },
    { key: 'bytes', title: 'growth, B/session', digits: 2, better: 'less' },
  ],
  seconds: ({ churnSessions: count, settleSeconds }) =>
    ((1 + FIRST_PART) * count) / PER_S + (STEPS + 1) * settleSeconds,
  run: async (bench) => {
    const { settings, stand, progress } = bench;
    const count = settings.churnSessions;
    const server = await IdleServer.start(stand.server.port);
    try {
      const route = await gatewayRoute({ serverPort: server.port, workers: 1, connections: 0 });
      try {
        const step = (what: string, sessions: number): Promise<number> =>
          progress.during(
            `churn, ${what}`,
            async () => {
              await churnSessions(route, sessions);
              return (await held(route.pids, settings.settleSeconds)).bytes;
            },
            (bytes) => `${(bytes / 1e6).toFixed(2)} MB`,
          );
        const before = await step('first sessions', Math.ceil(count * FIRST_PART));
        let after = before;
        for (let done = 1; done <= STEPS; done += 1) {
          after = await step(`${Math.round((count / STEPS) * done)} sessions`, Math.ceil(count / STEPS));
        }
        const figures = { beforeMb: before / 1e6, afterMb: after / 1e6, bytes: (after - before) / count };
        bench.record({ part: churn.name, case: churnText(count), route: route.name, round: 1, figures });
      } finally {
        await route.close();
      }
    } finally {
      await server.close();
    }
    bench.finished(churn, churnText(count));
  },
};
