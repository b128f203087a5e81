// SPDX-License-Identifier: MIT
// Thousands of idle sessions, and eight that work: what these notice of the others. Two gateways stand in front of the
// same server, one with the crowd and one without, and the eight go through one and the other in turn.

import type { Socket } from 'node:net';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { closeSession, IdleServer, openSessions, sessionsThatFit } from '../bench/idle-sessions.js';
import { gatewayRoute, interleaved } from '../bench/routes.js';
import type { Route } from '../bench/routes.js';
import { quantile } from '../bench/statistics.js';
import { format } from '../bench/table.js';
import { connectionsAt } from '../helpers/processes.js';
import { temporaryFolder } from '../helpers/paths.js';
import { PostgresServer } from '../helpers/postgres.js';
import { count } from './check.js';
import { CLIENTS, p99While } from './latency.js';
import type { Part, PartResult } from './part.js';
import type { Settings } from './settings.js';

const OPENED_PER_S = 1500;
const START_SECONDS = 6;
/** Beside what a run measures. */
const RUN_SECONDS = 1;
const MOST = 1.5;
const SPARE_CONNECTIONS = 50;

export const crowd: Part = {
  name: 'crowd',
  seconds: ({ rounds, seconds, idleSessions }) =>
    START_SECONDS + idleSessions / OPENED_PER_S + 2 * rounds * (seconds + RUN_SECONDS),
  run: async (settings, progress) => {
    const folder = await temporaryFolder();
    const real = await progress.during('crowd: a server', () => PostgresServer.create());
    const server = await IdleServer.start(real.port);
    const open: Route[] = [];
    const sessions: Socket[] = [];
    try {
      const sessionCount = Math.min(settings.idleSessions, sessionsThatFit() - SPARE_CONNECTIONS);
      const options = { serverPort: server.port, workers: 1, connections: sessionCount };
      const crowded = await progress.during('crowd: two gateways', async () => {
        open.push(await gatewayRoute(options), await gatewayRoute(options));
        return open[0];
      });
      if (crowded === undefined) throw new Error('there is no gateway');
      await progress.during(`crowd: ${count(sessionCount)} sessions`, () =>
        openSessions(crowded, sessions, sessionCount),
      );
      const p99s = new Map(open.map((route) => [route, [] as number[]]));
      const script = join(folder.path, 'one.sql');
      await writeFile(script, 'SELECT 1;\n');
      await interleaved(settings.rounds, open, async (route, round) => {
        const idle = route === crowded ? sessionCount : 0;
        const ms = await progress.during(
          `crowd: round ${round}/${settings.rounds}, 8 sessions beside ${count(idle)} idle ones`,
          () => measured(settings, folder.path, route, script, idle),
          (seen) => `p99 ${seen.toFixed(3)} ms`,
        );
        p99s.get(route)?.push(ms);
      });
      const [beside = [], alone = []] = [...p99s.values()];
      return resultOf(settings, sessionCount, sessions, beside, alone);
    } finally {
      await progress.during('crowd: taking it away', async () => {
        await Promise.all(sessions.map(closeSession));
        for (const route of open) await route.close();
        await server.close();
        await real.close();
        await folder.close();
      });
    }
  },
};

function measured(settings: Settings, folder: string, route: Route, script: string, idle: number): Promise<number> {
  const [pid = 0] = route.pids;
  return p99While(
    {
      target: route,
      folder,
      script: ['-f', script],
      seconds: settings.seconds,
      connected: () => Promise.resolve(connectionsAt(pid, route.port) >= idle + CLIENTS),
    },
    () => Promise.resolve(() => Promise.resolve()),
  );
}

function resultOf(
  { tiny, idleSessions }: Settings,
  sessionCount: number,
  sessions: readonly Socket[],
  beside: readonly number[],
  alone: readonly number[],
): PartResult {
  const ratio = quantile(
    beside.map((ms, round) => ms / (alone[round] ?? NaN)),
    0.5,
  );
  const gone = sessions.filter((socket) => socket.destroyed).length;
  const figures = `${format(ratio, 2)} x (${format(quantile(beside, 0.5), 3)} ms beside them, ${format(quantile(alone, 0.5), 3)} ms without)`;
  return {
    checks: [
      {
        what: `p99 of 8 sessions beside ${count(sessionCount)} idle ones`,
        // One short round says nothing.
        passed: tiny || ratio <= MOST,
        measured: `${figures}${tiny ? ', too short to be judged' : `, at most ${MOST} x`}`,
      },
      {
        what: 'idle sessions that are still there',
        // Fewer than were to be held say less.
        passed: gone === 0 && sessionCount === idleSessions,
        measured: `${count(sessionCount - gone)} of ${count(idleSessions)}`,
      },
    ],
    rows: [[`p99 of 8 sessions beside ${count(sessionCount)} idle ones, to that without them`, figures]],
    figures: { sessionCount, gone, ratio, besideMs: beside, aloneMs: alone },
  };
}
