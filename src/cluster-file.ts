// SPDX-License-Identifier: MIT
// The file in the state directory that remembers the cluster: its system identifier
// and the highest timeline on which a server was proven primary. It is what fences a
// resurrected server after a stop of the gateway, when nothing else is left that knows.
//
//     { "version": 1, "system_identifier": "7000000000000000001", "timeline": 3, "checksum": "..." }
//
// Text for people to read, not to edit: only what this module itself would have
// written, byte for byte, is taken. Anything else is refused, never put right.
//
// What was routed to must never be forgotten, and a failover must not wait for a disk:
// two fsyncs took 3 to 47 ms on a busy machine, of the 50 that a failover may take, and
// storage that is gone or frozen for a snapshot takes as long as it likes. So it is
// written in two steps. stage() is synchronous and comes before the route: from then on
// the end of the process, however it comes, forgets nothing. It writes to the runtime
// directory, which is memory, or without one beside the file (0.3 ms; 1 at worst, on that
// machine). commit() makes it outlive a stop and a power cut too, in threads of Node's
// pool. A power cut in between finds the file as it was before, whole.

import { createHash } from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  renameSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { join } from 'node:path';

import { oneLine, systemReason } from './config-problems.js';
import { isMissing } from './config-sources.js';
import { GatewayError } from './errors.js';
import { isSystemId, isTimeline } from './memory.js';
import type { RememberedCluster } from './memory.js';

/** Another number whenever the meaning changes. */
const FILE_VERSION = 1;
const FILE_NAME = 'cluster.json';
/** Of a good one there are some 150. */
const MAX_BYTES = 4096;

/** Its text: the only one there is for this cluster. */
export function encodeCluster({ systemId, timeline }: RememberedCluster): string {
  const body = { version: FILE_VERSION, system_identifier: systemId, timeline };
  const checksum = createHash('sha256').update(JSON.stringify(body)).digest('hex').slice(0, 16);
  return `${JSON.stringify({ ...body, checksum }, undefined, 2)}\n`;
}

/** The cluster, or what is wrong with the text. */
export function decodeCluster(text: string): RememberedCluster | string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return 'it is damaged: not JSON';
  }
  if (typeof value !== 'object' || value === null || !('version' in value)) return 'it is damaged: it has no version';
  const { version } = value;
  if (version !== FILE_VERSION) {
    const found = typeof version === 'number' ? String(version) : 'something else';
    return `its version is ${found}, this gateway knows ${String(FILE_VERSION)}`;
  }
  const systemId = 'system_identifier' in value ? value.system_identifier : undefined;
  const timeline = 'timeline' in value ? value.timeline : undefined;
  if (!isSystemId(systemId)) return 'it is damaged: no system identifier';
  if (!isTimeline(timeline)) return 'it is damaged: no timeline';
  const cluster = { systemId, timeline };
  return text === encodeCluster(cluster) ? cluster : 'it is damaged: the checksum does not agree with the rest';
}

export class ClusterFile {
  readonly path: string;
  readonly #directory: string;
  /** Written, and perhaps not on the disk. The first is where this process writes it. */
  readonly #staged: readonly [string, ...string[]];
  /** What was staged last, until it is on the disk. */
  #waiting: RememberedCluster | undefined;

  /** @param runtimeDirectory as RUNTIME_DIRECTORY of systemd.exec(5): in memory, and there for as long as the service runs */
  constructor(directory: string, runtimeDirectory?: string) {
    this.#directory = directory;
    this.path = join(directory, FILE_NAME);
    const beside = `${this.path}.new`;
    // One that was started without the other left it there.
    this.#staged = runtimeDirectory === undefined ? [beside] : [join(runtimeDirectory, `${FILE_NAME}.new`), beside];
  }

  /**
   * Null: there is no such file, so nothing is remembered. What was staged and not committed counts, if it is whole.
   * @throws GatewayError STATE_INVALID, STATE_UNREADABLE
   */
  read(): RememberedCluster | null {
    let known = this.#readCommitted();
    for (const path of this.#staged) {
      const staged = readStaged(path);
      if (staged === null || (known !== null && staged.systemId !== known.systemId)) continue;
      if (known === null || staged.timeline > known.timeline) known = staged;
    }
    return known;
  }

