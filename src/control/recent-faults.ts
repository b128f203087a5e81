// SPDX-License-Identifier: MIT
// When the data plane last lacked something. It only counts that, and each time is over at
// once: who asks a minute later is to hear of it all the same. Decides nothing.

import type { DataPlaneStats } from '../dataplane-stats.js';

/** Monotonic milliseconds; undefined: never in this process. */
export interface FaultTimes {
  /** Accepting was paused for want of descriptors or memory. */
  readonly acceptPausedAt: number | undefined;
  /** A session could not be kept for the next process. */
  readonly keepFailedAt: number | undefined;
}

type Counts = Pick<DataPlaneStats, 'acceptPauses'> & { readonly kept: Pick<DataPlaneStats['kept'], 'failures'> };

export class RecentFaults {
  #acceptPauses = 0n;
  #keepFailures = 0n;
  #times: FaultTimes = { acceptPausedAt: undefined, keepFailedAt: undefined };

  get times(): FaultTimes {
    return this.#times;
  }

  /** Every few seconds, for what has grown since the last time counts as of now. `now`: monotonic milliseconds. */
  observe({ acceptPauses, kept: { failures } }: Counts, now: number): void {
    const { acceptPausedAt, keepFailedAt } = this.#times;
    this.#times = {
      acceptPausedAt: acceptPauses > this.#acceptPauses ? now : acceptPausedAt,
      keepFailedAt: failures > this.#keepFailures ? now : keepFailedAt,
    };
    this.#acceptPauses = acceptPauses;
    this.#keepFailures = failures;
  }
}
