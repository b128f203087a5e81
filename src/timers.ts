// SPDX-License-Identifier: MIT
// The clock and the one-shot timer that time-driven parts are given, so that a
// test can turn time by hand. Monotonic; never the wall clock.

export interface Timers {
  /** CLOCK_MONOTONIC, milliseconds. */
  now(): number;
  /** Calls `run` once, `delayMs` from now; the result cancels it (idempotent). Does not keep the process alive. */
  after(delayMs: number, run: () => void): () => void;
}

/** The real ones. */
export const systemTimers: Timers = {
  now: () => {
    const [seconds, nanoseconds] = process.hrtime();
    return seconds * 1e3 + nanoseconds / 1e6;
  },
  after: (delayMs, run) => {
    const timer = setTimeout(run, delayMs).unref();
    return () => {
      clearTimeout(timer);
    };
  },
};