  /** @throws Error of the system call that failed: what was there before is there still, and commit() is due all the same */
  stage(cluster: RememberedCluster): void {
    this.#waiting = cluster;
    const [staged] = this.#staged;
    const unfinished = unfinishedOf(staged);
    const { O_CREAT, O_NOFOLLOW, O_TRUNC, O_WRONLY } = constants;
    const fd = openSync(unfinished, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600);
    try {
      writeFileSync(fd, encodeCluster(cluster));
    } finally {
      closeSync(fd);
    }
    renameSync(unfinished, staged);
  }

  /**
   * What was staged last. One at a time.
   * @returns false: it was superseded meanwhile, and what did so is not on the disk
   * @throws Error of the system call that failed; what was there before is there still, and it may be tried again
   */
  async commit(): Promise<boolean> {
    const cluster = this.#waiting;
    if (cluster === undefined) return true;
    const unfinished = unfinishedOf(this.path);
    const { O_CREAT, O_DIRECTORY, O_NOFOLLOW, O_RDONLY, O_TRUNC, O_WRONLY } = constants;
    const file = await open(unfinished, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600);
    try {
      await file.writeFile(encodeCluster(cluster));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(unfinished, this.path);
    const directory = await open(this.#directory, O_RDONLY | O_DIRECTORY);
    try {
      await directory.sync(); // only then is the new name there after a power cut: fsync(2)
    } finally {
      await directory.close();
    }
    if (this.#waiting !== cluster) return false;
    // In the same turn: nothing may be staged in between.
    this.#waiting = undefined;
    for (const path of this.#staged) removeFile(path);
    return true;
  }

  #readCommitted(): RememberedCluster | null {
    let text: string;
    try {
      text = readBounded(this.path);
    } catch (error) {
      if (isMissing(error)) return null;
      throw this.#refusal('STATE_UNREADABLE', `it cannot be read: ${systemReason(error)}`, error);
    }
    const found = decodeCluster(text);
    if (typeof found === 'string') throw this.#refusal('STATE_INVALID', found);
    return found;
  }

  /** False: there was none. @throws Error of the system call that failed */
  remove(): boolean {
    const places = [...this.#staged, this.path];
    places.forEach((path) => removeFile(unfinishedOf(path)));
    const removed = places.filter(removeFile).length > 0;
    if (removed) this.#syncDirectory();
    return removed;
  }

  #syncDirectory(): void {
    const fd = openSync(this.#directory, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  }

  #refusal(code: 'STATE_INVALID' | 'STATE_UNREADABLE', what: string, cause?: unknown): GatewayError {
    const remedy =
      code === 'STATE_UNREADABLE'
        ? 'Make it readable'
        : 'If it is certain that no server runs which was superseded, let it be forgotten: pg-gateway --forget-cluster';
    return new GatewayError(
      code,
      `${oneLine(this.path)}: ${what}. The gateway does not start without what it remembers of the cluster, for then ` +
        `an old primary could get writes. ${remedy} (pg-gateway(8), FORGETTING A CLUSTER).`,
      { cause },
    );
  }
}

/** While it is being written. */
function unfinishedOf(path: string): string {
  return `${path}.part`;
}

/** After a power cut it may be anything: then it never counted. */
function readStaged(path: string): RememberedCluster | null {
  try {
    const found = decodeCluster(readBounded(path));
    return typeof found === 'string' ? null : found;
  } catch {
    return null;
  }
}

/** False: there was none. */
function removeFile(path: string): boolean {
  try {
    unlinkSync(path);
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

/** No more than a damaged file deserves, and of a regular file: one that blocks or never ends is none. */
function readBounded(path: string): string {
  const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;
  const fd = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    if (!fstatSync(fd).isFile()) return '';
    const bytes = Buffer.alloc(MAX_BYTES + 1);
    let filled = 0;
    for (;;) {
      const count = readSync(fd, bytes, filled, bytes.length - filled, null);
      filled += count;
      if (count === 0 || filled > MAX_BYTES) break;
    }
    // Latin-1 keeps every byte apart: of UTF-8 two damaged texts could read the same.
    return bytes.toString('latin1', 0, filled);
  } finally {
    closeSync(fd);
  }
}
