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
 * - when an error or a notice has no end: pg's parser would look for it for ever, and the whole process with it;
 * - when a listener throws: pg's parser does for messages that lie about their lengths, and what is thrown in
 *   a stream's event ends the process.
 */
export function guardInput(stream: Socket): { reset(): void } {
  let bytes = 0;
  let head = Buffer.alloc(0);
  const messages = new MessageReader();
  const emit = stream.emit.bind(stream);
  const checked = (event: string | symbol, ...args: unknown[]): boolean => {
    const [chunk] = args;
    if (event !== 'data' || !Buffer.isBuffer(chunk)) return emit(event, ...args);
    bytes += chunk.length;
    if (head.length < 5) head = Buffer.concat([head, chunk.subarray(0, 5 - head.length)]);
    const wrong =
      firstMessageProblem(head) ??
      (bytes > MAX_BYTES ? 'more than a probe can need' : undefined) ??
      messages.problemIn(chunk);
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

const HEAD_BYTES = 5;
/** ErrorResponse, NoticeResponse: fields until a type of zero. */
const WITH_FIELDS = 'EN';

/** Follows a stream from message to message, and looks into those whose ends pg's parser trusts in. */
class MessageReader {
  #head = Buffer.alloc(0);
  /** Of the present message's body, if it is to be looked into. */
  #body: Buffer[] = [];
  /** How much of it is still to come. */
  #left = 0;

  /** What is wrong with the messages that this chunk ends. */
  problemIn(chunk: Buffer): string | undefined {
    for (let rest = chunk; ;) {
      if (this.#head.length < HEAD_BYTES) {
        const missing = HEAD_BYTES - this.#head.length;
        this.#head = Buffer.concat([this.#head, rest.subarray(0, missing)]);
        rest = rest.subarray(missing);
        if (this.#head.length < HEAD_BYTES) return undefined;
        this.#left = this.#head.readUInt32BE(1) - 4;
        if (this.#left < 0) return 'a message shorter than its own length';
      }
      const part = rest.subarray(0, this.#left);
      rest = rest.subarray(part.length);
      this.#left -= part.length;
      const looked = WITH_FIELDS.includes(this.#head.toString('latin1', 0, 1));
      if (looked) this.#body.push(part);
      if (this.#left > 0) return undefined;
      if (looked && !hasItsEnd(Buffer.concat(this.#body))) return 'an error without an end';
      this.#head = Buffer.alloc(0);
      this.#body = [];
    }
  }
}

/** Fields: a type and a text that ends with a zero; then a zero. */
function hasItsEnd(body: Buffer): boolean {
  for (let at = 0; at < body.length;) {
    if (body[at] === 0) return true;
    const end = body.indexOf(0, at + 1);
    if (end < 0) return false;
    at = end + 1;
  }
  return false;
}
