// SPDX-License-Identifier: MIT
// New clients wait because an administrator wants it: for a while that ends by itself, so
// that nobody waits for somebody who has forgotten it. It is this process' alone: the
// next one knows nothing of it, and routes as soon as it has proven a primary.

import { MAX_HOLD_MS } from '../dataplane.js';
import type { Timers } from '../timers.js';
import type { Span } from './status-document.js';

export class AdministratorHold {
  readonly #timers: Timers;
  readonly #configuredMs: () => number;
  readonly #changed: (expired: boolean) => void;
  #span: Span | undefined;
  /** The last hold, for as long as there may be clients that came while it lasted: they wait on from its end. */
  #past: Span | undefined;
  #cancel: (() => void) | undefined;

  /**
   * @param configuredMs HOLD_TIMEOUT_MS now
   * @param changed by time alone: it has ended (`expired`), or how long clients wait is as configured again
   */
  constructor(timers: Timers, configuredMs: () => number, changed: (expired: boolean) => void) {
    this.#timers = timers;
    this.#configuredMs = configuredMs;
    this.#changed = changed;
  }

  get span(): Span | undefined {
    return this.#span;
  }

  /** For so long from now on; one that there is keeps its beginning. */
  begin(seconds: number): Span {
    this.#cancel?.();
    const now = this.#timers.now();
    this.#span = { since: this.#span?.since ?? this.#past?.since ?? now, until: now + seconds * 1000 };
    this.#past = undefined;
    this.#cancel = this.#timers.after(seconds * 1000, () => {
      this.end();
      this.#changed(true);
    });
    return this.#span;
  }

  /** False: there was none. Idempotent. */
  end(): boolean {
    if (this.#span === undefined) return false;
    this.#cancel?.();
    this.#past = { since: this.#span.since, until: Math.min(this.#timers.now(), this.#span.until) };
    this.#span = undefined;
    this.#cancel = this.#timers.after(this.#configuredMs(), () => {
      this.#past = this.#cancel = undefined;
      this.#changed(false);
    });
    return true;
  }

  /** No timer is left. Idempotent. */
  close(): void {
    this.#cancel?.();
    this.#cancel = this.#span = this.#past = undefined;
  }

  /**
   * How long a client waits, from when it came: as long as the hold lasts, and then as long as it would have otherwise.
   * Who came first decides; who comes later waits no longer for it, since afterwards it is as configured again. One hold
   * that is renewed again and again has clients wait for a week at most.
   */
  timeoutMs(configuredMs: number): number {
    const { since, until } = this.#span ?? this.#past ?? { since: 0, until: 0 };
    return Math.min(MAX_HOLD_MS, Math.ceil(Math.max(until - since, 0)) + configuredMs);
  }
}
