// SPDX-License-Identifier: MIT
// Between a socket and pg's parser: whatever is on the other end may be broken or
// hostile, and must not be able to end the gateway or to fill its memory.

import type { Socket } from 'node:net';

import { ProbeFault } from './failure.js';

/** A log-in and an answer are a few kilobytes (an ErrorResponse may be 30,000 bytes to libpq). */
const MAX_BYTES = 1 << 18;
/** libpq's bounds for the first message: an authentication request of 8..2000 bytes, an error of 8..30000. */
const MAX_FIRST_MESSAGE_BYTES = 30_000;
/** Authentication, ErrorResponse, NegotiateProtocolVersion, NoticeResponse. */
const FIRST_TYPES = 'REvN';

/**
 * Wraps what the stream's `data` listeners do from now on. The stream is destroyed with a fault `protocol`
 * - when the first message cannot be one of PostgreSQL's (without this a text like HTTP's would be
 *   taken for the beginning of a message of a gigabyte, and waited for);
 * - when more comes than a probe can need, counted anew after each `reset()`;
 * - when a listener throws: pg's parser does for messages that lie about their lengths, and what is thrown in
 *   a stream's event ends the process.
 */
export function guardInput(stream: Socket): { reset(): void } {
  let bytes = 0;
  let head = Buffer.alloc(0);
  const emit = stream.emit.bind(stream);
  const checked = (event: string | symbol, ...args: unknown[]): boolean => {
    const [chunk] = args;
    if (event !== 'data' || !Buffer.isBuffer(chunk)) return emit(event, ...args);
    bytes += chunk.length;
    if (head.length < 5) head = Buffer.concat([head, chunk.subarray(0, 5 - head.length)]);
    const wrong = firstMessageProblem(head) ?? (bytes > MAX_BYTES ? 'more than a probe can need' : undefined);
    if (wrong !== undefined) {
      stream.destroy(new ProbeFault('protocol', `not PostgreSQL: ${wrong}`));
      return true;
    }
    try {
      return emit(event, chunk);
    } catch (error) {
      stream.destroy(new ProbeFault('protocol', `a message that cannot be read: ${String(error)}`, { cause: error }));
      return true;
    }
  };
  // An own property over the prototype's method: it has the same contract, only the overloads are not repeated.
  Object.defineProperty(stream, 'emit', { value: checked, configurable: true, writable: true });
  return {
    reset: () => {
      bytes = 0;
    },
  };
}

/** `head`: the first bytes of the stream, up to five. */
function firstMessageProblem(head: Buffer): string | undefined {
  if (head.length === 0) return undefined;
  const length = head.length < 5 ? 8 : head.readInt32BE(1);
  if (FIRST_TYPES.includes(head.toString('latin1', 0, 1)) && length >= 8 && length <= MAX_FIRST_MESSAGE_BYTES) {
    return undefined;
  }
  return `it begins with ${JSON.stringify(head.toString('latin1'))}`;
}
