// SPDX-License-Identifier: MIT
// What a session costs that does nothing: memory of the proxy and its descriptors, against the proxy without sessions.
// What the kernel keeps for sockets is not in it, and is the same for all.

import type { Socket } from 'node:net';

import { observeFor } from '../helpers/wait.js';
import { sessionsText } from './cases.js';
import { held } from './costs.js';
import { closeSession, IdleServer, openSessions, sessionsThatFit } from './idle-sessions.js';
import type { Bench, Part } from './part.js';
import { say } from './progress.js';
import { gatewayRoute, peerRoute } from './routes.js';
import type { Route } from './routes.js';
import { PEERS } from './peers.js';

/** For the announcement. */
const OPENED_PER_S = 2000;
const SPARE_CONNECTIONS = 50;
/** In readings: a heap with a garbage collector keeps what the start has left behind for some twenty seconds. */
const REST = 3;

export const idle: Part = {
  name: 'idle',
  title: 'sessions that do nothing, each after one query',
  metrics: [
    { key: 'bytes', title: 'memory of the proxy, B/session', digits: 0, better: 'less', headline: true },
    { key: 'descriptors', title: 'descriptors/session', digits: 2, better: 'less' },
    { key: 'emptyMb', title: 'without sessions, MB', digits: 1, better: 'less' },
  ],
  seconds: ({ idleSessions, settleSeconds, peers }) =>
    (peers.length + 1) * ((idleSessions.length + 1 + REST) * settleSeconds + Math.max(...idleSessions) / OPENED_PER_S),
  run: async (bench) => {
    const { settings, stand, progress } = bench;
    const most = sessionsThatFit();
    if (most < Math.max(...settings.idleSessions)) say(`the limit of descriptors is for ${most} sessions only`);
    const counts = [...new Set(settings.idleSessions.map((count) => Math.min(count, most)))];
    const server = await IdleServer.start(stand.server.port);
    try {
      const connections = Math.max(...counts) + SPARE_CONNECTIONS;
      const options = { serverPort: server.port, workers: 1, connections };
      const peers = settings.peers.filter((peer) => PEERS[peer].variant !== true);
      for (const start of [...peers.map((peer) => () => peerRoute(peer, options)), () => gatewayRoute(options)]) {
        const route = await progress.during('idle sessions', start, ({ name }) => name);
        try {
          await measure(bench, route, counts);
        } finally {
          await route.close();
        }
      }
    } finally {
      await server.close();
    }
    for (const count of counts) bench.finished(idle, sessionsText(count));
  },
};

async function measure({ settings, progress, record }: Bench, route: Route, counts: readonly number[]): Promise<void> {
  const sessions: Socket[] = [];
  try {
    const empty = await progress.during(`idle, 0 sessions, ${route.name}`, async () => {
      await observeFor(REST * settings.settleSeconds * 1000);
      return held(route.pids, settings.settleSeconds);
    });
    for (const count of counts) {
      const figures = await progress.during(
        `idle, ${sessionsText(count)}, ${route.name}`,
        async () => {
          await openSessions(route, sessions, count);
          const full = await held(route.pids, settings.settleSeconds);
          return {
            bytes: (full.bytes - empty.bytes) / count,
            descriptors: (full.descriptors - empty.descriptors) / count,
            emptyMb: empty.bytes / 1e6,
          };
        },
        ({ bytes, descriptors }) => `${bytes.toFixed(0)} B and ${descriptors.toFixed(2)} descriptors each`,
      );
      record({ part: idle.name, case: sessionsText(count), route: route.name, round: 1, figures });
    }
    const gone = sessions.filter((socket) => socket.destroyed).length;
    if (gone > 0) throw new Error(`${gone} idle sessions by ${route.name} were closed`);
  } finally {
    await Promise.all(sessions.map(closeSession));
  }
}
