// SPDX-License-Identifier: MIT
// pg-gatewayctl as an administrator has it, beside a gateway with a control socket.

import { join } from 'node:path';

import type { SessionsDocument, StatusDocument } from '#src/control/documents.js';
import { run } from './child.js';
import type { Ended } from './child.js';
import { Gateway } from './gateway.js';
import type { GatewayOptions } from './gateway.js';
import { PROJECT_ROOT, temporaryFolder } from './paths.js';
import type { TemporaryFolder } from './paths.js';
import { createCluster } from './postgres.js';
import type { Cluster } from './postgres.js';

/** The program as it is compiled. */
export const CTL = join(PROJECT_ROOT, 'dist/ctl/main.js');

export class ControlledGateway {
  readonly gateway: Gateway;
  /** Path of the control socket. */
  readonly socket: string;
  readonly #folder: TemporaryFolder;

  private constructor(gateway: Gateway, folder: TemporaryFolder) {
    this.gateway = gateway;
    this.#folder = folder;
    this.socket = socketIn(folder);
  }

  static async start(options: GatewayOptions): Promise<ControlledGateway> {
    const folder = await temporaryFolder();
    try {
      const env = { ...options.env, CONTROL_SOCKET: socketIn(folder) };
      return new ControlledGateway(await Gateway.start({ ...options, env }), folder);
    } catch (error) {
      await folder.close();
      throw error;
    }
  }

  /** Runs it to its end. */
  ctl(...args: readonly string[]): Promise<Ended> {
    return runCtl(this.socket, args);
  }

  async status(): Promise<StatusDocument> {
    return (await this.#json(['status'])) as StatusDocument;
  }

  async sessions(...args: readonly string[]): Promise<SessionsDocument> {
    return (await this.#json(['sessions', ...args])) as SessionsDocument;
  }

  async close(): Promise<void> {
    await this.gateway.close();
    await this.#folder.close();
  }

  async #json(args: readonly string[]): Promise<unknown> {
    const { stdout } = await this.ctl(...args, '--json');
    return JSON.parse(stdout);
  }
}

/** A primary with its standbys, and the gateway before it. */
export async function withCluster(
  options: Omit<GatewayOptions, 'candidates'>,
  use: (cluster: Cluster, controlled: ControlledGateway) => Promise<void>,
  standbys = 1,
): Promise<void> {
  const cluster = await createCluster(standbys);
  try {
    const candidates = cluster.servers.map(({ candidate }) => candidate);
    const controlled = await ControlledGateway.start({ candidates, ...options });
    try {
      await controlled.gateway.primaryIs(cluster.primary.candidate);
      await use(cluster, controlled);
    } finally {
      await controlled.close();
    }
  } finally {
    await cluster.close();
  }
}

/** `user`: of root's tests, who runs it; left out: who runs the test. */
export function runCtl(socket: string, args: readonly string[], user?: number): Promise<Ended> {
  const env = { PATH: process.env['PATH'], HOME: '/', TERM: 'xterm' };
  const who = user === undefined ? {} : { uid: user, gid: user };
  return run([process.execPath, CTL, '--socket', socket, ...args], { env, deadlineMs: 60_000, ...who });
}

function socketIn({ path }: TemporaryFolder): string {
  return join(path, 'control.sock');
}
