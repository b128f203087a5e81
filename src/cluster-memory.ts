// SPDX-License-Identifier: MIT
// The election's memory in the two places where it outlives the process. The note in
// the data plane's ledger (restart-note.ts) has all of it and lives as long as the
// sessions: over a restart or a crash, not over a stop. The file in the state
// directory (cluster-file.ts) has the cluster alone and lives until it is forgotten.
//
// Where they disagree: the note is written first, so it knows at least as much as the
// file, unless a write to the file failed or a process without sessions came between.
// Of one cluster the higher timeline holds, whoever knows it. Of two clusters neither
// is believed: the sessions are on one, the memory is of the other, and the start is
// refused.
//
// Invariant: what load() gave or save() was given is in the note, and outlives the
// process in the file unless staging it failed; it is on the disk unless
// `state().saved` is false, and then it is tried again until it is.

import { systemReason } from './config-problems.js';
import { GatewayError } from './errors.js';
import type { ClusterFile } from './cluster-file.js';
import { RateLimit } from './log.js';
import type { Logger } from './log.js';
import type { Memory, MemoryStore, RememberedCluster } from './memory.js';
import type { Timers } from './timers.js';

export interface ClusterMemoryOptions {
  /** Has what is known of the sessions that there are. */
  readonly note: MemoryStore;
  /** Undefined: there is no state directory. */
  readonly file: ClusterFile | undefined;
  /** Where the file is; told whenever something has been written there. */
  readonly directory?: { claimIfNot(): void } | undefined;
  /** What was in the file. */
  readonly remembered: RememberedCluster | null;
  readonly logger: Logger;
  readonly timers: Timers;
}

/** For the metrics. */
export interface StateView {
  /** What is remembered of the cluster is in the state directory. */
  readonly saved: boolean;
  readonly writeFailures: number;
}

/** A full disk is seldom cleared sooner; a try costs one small write. */
const RETRY_MS = 5000;
const FAILURE_LOG_EVERY_MS = 60_000;
/** So long a power cut would undo a failover. */
const SLOW_WRITE_MS = 1000;

export class ClusterMemory implements MemoryStore {
  readonly #options: ClusterMemoryOptions;
  readonly #failureLimit: RateLimit;
  readonly #memory: Memory;
  /** What ought to be in the file. */
  #wanted: RememberedCluster | null;
  #staged: RememberedCluster | null = null;
  /** On the disk, for all that is known: what a start has found may only be staged, and is committed anew. */
  #committed: RememberedCluster | null = null;
  #committing = false;
  #writeFailures = 0;
  #cancelRetry: (() => void) | undefined;
  #closed = false;

  /** @throws GatewayError STATE_INVALID where note and file are of different clusters */
  constructor(options: ClusterMemoryOptions) {
    this.#options = options;
    this.#failureLimit = new RateLimit(FAILURE_LOG_EVERY_MS, { now: () => options.timers.now() });
    const noted = options.note.load();
    this.#wanted = options.remembered;
    this.#memory = { ...noted, cluster: combined(noted.cluster, options) };
    // What the last process could not write is made good at once; and a disk that takes nothing is found now, not in a
    // failover.
    this.save(this.#memory);
  }

  load(): Memory {
    return this.#memory;
  }

  save(memory: Memory): void {
    this.#options.note.save(memory);
    this.#wanted = memory.cluster;
    this.#stage();
  }

  state(): StateView {
    return {
      saved: this.#options.file !== undefined && isSame(this.#wanted, this.#committed),
      writeFailures: this.#writeFailures,
    };
  }

  /** Ends the retries, after a last one that waits for the disk. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancelRetry?.();
    const { file } = this.#options;
    if (file === undefined || this.#wanted === null || isSame(this.#wanted, this.#committed)) return;
    try {
      file.write(this.#wanted);
    } catch (error) {
      this.#failed(file, error);
    }
  }

  #stage(): void {
    const { file, timers } = this.#options;
    const cluster = this.#wanted;
    if (file === undefined || cluster === null || this.#closed || isSame(cluster, this.#staged)) return;
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
    const begun = timers.now();
    try {
      file.stage(cluster);
    } catch (error) {
      this.#failed(file, error);
      return;
    }
    this.#staged = cluster;
    if (!this.#committing) void this.#commit(file, cluster, begun);
  }

  async #commit(file: ClusterFile, cluster: RememberedCluster, begun: number): Promise<void> {
    this.#committing = true;
    const outcome = await file.commit().catch((error: unknown) => ({ error }));
    this.#committing = false;
    // All that there was to do has been done by close(), and told.
    if (this.#closed) return;
    if (outcome === true) {
      this.#committed = cluster;
      this.#claimDirectory();
      this.#tellCommitted(file, cluster, Math.round(this.#options.timers.now() - begun));
    } else if (outcome !== false) {
      this.#staged = null;
      this.#failed(file, outcome.error);
    }
    if (outcome !== false && isSame(cluster, this.#wanted)) return;
    // It has changed meanwhile: what is staged now is not on the disk yet.
    this.#staged = null;
    this.#stage();
  }

  /** A disk that was full at the start: others must see now whose the directory is. */
  #claimDirectory(): void {
    const { directory, logger } = this.#options;
    try {
      directory?.claimIfNot();
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error;
      const similar = this.#failureLimit.admit('claim');
      if (similar !== undefined) logger.err(`${error.message}${similar}`, { code: error.code });
    }
  }

  #tellCommitted({ path }: ClusterFile, cluster: RememberedCluster, ms: number): void {
    const { logger, remembered } = this.#options;
    const fields = { path, system_identifier: cluster.systemId, timeline: cluster.timeline, ms };
    if (ms > SLOW_WRITE_MS) logger.warning('remembering the cluster took long: the disk is slow', fields);
    else if (!isSame(cluster, remembered) || this.#writeFailures > 0) logger.info('the cluster is remembered', fields);
  }

  #failed({ path }: ClusterFile, error: unknown): void {
    const { logger, timers } = this.#options;
    this.#writeFailures += 1;
    const similar = this.#failureLimit.admit('write');
    if (similar !== undefined) {
      logger.err(`the cluster cannot be remembered beyond a stop${similar}`, {
        code: 'STATE_WRITE_FAILED',
        path,
        error: systemReason(error),
      });
    }
    if (this.#closed) return;
    this.#cancelRetry = timers.after(RETRY_MS, () => {
      this.#stage();
    });
  }
}

function combined(
  noted: RememberedCluster | null,
  { file, remembered }: ClusterMemoryOptions,
): RememberedCluster | null {
  if (noted === null || remembered === null) return noted ?? remembered;
  if (noted.systemId === remembered.systemId) return noted.timeline > remembered.timeline ? noted : remembered;
  throw new GatewayError(
    'STATE_INVALID',
    `${file?.path ?? 'the state directory'}: it remembers the cluster ${remembered.systemId}, but the sessions that an ` +
      `earlier process left are on ${noted.systemId}. They end with this refusal, and the next start goes by the file.`,
  );
}

function isSame(one: RememberedCluster | null, other: RememberedCluster | null): boolean {
  return one?.systemId === other?.systemId && one?.timeline === other?.timeline;
}
