// SPDX-License-Identifier: MIT
// Whether the gateway gives back what sessions took: its memory before and after very many of them.

import { churnText, sessionsText } from './cases.js';
import { held } from './costs.js';
import { churnSessions, IdleServer } from './idle-sessions.js';
import type { Part } from './part.js';
import { gatewayRoute } from './routes.js';

/** For the announcement. */
const PER_S = 2000;
/** The first step fills what is kept for the next sessions, and ends what the start has left behind: it is not counted. */
const STEPS = 4;

export const churn: Part = {
  name: 'churn',
  title: 'sessions opened and closed',
  metrics: [
    { key: 'beforeMb', title: 'memory after a quarter, MB', digits: 2 },
    { key: 'afterMb', title: 'memory after all, MB', digits: 2 },
    { key: 'bytes', title: 'growth, B/session', digits: 2, better: 'less' },
  ],
  seconds: ({ churnSessions: count, settleSeconds }) => count / PER_S + STEPS * settleSeconds,
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
        const each = Math.ceil(count / STEPS);
        const before = await step(sessionsText(each), each);
        let after = before;
        for (let done = 2; done <= STEPS; done += 1) after = await step(sessionsText(each * done), each);
        const bytes = (after - before) / (each * (STEPS - 1));
        const figures = { beforeMb: before / 1e6, afterMb: after / 1e6, bytes };
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
