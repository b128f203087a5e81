// SPDX-License-Identifier: MIT
// Whether the gateway gives back what sessions took: its memory before and after very many of them. The heap of its
// control plane also grows while nothing happens, until the garbage collector has a reason to run: how fast that is, is
// measured first, and what it makes of the time that the sessions take is no growth by them.

import { observeFor } from '../helpers/wait.js';
import { churnText, sessionsText } from './cases.js';
import { held } from './costs.js';
import { churnSessions, IdleServer } from './idle-sessions.js';
import type { Bench, Part } from './part.js';
import { gatewayRoute } from './routes.js';
import type { Route } from './routes.js';

/** For the announcement. */
const PER_S = 2000;
/** The first step fills what is kept for the next sessions, and ends what the start has left behind: it is not counted. */
const STEPS = 4;
/** How long it is at rest, in readings. */
const REST = 3;

export const churn: Part = {
  name: 'churn',
  title: 'sessions opened and closed',
  metrics: [
    { key: 'beforeMb', title: 'memory after a quarter, MB', digits: 2 },
    { key: 'afterMb', title: 'memory after all, MB', digits: 2 },
    { key: 'restMb', title: 'growth at rest in the same time, MB', digits: 2 },
    { key: 'bytes', title: 'growth beyond that, B/session', digits: 2, better: 'less' },
  ],
  seconds: ({ churnSessions: count, settleSeconds }) => count / PER_S + (STEPS + REST) * settleSeconds,
  run: async (bench) => {
    const { settings, stand } = bench;
    const server = await IdleServer.start(stand.server.port);
    try {
      const route = await gatewayRoute({ serverPort: server.port, workers: 1, connections: 0 });
      try {
        const figures = await measured(bench, route);
        const what = churnText(settings.churnSessions);
        bench.record({ part: churn.name, case: what, route: route.name, round: 1, figures });
      } finally {
        await route.close();
      }
    } finally {
      await server.close();
    }
    bench.finished(churn, churnText(settings.churnSessions));
  },
};

interface Reading {
  readonly at: number;
  readonly bytes: number;
}

async function measured({ settings, progress }: Bench, route: Route): Promise<Record<string, number>> {
  const reading = (what: string, work: () => Promise<void>): Promise<Reading> =>
    progress.during(
      `churn, ${what}`,
      async () => {
        await work();
        const { bytes } = await held(route.pids, settings.settleSeconds);
        return { at: performance.now(), bytes };
      },
      ({ bytes }) => `${(bytes / 1e6).toFixed(2)} MB`,
    );
  const each = Math.ceil(settings.churnSessions / STEPS);
  const first = await reading(sessionsText(each), () => churnSessions(route, each));
  const before = await reading('at rest', () => observeFor((REST - 1) * settings.settleSeconds * 1000));
  let after = before;
  for (let done = 2; done <= STEPS; done += 1) {
    after = await reading(sessionsText(each * done), () => churnSessions(route, each));
  }
  // Memory that is given back at rest is no reason to expect less.
  const bytesPerMs = Math.max(0, (before.bytes - first.bytes) / (before.at - first.at));
  const atRest = bytesPerMs * (after.at - before.at);
  const growth = (after.bytes - before.bytes - atRest) / (each * (STEPS - 1));
  return { beforeMb: before.bytes / 1e6, afterMb: after.bytes / 1e6, restMb: atRest / 1e6, bytes: growth };
}
