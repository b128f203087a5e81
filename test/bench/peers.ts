// SPDX-License-Identifier: MIT
// HAProxy, nginx and PgBouncer as processes of the benchmark, each with its configuration in a folder of its own.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { Child, run } from '../helpers/child.js';
import { temporaryFolder } from '../helpers/paths.js';
import type { TemporaryFolder } from '../helpers/paths.js';
import { PgSession } from '../helpers/pg-session.js';
import { freePort } from '../helpers/ports.js';
import { asServerOwner, makeOwned } from '../helpers/postgres-install.js';
import { descendantsOf } from '../helpers/processes.js';
import { eventually } from '../helpers/wait.js';
import {
  haproxyConfiguration,
  nginxConfiguration,
  PGBOUNCER_USERS,
  pgbouncerConfiguration,
} from './peer-configurations.js';
import type { PeerSetup } from './peer-configurations.js';
import type { PeerName } from './settings.js';

interface PeerKind {
  readonly title: string;
  readonly configuration: (setup: PeerSetup) => string;
  readonly command: (file: string, folder: string) => readonly string[];
  /** It can have several workers. */
  readonly scales: boolean;
  /** Of another peer, for small and for bulk traffic; in all else they are the same. */
  readonly variant?: boolean;
  /** What is in users.txt beside the configuration. */
  readonly users?: string;
  /** It refuses to be root. */
  readonly unprivileged?: boolean;
  readonly version: readonly string[];
}

const haproxy = {
  command: (file: string) => ['/usr/sbin/haproxy', '-db', '-f', file],
  scales: true,
  version: ['/usr/sbin/haproxy', '-v'],
};

export const PEERS: Readonly<Record<PeerName, PeerKind>> = {
  haproxy: {
    ...haproxy,
    title: 'HAProxy',
    configuration: (setup) => haproxyConfiguration(setup, { splice: false }),
  },
  'haproxy-splice': {
    ...haproxy,
    title: 'HAProxy, splice',
    configuration: (setup) => haproxyConfiguration(setup, { splice: true }),
    variant: true,
  },
  nginx: {
    title: 'nginx',
    configuration: nginxConfiguration,
    command: (file, folder) => ['/usr/sbin/nginx', '-p', folder, '-e', 'stderr', '-c', file],
    scales: true,
    version: ['/usr/sbin/nginx', '-v'],
  },
  pgbouncer: {
    title: 'PgBouncer',
    configuration: pgbouncerConfiguration,
    command: (file) => ['/usr/sbin/pgbouncer', file],
    scales: false,
    users: PGBOUNCER_USERS,
    unprivileged: true,
    version: ['/usr/sbin/pgbouncer', '--version'],
  },
};

export class Peer {
  readonly title: string;
  readonly host = '127.0.0.1';
  readonly port: number;
  readonly #folder: TemporaryFolder;
  readonly #process: Child;
  #pids: readonly number[] = [];

  private constructor(title: string, port: number, folder: TemporaryFolder, process: Child) {
    this.title = title;
    this.port = port;
    this.#folder = folder;
    this.#process = process;
  }

  /** Sessions get through it to the server when this returns. */
  static async start(
    name: PeerName,
    { serverPort, workers, connections }: Pick<PeerSetup, 'serverPort' | 'workers' | 'connections'>,
  ): Promise<Peer> {
    const kind = PEERS[name];
    const folder = await temporaryFolder();
    const port = await freePort();
    const file = join(folder.path, `${name}.conf`);
    await writeFile(file, kind.configuration({ port, serverPort, workers, connections, folder: folder.path }));
    if (kind.users !== undefined) await writeFile(join(folder.path, 'users.txt'), kind.users);
    if (kind.unprivileged === true) await makeOwned(folder.path);
    const owner = kind.unprivileged === true ? asServerOwner() : {};
    const child = new Child(kind.command(file, folder.path), { cwd: '/', input: '', ...owner });
    const peer = new Peer(kind.title, port, folder, child);
    try {
      await eventually(`a session through ${kind.title}`, async () => {
        if (child.result !== undefined) return 'ended' as const;
        (await PgSession.open(peer)).close();
        return 'open' as const;
      });
      if (child.result !== undefined) throw new Error(`${kind.title} ended: ${child.stderr}${child.stdout}`);
    } catch (error) {
      await peer.close();
      throw error;
    }
    peer.#pids = [child.pid, ...descendantsOf(child.pid)];
    return peer;
  }

  /** All its processes. It does not start more of them. */
  get pids(): readonly number[] {
    return this.#pids;
  }

  async close(): Promise<void> {
    await this.#process.close();
    await this.#folder.close();
  }
}

/** The name of the program with its version. */
export async function peerVersion(name: PeerName): Promise<string> {
  const { stdout, stderr } = await run(PEERS[name].version);
  // nginx says it on standard error.
  return `${PEERS[name].title.split(',')[0] ?? ''} ${/\d+\.\d[\w.+~-]*/.exec(stdout + stderr)?.[0] ?? '?'}`;
}
