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
// `state().saved` is false, and then it is tried again until it is. Nothing but the
// end of the process ever waits for the disk.

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
/** So long a stop waits for a disk that does not answer. The unit has ten seconds for all of it. */
const LAST_WRITE_MS = 3000;

export class ClusterMemory implements MemoryStore {
  readonly #options: ClusterMemoryOptions;
  readonly #failureLimit: RateLimit;
  readonly #memory: Memory;
  /** What ought to be in the file. */
  #wanted: RememberedCluster | null;
  #staged: RememberedCluster | null = null;
  /** On the disk, for all that is known: what a start has found may only be staged, and is committed anew. */
  #committed: RememberedCluster | null = null;
  #committing: Promise<void> | undefined;
  #writeFailures = 0;
  #cancelRetry: (() => void) | undefined;
  #closed: Promise<void> | undefined;

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

  /**
   * Ends the retries. Resolves when what is remembered is on the disk, or one last try has failed or taken too long: it is
   * told of then. Idempotent.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    const { file, timers } = this.#options;
    this.#cancelRetry?.();
    if (this.#committing === undefined) this.#stage();
    if (file === undefined || this.#committing === undefined) return;
    let cancel = (): void => undefined;
    const late = new Promise<Error>((resolve) => {
      cancel = timers.after(LAST_WRITE_MS, () => {
        resolve(new Error(`the disk did not answer for ${String(LAST_WRITE_MS)} ms`));
      });
    });
    const problem = await Promise.race([this.#settle(), late]);
    cancel();
    if (problem !== undefined) this.#failed(file, problem);
  }

  /** A commit that was superseded is followed by another. */
  async #settle(): Promise<undefined> {
    for (let commit = this.#committing; commit !== undefined; commit = this.#committing) await commit;
    return undefined;
  }

  #stage(): void {
    const { file, timers } = this.#options;
    const cluster = this.#wanted;
    if (file === undefined || cluster === null || isSame(cluster, this.#staged)) return;
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
    this.#staged = cluster;
    try {
      file.stage(cluster);
    } catch {
      // What it was the commit meets as well, or makes up for.
    }
    this.#committing ??= this.#commit(file, cluster, timers.now());
  }

  async #commit(file: ClusterFile, cluster: RememberedCluster, begun: number): Promise<void> {
    const outcome = await file.commit().catch((error: unknown) => ({ error }));
    this.#committing = undefined;
    if (outcome === true) {
      this.#committed = cluster;
      this.#claimDirectory();
      this.#tellCommitted(file, cluster, Math.round(this.#options.timers.now() - begun));
    } else {
      this.#staged = null;
      if (outcome !== false) this.#failed(file, outcome.error);
    }
    // It has changed meanwhile: what is staged now is not on the disk yet.
    if (outcome === false || !isSame(cluster, this.#wanted)) this.#stage();
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
    if (this.#closed !== undefined) return;
    this.#cancelRetry?.();
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
