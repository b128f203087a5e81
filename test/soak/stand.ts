// SPDX-License-Identifier: MIT
// The cluster and the gateway in front of it; failovers and reloads of them.

import type { Gateway } from '../helpers/gateway.js';
import { KeptGateway } from '../helpers/kept-gateway.js';
import { createCluster } from '../helpers/postgres.js';
import type { Cluster, PostgresServer } from '../helpers/postgres.js';
import { clientProgram } from '../helpers/psql.js';
import type { Target } from '../helpers/psql.js';
import type { Windows } from './windows.js';

export const WORKERS = 2;

/** A switchover: the primary is stopped in good order and comes back as a standby. A crash: kill -9, and made anew. */
export const FAILOVER_KINDS = ['switchover', 'crash'] as const;
export type FailoverKind = (typeof FAILOVER_KINDS)[number];

const INIT_DEADLINE_MS = 60_000;
const SERVER_SETTINGS = { max_connections: '500', shared_buffers: '64MB', max_wal_size: '256MB' };
/**
 * V8 collects a heap that is nearly empty every half an hour or so, and what it has not collected yet looks like a leak:
 * with this for old objects it does so every minute or two.
 */
const OLD_SPACE_MB = 20;
/** In turn, so that each reload has something to change: seconds. */
const CHECK_EVERY = [2, 1.5] as const;

export class Stand {
  readonly #kept: KeptGateway;
  readonly #cluster: Cluster;
  #primary: PostgresServer;
  #standby: PostgresServer;
  #reloads = 0;

  private constructor(cluster: Cluster, kept: KeptGateway, standby: PostgresServer) {
    this.#cluster = cluster;
    this.#kept = kept;
    this.#primary = cluster.primary;
    this.#standby = standby;
  }

  /** With tables for pgbench. */
  static async open(): Promise<Stand> {
    const cluster = await createCluster(1, { settings: SERVER_SETTINGS });
    try {
      const [standby] = cluster.standbys;
      if (standby === undefined) throw new Error('the cluster has no standby');
      const init = await clientProgram(cluster.primary, 'pgbench', ['-i', '-q'], INIT_DEADLINE_MS);
      if (init.status !== 0) throw new Error(`pgbench -i failed: ${init.stderr}`);
      const candidates = cluster.servers.map(({ candidate }) => candidate);
      // With the settings of the product, not the shorter ones of the tests.
      const env = {
        ...{ CHECK_EVERY: undefined, HOLD_TIMEOUT_MS: undefined, NUM_THREADS: String(WORKERS) },
        NODE_OPTIONS: `--max-old-space-size=${OLD_SPACE_MB}`,
      };
      // With a service manager, as in the package: every session is kept.
      const stand = new Stand(cluster, await KeptGateway.start({ candidates, env }), standby);
      await stand.gateway.primaryIs(cluster.primary.candidate);
      return stand;
    } catch (error) {
      await cluster.close();
      throw error;
    }
  }

  get gateway(): Gateway {
    return this.#kept.current;
  }

  /** Where clients connect. */
  get clients(): Target {
    return this.#kept.clients;
  }

  get primary(): PostgresServer {
    return this.#primary;
  }

  get reloads(): number {
    return this.#reloads;
  }

  /** Milliseconds from the first thing that is done to the primary until the gateway has the new one. */
  async failOver(kind: FailoverKind, windows: Windows): Promise<number> {
    const [old, next] = [this.#primary, this.#standby];
    const begun = performance.now();
    windows.open();
    try {
      await (kind === 'crash' ? old.crash() : old.stop('fast'));
      await next.promote();
      await this.gateway.primaryIs(next.candidate);
    } finally {
      windows.close();
    }
    [this.#primary, this.#standby] = [next, old];
    return performance.now() - begun;
  }

  /** After a failover: there is a standby again. */
  async restoreStandby(kind: FailoverKind): Promise<void> {
    if (kind === 'crash') {
      await this.#standby.restartAsCopyOf(this.#primary);
    } else {
      await this.#standby.becomeStandbyOf(this.#primary);
      await this.#standby.start();
    }
    await this.#standby.caughtUp(this.#primary);
  }

  /** SIGHUP, with another interval between probes. */
  async reload(): Promise<void> {
    const before = this.gateway.mark;
    this.#reloads += 1;
    await this.gateway.configure(`[probe]\ncheck_every = ${String(CHECK_EVERY[this.#reloads % 2])}\n`);
    this.gateway.kill('SIGHUP');
    await this.gateway.logged('configuration reloaded', {}, undefined, before);
  }

  async close(): Promise<void> {
    await this.#kept.close();
    await this.#cluster.close();
  }
}
