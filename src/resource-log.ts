// SPDX-License-Identifier: MIT
// The warning that the data plane has run out of descriptors or memory. It only
// counts that; clients can cause it, so a line comes at most twice a minute.

import type { DataPlaneStats } from './dataplane-stats.js';
import { RateLimit } from './log.js';
import type { Logger } from './log.js';
import type { Timers } from './timers.js';

const LINE_EVERY_MS = 30_000;

export class ResourceLog {
  readonly #logger: Logger;
  readonly #limit: RateLimit;
  #toldPauses = 0n;
  #toldRejected = 0n;

  constructor(logger: Logger, timers: Timers) {
    this.#logger = logger;
    this.#limit = new RateLimit(LINE_EVERY_MS, { now: () => timers.now() });
  }

  /** Compares with what the last line told: what comes between two lines is in the second. */
  observe({ acceptPauses, rejected }: Pick<DataPlaneStats, 'acceptPauses' | 'rejected'>): void {
    const pauses = acceptPauses - this.#toldPauses;
    const turnedAway = rejected.resources - this.#toldRejected;
    if (pauses === 0n && turnedAway === 0n) return;
    if (this.#limit.admit('resources') === undefined) return;
    this.#toldPauses = acceptPauses;
    this.#toldRejected = rejected.resources;
    this.#logger.warning('descriptors or memory have run out: new clients wait or are turned away', {
      accept_pauses: pauses,
      clients_rejected: turnedAway,
      hint: 'a session takes two descriptors: raise LimitNOFILE= of the service (ulimit -n)',
    });
  }
}
