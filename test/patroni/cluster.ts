// SPDX-License-Identifier: MIT
// A real Patroni cluster: etcd and three nodes on free ports of 127.0.0.1, all in one temporary folder.

import { chown } from 'node:fs/promises';
import { join } from 'node:path';

import { temporaryFolder } from '../helpers/paths.js';
import type { TemporaryFolder } from '../helpers/paths.js';
import { asServerOwner, makeOwned } from '../helpers/postgres-install.js';
import { createAuthority, issueCertificate } from '../helpers/tls.js';
import { eventually } from '../helpers/wait.js';
import { Etcd } from './etcd.js';
import { PatroniNode, SCOPE } from './node.js';

const NAMES = ['n1', 'n2', 'n3'] as const;
const UP_DEADLINE_MS = 60_000;
const HEALTHY_DEADLINE_MS = 60_000;
const LOOK_MS = 100;
const LOG_TAIL_LINES = 30;

export class PatroniCluster {
  readonly nodes: readonly PatroniNode[];
  readonly #folder: TemporaryFolder;
  readonly #etcd: Etcd;

  private constructor(folder: TemporaryFolder, etcd: Etcd, nodes: readonly PatroniNode[]) {
    this.#folder = folder;
    this.#etcd = etcd;
    this.nodes = nodes;
  }

  /**
   * All three run, two of them stream, one of them synchronously.
   * @param hba lines of pg_hba.conf ahead of those that let everybody in
   */
  static async start({ hba = [] }: { readonly hba?: readonly string[] } = {}): Promise<PatroniCluster> {
    const folder = await temporaryFolder();
    await makeOwned(folder.path);
    await own(folder.path);
    await createAuthority(folder.path);
    await issueCertificate(folder.path, 'localhost', join(folder.path, 'server'), ['DNS:localhost', 'IP:127.0.0.1']);
    await own(join(folder.path, 'server.key'));
    const etcd = await Etcd.start(folder.path);
    const surroundings = { folder: folder.path, etcdPort: etcd.port, hba };
    const nodes: PatroniNode[] = [];
    for (const name of NAMES) nodes.push(await PatroniNode.create(name, surroundings));
    const cluster = new PatroniCluster(folder, etcd, nodes);
    try {
      const [first, ...others] = nodes;
      await first?.start();
      await cluster.#eventually('the first node to lead', async () => (await first?.leads()) === true, UP_DEADLINE_MS);
      for (const other of others) await other.start();
      await cluster.healthy();
      return cluster;
    } catch (error) {
      await cluster.close();
      throw error;
    }
  }

  get candidates(): readonly string[] {
    return this.nodes.map(({ candidate }) => candidate);
  }

  /** Whoever leads now. @throws Error if nobody, or more than one */
  async leader(): Promise<PatroniNode> {
    const leading = [];
    for (const node of this.nodes) if (await node.leads()) leading.push(node);
    const [leader, second] = leading;
    if (leader === undefined || second !== undefined) throw new Error(`${leading.length} nodes lead`);
    return leader;
  }

  /** Waits until one leads, two stream from it, and Patroni says which of them may take over. */
  async healthy(): Promise<void> {
    await this.#eventually(
      'one leader, two streaming standbys, one of them synchronous',
      async () => {
        const statuses = await Promise.all(this.nodes.map((node) => node.status()));
        const streaming = (await (await this.leader()).status()).replication ?? [];
        return (
          streaming.filter(({ state }) => state === 'streaming').length === this.nodes.length - 1 &&
          statuses.every(({ state }) => state === 'running') &&
          new Set(statuses.map(({ timeline }) => timeline)).size === 1 &&
          statuses.filter(({ sync_standby: sync }) => sync === true).length === 1
        );
      },
      HEALTHY_DEADLINE_MS,
    );
  }

  /** Who may take over without a loss. */
  async synchronousStandby(): Promise<PatroniNode> {
    for (const node of this.nodes) if ((await node.status()).sync_standby === true) return node;
    throw new Error('no node is the synchronous standby');
  }

  /** Waits until this node leads. */
  async leads(node: PatroniNode): Promise<void> {
    await this.#eventually(`${node.name} to lead`, () => node.leads(), HEALTHY_DEADLINE_MS);
  }

  /** Whether this node leads within that time. */
  async leadsWithin(deadlineMs: number, node: PatroniNode): Promise<boolean> {
    return eventually(`${node.name} to lead`, () => node.leads(), { deadlineMs, everyMs: LOOK_MS }).then(
      () => true,
      () => false,
    );
  }

  /** Patroni looks on and does nothing; or it acts again. Waits until all nodes know. */
  async pause(paused: boolean): Promise<void> {
    await this.nodes[0]?.call('PATCH', '/config', { pause: paused ? true : null });
    await this.#eventually(
      `all nodes to know that the cluster is ${paused ? '' : 'no longer '}paused`,
      async () => {
        const statuses = await Promise.all(this.nodes.map((node) => node.status()));
        return statuses.every(({ pause = false }) => pause === paused);
      },
      HEALTHY_DEADLINE_MS,
    );
  }

  /** What etcd does by itself when a dead leader has not renewed its lease for 20 seconds. */
  async expireLeader(): Promise<void> {
    await this.#etcd.deleteKey(`/service/${SCOPE}/leader`);
  }

  /** Ends and removes everything. Idempotent. */
  async close(): Promise<void> {
    await Promise.all([...this.nodes.map((node) => node.close()), this.#etcd.close()]);
    await this.#folder.close();
  }

  async #eventually(what: string, look: () => Promise<boolean>, deadlineMs: number): Promise<void> {
    await eventually(what, look, { deadlineMs, everyMs: LOOK_MS }).catch((error: unknown) => {
      const logs = this.nodes.map(
        ({ name, log }) => `${name}:\n${log.trimEnd().split('\n').slice(-LOG_TAIL_LINES).join('\n')}`,
      );
      throw new Error(`${String(error)}\n${logs.join('\n')}`, { cause: error });
    });
  }
}

async function own(path: string): Promise<void> {
  const { uid, gid } = asServerOwner();
  if (uid !== undefined && gid !== undefined) await chown(path, uid, gid);
}
