// SPDX-License-Identifier: MIT
// What all parts share: the server with its tables, and the routes to it with one worker each.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { temporaryFolder } from '../helpers/paths.js';
import { PostgresServer } from '../helpers/postgres.js';
import { clientProgram } from '../helpers/psql.js';
import { MIXED_CLIENTS, WORKERS_CLIENTS } from './settings.js';
import { directRoute, gatewayRoute, peerRoute } from './routes.js';
import type { Route } from './routes.js';
import type { Progress } from './progress.js';
import type { Settings } from './settings.js';

export interface Stand {
  readonly server: PostgresServer;
  /** Direct first, the gateway last. */
  readonly routes: readonly Route[];
  /** Clients at the same time that every route takes. */
  readonly connections: number;
  /** For what is written meanwhile. */
  readonly folder: string;
  /** A file of lines for COPY, of so many megabytes. */
  readonly lines: { readonly file: string; readonly megabytes: number };
  close(): Promise<void>;
}

/** One of these is a row of a COPY, in a file and out of the server. */
export const LINE_BYTES = 8000;
const FILE_MEGABYTES = 64;
const INIT_DEADLINE_MS = 120_000;
/** Beside the clients of the benchmark: probes, checks, the bulk COPY, who looks. */
const SPARE_CONNECTIONS = 50;

export async function openStand(settings: Settings, progress: Progress): Promise<Stand> {
  const connections = Math.max(...settings.clients, WORKERS_CLIENTS, MIXED_CLIENTS);
  const taken = connections + SPARE_CONNECTIONS;
  const folder = await temporaryFolder();
  const server = await progress.during('PostgreSQL', () =>
    PostgresServer.create({
      // The server processes of clients that have gone may end a moment later.
      settings: { max_connections: String(3 * taken), shared_buffers: '128MB', max_wal_size: '4GB' },
    }),
  );
  await progress.during(`tables, pgbench -s ${settings.scale}`, () => fill(server, settings.scale));
  const megabytes = Math.min(FILE_MEGABYTES, settings.copyMegabytes);
  const file = join(folder.path, 'lines');
  await writeFile(file, `${'x'.repeat(LINE_BYTES - 1)}\n`.repeat((megabytes * 1e6) / LINE_BYTES));
  const options = { serverPort: server.port, workers: 1, connections: taken };
  const routes = [directRoute(server.port)];
  for (const peer of settings.peers) {
    routes.push(await progress.during(peer, () => peerRoute(peer, options)));
  }
  routes.push(await progress.during('pg-gateway', () => gatewayRoute(options)));
  return {
    server,
    routes,
    connections: taken,
    folder: folder.path,
    lines: { file, megabytes },
    close: async () => {
      await Promise.all(routes.map((route) => route.close()));
      await server.close();
      await folder.close();
    },
  };
}

async function fill(server: PostgresServer, scale: number): Promise<void> {
  const target = { host: server.host, port: server.port };
  const { status, stderr } = await clientProgram(
    target,
    'pgbench',
    ['-i', '-q', '-s', String(scale)],
    INIT_DEADLINE_MS,
  );
  if (status !== 0) throw new Error(`pgbench -i failed: ${stderr}`);
  await server.query('CREATE UNLOGGED TABLE bulk (line text)');
  // What the tables have left to do is done now, not during a measurement.
  await server.query('VACUUM (ANALYZE, FREEZE)');
  await server.query('CHECKPOINT');
}
