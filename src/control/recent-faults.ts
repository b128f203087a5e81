// SPDX-License-Identifier: MIT
// When the data plane last lacked something. It only counts that, and each time is over at
// once: who asks a minute later is to hear of it all the same. Decides nothing.

import type { DataPlaneStats } from '../dataplane-stats.js';

/** Monotonic milliseconds; undefined: never in this process. */
export interface FaultTimes {
  /** Clients waited for want of descriptors or memory: to be accepted, or for what they had said to be passed on. */
  readonly lackedAt: number | undefined;
  /** A session could not be kept for the next process. */
  readonly keepFailedAt: number | undefined;
}

type Counts = Pick<DataPlaneStats, 'acceptPauses' | 'pipeWaits'> & {
  readonly kept: Pick<DataPlaneStats['kept'], 'failures'>;
};

export class RecentFaults {
  #waits = 0n;
  #keepFailures = 0n;
  #times: FaultTimes = { lackedAt: undefined, keepFailedAt: undefined };

  get times(): FaultTimes {
    return this.#times;
  }

  /** Every few seconds, for what has grown since the last time counts as of now. `now`: monotonic milliseconds. */
  observe({ acceptPauses, pipeWaits, kept: { failures } }: Counts, now: number): void {
    const { lackedAt, keepFailedAt } = this.#times;
    const waits = acceptPauses + pipeWaits;
    this.#times = {
      lackedAt: waits > this.#waits ? now : lackedAt,
      keepFailedAt: failures > this.#keepFailures ? now : keepFailedAt,
    };
    this.#waits = waits;
    this.#keepFailures = failures;
  }
}
