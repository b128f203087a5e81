// SPDX-License-Identifier: MIT
// Whether a candidate's name still points to the connection that was made by it.
// One for each connection; it makes and ends none.

import type { Timers } from '../timers.js';
import { isAmong } from './dial.js';
import type { Resolver } from './dial.js';
import type { ServerAddress } from './observation.js';

/** From one look-up to the next while the connection lives. */
export const LOOK_UP_EVERY_MS = 30_000;

export interface NameWatchOptions {
  readonly resolver: Resolver;
  /** Of the connection. */
  readonly address: ServerAddress;
  readonly timers: Timers;
  /** Ends a look-up under way. */
  readonly signal: AbortSignal;
}

export class NameWatch {
  readonly #options: NameWatchOptions;
  /** When the last look-up began; at first, when the connection was there. */
  #lookedUpAt: number;
  #lookingUp = false;
  #hasMoved = false;

  constructor(options: NameWatchOptions) {
    this.#options = options;
    this.#lookedUpAt = options.timers.now();
  }

  /** The name does not have the connection's address any more. */
  get hasMoved(): boolean {
    return this.#hasMoved;
  }

  /** Looks the name up if it is time for that. Waits for nothing, never throws: whoever calls goes on at once. */
  lookUpIfDue(): void {
    const { resolver, address, timers, signal } = this.#options;
    const now = timers.now();
    if (this.#lookingUp || now - this.#lookedUpAt < LOOK_UP_EVERY_MS) return;
    this.#lookedUpAt = now;
    this.#lookingUp = true;
    resolver
      .addresses(signal)
      .then(
        (addresses) => {
          this.#hasMoved = !isAmong(addresses, address);
        },
        () => undefined, // A resolver that does not know says nothing about the server.
      )
      .finally(() => {
        this.#lookingUp = false;
      });
  }
}
