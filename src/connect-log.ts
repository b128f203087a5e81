// SPDX-License-Identifier: MIT
// The log lines about connections to servers that failed: one a while for each server.

import type { BackendFailure } from './dataplane.js';
import { RateLimit } from './log.js';
import type { Logger } from './log.js';

const EVERY_MS = 5000;

export class ConnectLog {
  readonly #logger: Logger;
  readonly #limit = new RateLimit(EVERY_MS);

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** @param name undefined: of the slot's server none is known */
  failed({ server, error }: BackendFailure, name: string | undefined): void {
    const who = name ?? server;
    const similar = this.#limit.admit(String(who));
    if (similar !== undefined) this.#logger.info(`a backend connection failed${similar}`, { server: who, error });
  }
}
