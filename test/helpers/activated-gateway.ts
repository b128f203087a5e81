// SPDX-License-Identifier: MIT
// The gateway as a service manager starts it: with listening sockets that somebody
// else has bound and still holds.

import { join } from 'node:path';

import { Child } from './child.js';
import { MAIN, preloading, PROGRAM_ENV, temporaryFolder, testFile } from './paths.js';
import type { TemporaryFolder } from './paths.js';
import { SUPERUSER } from './postgres-install.js';
import { isAlive, signal } from './processes.js';
import type { Target } from './psql.js';
import { eventually } from './wait.js';

/** `NAME=ADDRESS`, see fake-manager.py; `{folder}` in it is a folder of its own. */
export type SocketSpec = string;

export interface Outcome {
  /** Exit status of the gateway. */
  readonly status: number;
  /** Whether the manager's sockets still listen. */
  readonly listening: boolean;
}

export class ActivatedGateway {
  /** Process id of the gateway. */
  readonly pid: number;
  /** Where each socket is bound, in the order of the specifications. */
  readonly addresses: readonly Target[];
  readonly #manager: Child;
  readonly #folder: TemporaryFolder;

  private constructor(manager: Child, folder: TemporaryFolder, addresses: readonly Target[], pid: number) {
    this.#manager = manager;
    this.#folder = folder;
    this.addresses = addresses;
    this.pid = pid;
  }

  /** Does not wait for readiness. */
  static async start(specs: readonly SocketSpec[], env: Readonly<Record<string, string>>): Promise<ActivatedGateway> {
    const folder = await temporaryFolder();
    const sockets = specs.map((spec) => spec.replace('{folder}', folder.path));
    const manager = new Child(
      ['python3', testFile('helpers/fake-manager.py'), ...sockets, '--', ...preloading([process.execPath]), MAIN],
      {
        env: {
          PATH: process.env['PATH'],
          HOME: folder.path,
          ...PROGRAM_ENV,
          LD_PRELOAD: undefined,
          METRICS_HOST: '127.0.0.1',
          METRICS_PORT: '0',
          PGUSER: SUPERUSER,
          CHECK_EVERY: '0.2',
          ...env,
        },
        cwd: '/',
      },
    );
    const [bound, pid] = await manager.output('the sockets to be bound', (stdout) => {
      const match = /^bound (.*)\nstarted (\d+)\n/.exec(stdout);
      return match === null ? undefined : ([match[1] ?? '', Number(match[2])] as const);
    });
    return new ActivatedGateway(manager, folder, bound.split('|').map(parseAddress), pid);
  }

  get log(): string {
    return this.#manager.stderr;
  }

  async logged(text: string): Promise<void> {
    await this.#manager.output(
      `the log to have ${JSON.stringify(text)}`,
      (_, stderr) => stderr.includes(text) || undefined,
    );
  }

  /** Asks the gateway to stop, and lets the manager say how it ended. */
  async stop(): Promise<Outcome> {
    if (isAlive(this.pid)) signal(this.pid, 'SIGTERM');
    return this.outcome();
  }

  /** Waits for the end of a gateway that ends by itself. */
  async outcome(): Promise<Outcome> {
    await eventually(`the end of the gateway; log:\n${this.log}`, () => !isAlive(this.pid));
    this.#manager.endInput();
    const { stdout } = await this.#manager.ended;
    const match = /^ended (-?\d+) (\w+)$/m.exec(stdout);
    if (match === null) throw new Error(`the manager said: ${stdout}`);
    return { status: Number(match[1]), listening: match[2] === 'listening' };
  }

  async close(): Promise<void> {
    if (isAlive(this.pid)) signal(this.pid, 'SIGKILL');
    this.#manager.endInput();
    await this.#manager.close();
    await this.#folder.close();
  }
}

/** A socket `/folder/.s.PGSQL.5432` is the port 5432 of the host `/folder` to libpq. */
function parseAddress(text: string): Target {
  const [host = '', port = ''] = text.split(' ');
  if (!host.startsWith('/')) return { host, port: Number(port) };
  return { host: join(host, '..'), port: Number(host.slice(host.lastIndexOf('.') + 1)) };
}
