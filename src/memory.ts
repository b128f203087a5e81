// SPDX-License-Identifier: MIT
// What the election must remember from one observation to the next.
//
// Two parts with two lives. `cluster` is a safeguard and only ever grows; it is kept
// in the state directory for good (cluster-memory.ts). The rest describes the
// sessions, and lives as long as they do: where they outlive the process, so does it
// (restart-note.ts).
//
// Invariants: `cluster.timeline` never falls and `cluster.systemId` never
// changes; `epoch` never falls; no session of an epoch below
// `cut.belowEpoch` may live on.

import type { ProvenPrimary } from './election.js';
import type { ServerAddress } from './probe/observation.js';

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
  /**
   * `demoted`: it answered from recovery. `superseded`: another server, or a higher timeline, was proven, or one that is
   * to be fenced has its address.
   */
  readonly reason: 'demoted' | 'superseded';
}

export interface Memory {
  /** Null until a primary was proven for the first time. */
  readonly cluster: RememberedCluster | null;
  /** The last proven primary, whether or not it still answers. */
  readonly primary: ProvenPrimary | null;
  /**
   * When `primary` was seen to be one, or by its demotion seen to be none any more, in `Observation.at` of this process;
   * 0 if that was an earlier process.
   */
  readonly since: number;
  /** Where `primary` was before it moved: sessions of lower epochs may be there. Null: none are. */
  readonly left: ServerAddress | null;
  /** Of `primary`: 0 = none yet. A new one for each change of identity, address or timeline. */
  readonly epoch: number;
  readonly cut: Cut | null;
}

/** A memory that knows the cluster at most. */
export function memoryOf(cluster: RememberedCluster | null): Memory {
  return { cluster, primary: null, since: 0, left: null, epoch: 0, cut: null };
}

export function isSystemId(value: unknown): value is string {
  return typeof value === 'string' && /^\d{1,20}$/.test(value);
}

/** Microseconds since 1970; a clock that was never set may say a time before that. */
export function isStartTime(value: unknown): value is string {
  return typeof value === 'string' && /^-?\d{1,19}$/.test(value);
}

/** 32 bits in PostgreSQL. */
export function isTimeline(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 1 && value < 2 ** 32;
}

/** Where it is kept. */
export interface MemoryStore {
  /** Throws where what is kept cannot be trusted: that must stop a start. */
  load(): Memory;
  /** Called with each change, before anything that follows from it is given out. Must not throw. */
  save(memory: Memory): void;
}

/** Keeps it as long as the process lives. */
export class ProcessMemoryStore implements MemoryStore {
  #memory = memoryOf(null);

  load(): Memory {
    return this.#memory;
  }

  save(memory: Memory): void {
    this.#memory = memory;
  }
}
