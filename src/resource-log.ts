// SPDX-License-Identifier: MIT
// The warnings that a limit keeps clients waiting or out: descriptors or memory,
// MAX_CONNECTIONS, MAX_CONNECTIONS_PER_CLIENT, MAX_CONNECTION_RATE. The data plane only counts
// that; clients can cause it, so each line comes at most twice a minute.

import type { DataPlaneStats } from './dataplane-stats.js';
import { RateLimit } from './log.js';
import type { Logger } from './log.js';
import type { Timers } from './timers.js';

const LINE_EVERY_MS = 30_000;

type Counts = Pick<DataPlaneStats, 'acceptPauses' | 'pipeWaits' | 'rateWaits' | 'rejected'>;

/** A limit, as its line tells of it. */
interface Limit {
  readonly message: string;
  readonly hint: string;
  /** What it has done, by the names that the line gives it. */
  readonly effects: (counts: Counts) => Readonly<Record<string, bigint>>;
}

const LIMITS: readonly Limit[] = [
  {
    message: 'descriptors or memory have run out: clients wait or are turned away',
    hint: 'a session takes two descriptors, and up to six while nobody reads: raise LimitNOFILE= of the service (ulimit -n)',
    effects: ({ acceptPauses, pipeWaits, rejected }) => ({
      accept_pauses: acceptPauses,
      pipe_waits: pipeWaits,
      clients_rejected: rejected.resources,
    }),
  },
  {
    message: 'there are as many clients as there may be: more are turned away',
    hint: 'MAX_CONNECTIONS is the limit',
    effects: ({ rejected }) => ({ clients_rejected: rejected.too_many_clients }),
  },
  {
    message: 'from an address there are as many clients as there may be: more are turned away',
    hint: 'MAX_CONNECTIONS_PER_CLIENT is the limit; LOG_LEVEL=debug names the address',
    effects: ({ rejected }) => ({ clients_rejected: rejected.too_many_per_client }),
  },
  {
    message: 'more clients come than are accepted in a second: they wait',
    hint: 'MAX_CONNECTION_RATE is the limit',
    effects: ({ rateWaits }) => ({ accept_waits: rateWaits }),
  },
];

export class ResourceLog {
  readonly #logger: Logger;
  readonly #limit: RateLimit;
  readonly #told = new Map<Limit, Readonly<Record<string, bigint>>>();

  constructor(logger: Logger, timers: Timers) {
    this.#logger = logger;
    this.#limit = new RateLimit(LINE_EVERY_MS, { now: () => timers.now() });
  }

  /** Compares with what the last lines told: what comes between two lines is in the second. */
  observe(counts: Counts): void {
    for (const limit of LIMITS) {
      const { message, hint, effects } = limit;
      const told = this.#told.get(limit);
      const now = effects(counts);
      const grown = Object.entries(now).map(([name, count]) => [name, count - (told?.[name] ?? 0n)] as const);
      if (grown.every(([, by]) => by === 0n) || this.#limit.admit(message) === undefined) continue;
      this.#told.set(limit, now);
      this.#logger.warning(message, { ...Object.fromEntries(grown), hint });
    }
  }
}
