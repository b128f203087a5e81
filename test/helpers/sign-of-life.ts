// SPDX-License-Identifier: MIT
// Whoever waits for a program shall see that it still works: it is never silent for more
// than two seconds.

const SILENCE_MS = 2000;

export class SignOfLife {
  readonly #timer: NodeJS.Timeout;

  /** Calls `give` whenever nothing has been printed for two seconds. It keeps no process from its end. */
  constructor(give: () => void) {
    this.#timer = setInterval(give, SILENCE_MS);
    this.#timer.unref();
  }

  /** Something was printed. */
  heard(): void {
    this.#timer.refresh();
  }

  /** Nobody waits any more. Idempotent. */
  close(): void {
    clearInterval(this.#timer);
  }
}
