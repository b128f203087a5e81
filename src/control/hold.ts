// SPDX-License-Identifier: MIT
// New clients wait because an administrator wants it: for a while that ends by itself, so
// that nobody waits for somebody who has forgotten it. It is this process' alone: the
// next one knows nothing of it, and routes as soon as it has proven a primary.

import type { Timers } from '../timers.js';
import type { Span } from './status-document.js';

/** Of HOLD_TIMEOUT_MS, which bounds what the data plane can be told. */
const MAX_TIMEOUT_MS = 600_000;

export class AdministratorHold {
  readonly #timers: Timers;
  readonly #ended: () => void;
  #span: Span | undefined;
  #cancel: (() => void) | undefined;

  /** @param ended its time is over; it has ended by then */
  constructor(timers: Timers, ended: () => void) {
    this.#timers = timers;
    this.#ended = ended;
  }

  get span(): Span | undefined {
    return this.#span;
  }

  /** For so long from now on; one that there is keeps its beginning. */
  begin(seconds: number): Span {
    this.#cancel?.();
    const now = this.#timers.now();
    this.#span = { since: this.#span?.since ?? now, until: now + seconds * 1000 };
    this.#cancel = this.#timers.after(seconds * 1000, () => {
      this.end();
      this.#ended();
    });
    return this.#span;
  }

  /** False: there was none. Idempotent. */
  end(): boolean {
    const was = this.#span !== undefined;
    this.#cancel?.();
    this.#cancel = this.#span = undefined;
    return was;
  }

  /** How long clients wait meanwhile: until it is over, and then as long as they would have otherwise. */
  timeoutMs(configuredMs: number): number {
    if (this.#span === undefined) return configuredMs;
    const leftMs = Math.ceil(this.#span.until - this.#timers.now());
    return Math.min(MAX_TIMEOUT_MS, Math.max(leftMs, 0) + configuredMs);
  }
}
