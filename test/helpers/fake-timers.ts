// SPDX-License-Identifier: MIT
// Time that a test turns by hand.

import type { Timers } from '#src/timers.js';

export class FakeTimers implements Timers {
  #now = 0;
  #waiting: { at: number; run: () => void }[] = [];

  /** How many timers are set. */
  get pending(): number {
    return this.#waiting.length;
  }

  /** When the next one falls due; undefined: none is set. */
  get nextAt(): number | undefined {
    return this.#waiting.length === 0 ? undefined : Math.min(...this.#waiting.map(({ at }) => at));
  }

  /** Time passes in which nothing runs: what falls due comes late, in its order. */
  stall(forMs: number): void {
    this.#now += forMs;
  }

  now(): number {
    return this.#now;
  }

  after(delayMs: number, run: () => void): () => void {
    const timer = { at: this.#now + delayMs, run };
    this.#waiting.push(timer);
    return () => {
      this.#waiting = this.#waiting.filter((other) => other !== timer);
    };
  }

  /** Lets time pass; what falls due runs in order, each at its own time, also what is set meanwhile. */
  advance(byMs: number): void {
    const end = this.#now + byMs;
    for (;;) {
      const due = this.#waiting.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.#waiting = this.#waiting.filter((other) => other !== due);
      this.#now = Math.max(this.#now, due.at);
      due.run();
    }
    this.#now = end;
  }
}
