// SPDX-License-Identifier: MIT
// Where log lines go: file descriptor 2. Owns the lines that could not be written yet.
//
// Invariants:
// - write() never throws and never waits: a reader that stands still (a stopped
//   journald, a full pipe) must not stop the gateway. Such lines wait in a
//   bounded queue; what does not fit is dropped and counted, and the count is
//   written as soon as writing works again.
// - A line is written whole, or is ended by a newline before the next begins.

import { fstatSync, writeSync } from 'node:fs';
import { systemTimers, type Timers } from './timers.js';

const STDERR = 2;
const MAX_PENDING_BYTES = 256 * 1024;
const RETRY_MS = 100;
const NEWLINE = Buffer.from('\n');

export interface StderrSinkOptions {
  /** Makes the line that tells how many lines were lost. */
  readonly droppedLine: (count: number) => string;
  /** Writes and returns the number of bytes taken; throws as fs.writeSync does. Default: descriptor 2. */
  readonly writeBytes?: (bytes: Buffer) => number;
  readonly timers?: Timers;
  readonly maxPendingBytes?: number;
}

export class StderrSink {
  readonly #droppedLine: (count: number) => string;
  readonly #writeBytes: (bytes: Buffer) => number;
  readonly #timers: Timers;
  readonly #maxPendingBytes: number;
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  #dropped = 0;
  /** A part of the first pending line has been written. */
  #headStarted = false;
  /** The last thing written was a part of a line that was then given up. */
  #brokenLine = false;
  #cancelRetry: (() => void) | undefined;

  constructor(options: StderrSinkOptions) {
    this.#droppedLine = options.droppedLine;
    this.#writeBytes = options.writeBytes ?? openStderr();
    this.#timers = options.timers ?? systemTimers;
    this.#maxPendingBytes = options.maxPendingBytes ?? MAX_PENDING_BYTES;
  }

  /** `line` ends with a newline and holds no other. */
  write(line: string): void {
    const bytes = Buffer.from(line);
    this.#drain();
    if (this.#pendingBytes + bytes.length > this.#maxPendingBytes) {
      this.#dropped += 1;
      return;
    }
    // The loss is told before the first line after it.
    this.#enqueueDroppedLine();
    this.#enqueue(bytes);
    this.#drain();
  }

  /** Writes what can be written now and gives up the rest. Idempotent; lines written later still go out if they can. */
  close(): void {
    this.#drain();
    this.#stopRetry();
    this.#giveUp();
  }

  #enqueue(bytes: Buffer): void {
    this.#pending.push(bytes);
    this.#pendingBytes += bytes.length;
  }

  #enqueueDroppedLine(): void {
    if (this.#dropped === 0) return;
    const count = this.#dropped;
    this.#dropped = 0;
    this.#enqueue(Buffer.from(this.#droppedLine(count)));
  }

  #drain(): void {
    try {
      if (this.#brokenLine && this.#pending.length > 0) {
        this.#writeBytes(NEWLINE);
        this.#brokenLine = false;
      }
      for (let head = this.#pending[0]; head !== undefined; head = this.#pending[0]) {
        this.#taken(head, this.#writeBytes(head));
        if (this.#pending.length === 0) this.#enqueueDroppedLine();
      }
      this.#stopRetry();
    } catch (error) {
      // Anything but "not now" may last for ever (EPIPE: no reader is left; ENOSPC), so nothing is kept for it.
      if (isWouldBlock(error)) {
        this.#retryLater();
      } else {
        this.#stopRetry();
        this.#giveUp();
      }
    }
  }

  #taken(head: Buffer, count: number): void {
    this.#pendingBytes -= count;
    if (count === head.length) this.#pending.shift();
    else this.#pending[0] = head.subarray(count);
    this.#headStarted = count < head.length;
  }

  #giveUp(): void {
    if (this.#headStarted) this.#brokenLine = true;
    this.#headStarted = false;
    this.#dropped += this.#pending.length;
    this.#pending = [];
    this.#pendingBytes = 0;
  }

  #retryLater(): void {
    this.#cancelRetry ??= this.#timers.after(RETRY_MS, () => {
      this.#cancelRetry = undefined;
      this.#drain();
    });
  }

  #stopRetry(): void {
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
  }
}

/**
 * Does this process's stderr end in the journal? systemd.exec(5): JOURNAL_STREAM holds the device and inode number of
 * the journal's socket, and stderr must be compared with it, for it may have been redirected since.
 */
export function stderrIsJournal(env: NodeJS.ProcessEnv): boolean {
  const stream = env['JOURNAL_STREAM'];
  if (stream === undefined || stream === '') return false;
  try {
    const { dev, ino } = fstatSync(STDERR, { bigint: true });
    return stream === `${dev.toString()}:${ino.toString()}`;
  } catch {
    return false; // stderr is closed
  }
}

function openStderr(): (bytes: Buffer) => number {
  // A journal socket is inherited in blocking mode and cannot be opened anew. Node's stream object sets O_NONBLOCK on
  // pipes and sockets when it is first touched (and restores the mode at exit). Its queue is not used: it is unbounded
  // and ends for good at the first error.
  const { fd } = process.stderr;
  return (bytes) => writeSync(fd, bytes);
}

function isWouldBlock(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'EAGAIN' || error.code === 'EINTR');
}
