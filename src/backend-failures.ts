// SPDX-License-Identifier: MIT
// Connections to servers that failed: what is logged of them, one line a while for each
// server, and which of them speak against it.

import type { BackendFailure } from './dataplane.js';
import { RateLimit } from './log.js';
import type { Logger } from './log.js';
import type { Timers } from './timers.js';

const LOG_EVERY_MS = 5000;
/**
 * Any client, without a log-in too, can have the server reset its session: by sending what the server does not read
 * before it closes. While such a doubt is cleared up new clients wait, so there is one in so long. A primary that ends
 * is told of by the connection of its probe as well, and by each client that it does not accept: these count at once.
 */
const RESETS_APART_MS = 1000;

export class BackendFailures {
  readonly #logger: Logger;
  readonly #timers: Timers;
  readonly #limit: RateLimit;
  #resetAt = -Infinity;

  constructor(logger: Logger, timers: Timers) {
    this.#logger = logger;
    this.#timers = timers;
    this.#limit = new RateLimit(LOG_EVERY_MS, { now: () => timers.now() });
  }

  /**
   * @param name undefined: of the slot's server none is known
   * @returns whether it speaks against the server
   */
  observe({ server, error, relayed }: BackendFailure, name: string | undefined): boolean {
    const who = name ?? server;
    const similar = this.#limit.admit(String(who));
    if (similar !== undefined) this.#logger.info(`a backend connection failed${similar}`, { server: who, error });
    if (!relayed) return true;
    const now = this.#timers.now();
    if (now - this.#resetAt < RESETS_APART_MS) return false;
    this.#resetAt = now;
    return true;
  }
}
