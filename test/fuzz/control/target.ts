// SPDX-License-Identifier: MIT
// What a fuzz target of the control plane is, and what all of them may throw.

import { GatewayError } from '#src/errors.js';
import type { ErrorCode } from '#src/errors.js';

export interface Target {
  readonly name: string;
  /** Modules of src/ whose coverage guides it: beginnings of their paths in dist/. */
  readonly modules: readonly string[];
  readonly words: readonly string[];
  readonly maxBytes?: number;
  /** Reads one input. What it throws, or leaves behind as a rejection, is a finding. */
  run(input: Buffer): void | Promise<void>;
  close?(): Promise<void>;
}

export function require(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(`does not hold: ${what}`);
}

/** The result; undefined if it was refused by one of these codes. Anything else that is thrown is a finding. */
export function refusedOr<T>(codes: readonly ErrorCode[], read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof GatewayError) || !codes.includes(error.code)) throw error;
    require(error.message !== '', 'an error has words');
    return undefined;
  }
}

/** One line of a log: no sign of control in it, whatever was read. */
export function requireOneLine(text: string): void {
  require(!/[\u0000-\u001f\u007f\u2028\u2029]/u.test(text), `one line: ${JSON.stringify(text)}`);
}
