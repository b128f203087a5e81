// SPDX-License-Identifier: MIT
// The warnings that a limit keeps clients out: descriptors or memory, MAX_CONNECTIONS,
// MAX_CONNECTIONS_PER_CLIENT. The data plane only counts that; clients can cause it, so
// each line comes at most twice a minute.

import type { DataPlaneStats, RejectReason } from './dataplane-stats.js';
import { RateLimit } from './log.js';
import type { Logger } from './log.js';
import type { Timers } from './timers.js';

const LINE_EVERY_MS = 30_000;

/** A limit, as its line tells of it. */
interface Limit {
  readonly reason: RejectReason;
  readonly message: string;
  readonly hint: string;
}

const RESOURCES: Limit = {
  reason: 'resources',
  message: 'descriptors or memory have run out: new clients wait or are turned away',
  hint: 'a session takes two descriptors: raise LimitNOFILE= of the service (ulimit -n)',
};
const LIMITS: readonly Limit[] = [
  RESOURCES,
  {
    reason: 'too_many_clients',
    message: 'there are as many clients as there may be: more are turned away',
    hint: 'MAX_CONNECTIONS is the limit',
  },
  {
    reason: 'too_many_per_client',
    message: 'from an address there are as many clients as there may be: more are turned away',
    hint: 'MAX_CONNECTIONS_PER_CLIENT is the limit; LOG_LEVEL=debug names the address',
  },
];

export class ResourceLog {
  readonly #logger: Logger;
  readonly #limit: RateLimit;
  readonly #told = new Map<RejectReason, bigint>();
  #toldPauses = 0n;

  constructor(logger: Logger, timers: Timers) {
    this.#logger = logger;
    this.#limit = new RateLimit(LINE_EVERY_MS, { now: () => timers.now() });
  }

  /** Compares with what the last lines told: what comes between two lines is in the second. */
  observe({ acceptPauses, rejected }: Pick<DataPlaneStats, 'acceptPauses' | 'rejected'>): void {
    for (const limit of LIMITS) {
      const { reason, message, hint } = limit;
      const pauses = limit === RESOURCES ? acceptPauses - this.#toldPauses : 0n;
      const turnedAway = rejected[reason] - (this.#told.get(reason) ?? 0n);
      if (pauses === 0n && turnedAway === 0n) continue;
      if (this.#limit.admit(reason) === undefined) continue;
      this.#told.set(reason, rejected[reason]);
      if (limit === RESOURCES) this.#toldPauses = acceptPauses;
      this.#logger.warning(message, {
        accept_pauses: limit === RESOURCES ? pauses : undefined,
        clients_rejected: turnedAway,
        hint,
      });
    }
  }
}
