// SPDX-License-Identifier: MIT
// Waiting for a condition with a deadline: the only way in which tests let time pass.

import { setTimeout as pause } from 'node:timers/promises';

export interface WaitOptions {
  /** How long to wait at most. Default: 15 s, far above what anything takes. */
  readonly deadlineMs?: number;
  /** Time between two looks. Default: 20 ms. */
  readonly everyMs?: number;
}

const DEADLINE_MS = 15_000;
const EVERY_MS = 20;

/**
 * Looks again and again until `look` returns something other than false or undefined, and returns that. A look that
 * throws counts as "not yet".
 * @throws Error naming `what`, and what the last look threw, when the deadline passes
 */
export async function eventually<T>(
  what: string,
  look: () => T | Promise<T>,
  { deadlineMs = DEADLINE_MS, everyMs = EVERY_MS }: WaitOptions = {},
): Promise<Exclude<T, false | undefined>> {
  const end = performance.now() + deadlineMs;
  for (;;) {
    let problem: unknown;
    try {
      const seen = await look();
      // The two values that mean "not yet" are gone, which Exclude cannot see.
      if (seen !== false && seen !== undefined) return seen as Exclude<T, false | undefined>;
    } catch (error) {
      problem = error;
    }
    if (performance.now() >= end) {
      throw new Error(`not within ${deadlineMs} ms: ${what}`, problem === undefined ? {} : { cause: problem });
    }
    await pause(everyMs);
  }
}

/**
 * The result of `work` if it comes in time. `work` itself goes on: close what it holds.
 * @throws Error naming `what` when the deadline passes
 */
export async function within<T>(deadlineMs: number, what: string, work: Promise<T>): Promise<T> {
  const timer = new AbortController();
  const late = pause(deadlineMs, undefined, { signal: timer.signal }).then(() => {
    throw new Error(`not within ${deadlineMs} ms: ${what}`);
  });
  // When `work` wins, the timer ends with an AbortError that nobody wants.
  late.catch(() => undefined);
  try {
    return await Promise.race([work, late]);
  } finally {
    timer.abort();
  }
}

/** Milliseconds that `work` takes. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** Lets time pass in order to measure something over it. Never for waiting until something has happened. */
export async function observeFor(durationMs: number): Promise<void> {
  await pause(durationMs);
}
