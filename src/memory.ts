// SPDX-License-Identifier: MIT
// What the election must remember from one observation to the next.
//
// Two parts with two lives. `cluster` is a safeguard: it outlives the process
// where a store can keep it, and only ever grows. The rest describes the
// sessions of this process, which end with it.
//
// Invariants: `cluster.timeline` never falls and `cluster.systemId` never
// changes; `epoch` never falls; no session of an epoch below
// `cut.belowEpoch` may live on.

import type { ProvenPrimary } from './election.js';

/** What fences resurrected and foreign servers. */
export interface RememberedCluster {
  /** Database system identifier, decimal text (pg_control_system()). */
  readonly systemId: string;
  /** The highest timeline on which a server was proven primary. */
  readonly timeline: number;
}

/** Sessions of an epoch lower than this are proven to be on a server that is no longer the primary. */
export interface Cut {
  readonly belowEpoch: number;
  /** `demoted`: it answered from recovery. `superseded`: another server, or a higher timeline, was proven. */
  readonly reason: 'demoted' | 'superseded';
}

export interface Memory {
  /** Null until a primary was proven for the first time. */
  readonly cluster: RememberedCluster | null;
  /** The last proven primary, whether or not it still answers. */
  readonly primary: ProvenPrimary | null;
  /** Of `primary`: 0 = none yet. A new one for each change of identity, address or timeline. */
  readonly epoch: number;
  readonly cut: Cut | null;
}

/** A memory that knows the cluster at most. */
export function memoryOf(cluster: RememberedCluster | null): Memory {
  return { cluster, primary: null, epoch: 0, cut: null };
}

/** Where `cluster` is kept. */
export interface MemoryStore {
  /** Null: nothing was ever remembered. Throws where what is kept cannot be trusted: that must stop a start. */
  load(): RememberedCluster | null;
  /** Called before a route on `cluster.timeline` is given out. Must not throw. */
  save(cluster: RememberedCluster): void;
}

/** Keeps it as long as the process lives. */
export class ProcessMemoryStore implements MemoryStore {
  #cluster: RememberedCluster | null = null;

  load(): RememberedCluster | null {
    return this.#cluster;
  }

  save(cluster: RememberedCluster): void {
    this.#cluster = cluster;
  }
}
