// SPDX-License-Identifier: MIT
// Whose the state directory is while a gateway runs. Two gateways in one directory
// would overwrite each other's cluster, and forgetting a cluster under a running
// gateway would forget nothing: it still knows, and so do its sessions.
//
// The owner leaves its process id and its start time (proc(5), /proc/pid/stat, field
// 22), which no other process has until the next boot. A guard against mistakes, not
// a lock: two that start at the same instant are not told apart, nor is a process of
// another PID namespace (a container) seen from here.

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';

import { ClusterFile } from './cluster-file.js';
import { oneLine, systemReason } from './config-problems.js';
import { isSystemError } from './config-sources.js';
import { GatewayError } from './errors.js';
import type { Logger } from './log.js';
import type { RememberedCluster } from './memory.js';

export class StateDirectory {
  readonly path: string;
  readonly #ownerFile: string;
  #claimed = false;

  constructor(path: string) {
    this.path = path;
    this.#ownerFile = join(path, 'owner');
  }

  /** Process id of another gateway that uses it now. */
  owner(): number | undefined {
    const [pid = '', startTime = ''] = contentOf(this.#ownerFile).trimEnd().split(' ');
    if (!/^[1-9]\d{0,9}$/.test(pid) || startTime === '') return undefined;
    return Number(pid) !== process.pid && startTimeOf(pid) === startTime ? Number(pid) : undefined;
  }

  /**
   * Makes it this process's, and makes the directory if it is not there.
   * @throws GatewayError STATE_IN_USE
   * @throws Error of the system call that failed
   */
  claim(): void {
    const owner = this.owner();
    if (owner !== undefined) throw inUse(this.path, owner);
    makeDirectory(this.path);
    writeFileSync(this.#ownerFile, `${String(process.pid)} ${startTimeOf('self')}\n`, { mode: 0o600 });
    this.#claimed = true;
  }

  /**
   * Now that it can be written to: claims it if that could not be done before. What fails now is nothing new, and is told
   * of by whatever else is written there. @throws GatewayError STATE_IN_USE
   */
  claimIfNot(): void {
    if (this.#claimed) return;
    try {
      this.claim();
    } catch (error) {
      if (error instanceof GatewayError) throw error;
    }
  }

  /** Idempotent. What cannot be taken away says nothing to the next process: this one will have ended. */
  release(): void {
    try {
      if (this.owner() === undefined) rmSync(this.#ownerFile, { force: true });
    } catch {
      // A read-only file system; see above.
    }
  }
}

/** What a start finds of the cluster, and where it is kept from now on. */
export interface State {
  /** Undefined: the cluster is remembered by this process alone. */
  readonly directory: StateDirectory | undefined;
  readonly file: ClusterFile | undefined;
  readonly remembered: RememberedCluster | null;
}

/**
 * @param runtime of systemd.exec(5), RUNTIME_DIRECTORY: absolute paths with colons between them
 * @param noted what an earlier process, whose sessions go on, knew of the cluster: the file cannot know more, since the
 *   note is written first
 * @throws GatewayError STATE_INVALID, STATE_UNREADABLE, STATE_IN_USE
 */
export function openState(
  path: string | undefined,
  runtime: string | undefined,
  noted: RememberedCluster | null,
  logger: Logger,
): State {
  if (path === undefined) {
    logger.info('no state directory: a stop of the gateway forgets the cluster');
    return { directory: undefined, file: undefined, remembered: null };
  }
  const directory = new StateDirectory(path);
  const file = new ClusterFile(path, runtime?.split(':').find(isAbsolute));
  const remembered = readOrKnow(file, noted, logger);
  try {
    directory.claim();
  } catch (error) {
    if (error instanceof GatewayError) throw error;
    // The gateway goes on without it: routing is worth more, and the directory may be mended meanwhile.
    logger.err('the state directory cannot be written to', {
      code: 'STATE_WRITE_FAILED',
      path,
      error: systemReason(error),
    });
  }
  if (remembered !== null) {
    const { systemId, timeline } = remembered;
    logger.info('the cluster is known', { path: file.path, system_identifier: systemId, timeline });
  }
  return { directory, file, remembered };
}

/** A file that cannot be used is no reason to end the sessions: what it should say is known. It is written anew. */
function readOrKnow(file: ClusterFile, noted: RememberedCluster | null, logger: Logger): RememberedCluster | null {
  try {
    return file.read();
  } catch (error) {
    if (!(error instanceof GatewayError) || noted === null) throw error;
    logger.err(`${oneLine(file.path)} cannot be used, and is written anew: the process before knew the cluster`, {
      code: error.code,
      system_identifier: noted.systemId,
      timeline: noted.timeline,
    });
    return null;
  }
}

export function inUse(path: string, owner: number): GatewayError {
  return new GatewayError('STATE_IN_USE', `${oneLine(path)}: a gateway is running on it, process ${String(owner)}`);
}

/** Not its parents: they are more likely a slip in the name. (And in some places Node's `recursive` never ends.) */
function makeDirectory(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (!isSystemError(error) || error.code !== 'EEXIST') throw error;
  }
}

/** In clock ticks since the boot; empty if there is no such process, or it is hidden. */
function startTimeOf(pid: string): string {
  // The second field is the program's name in parentheses, and may hold anything.
  const [, rest = ''] = /^\d+ \(.*\) (.*)$/s.exec(contentOf(`/proc/${pid}/stat`)) ?? [];
  return rest.split(' ')[19] ?? '';
}

function contentOf(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
