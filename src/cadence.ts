// SPDX-License-Identifier: MIT
// How long to wait before the next probe. Pure.

import type { Observation, ProbeFailureReason } from './probe/observation.js';

/** The shortest pause there is: between two probes of one candidate, and between two rounds. */
export const FAST_PAUSE_MS = 25;

/** While no primary is proven: the pause after so many milliseconds of it. An outage that lasts should cost little. */
const SEARCH_STEPS: readonly { readonly fromMs: number; readonly pauseMs: number }[] = [
  { fromMs: 60_000, pauseMs: 250 },
  { fromMs: 10_000, pauseMs: 100 },
];

/**
 * Failures that do not pass within milliseconds, and of which each one costs: a line in the server's log, a query to
 * the resolver, a connection slot where there are none left. For these a search begins with its last step.
 */
const STUBBORN: ReadonlySet<ProbeFailureReason> = new Set(['auth', 'tls', 'protocol', 'dns', 'too_many']);
const STUBBORN_PAUSE_MS = 250;

/**
 * The pause between the end of one probe and the next of the same candidate, during a search. Never longer than the
 * calm cadence.
 */
export function searchPauseMs(searchedMs: number, checkEveryMs: number, seen: Observation | undefined): number {
  const step = SEARCH_STEPS.find(({ fromMs }) => searchedMs >= fromMs)?.pauseMs ?? FAST_PAUSE_MS;
  const stubborn = seen?.kind === 'failed' && STUBBORN.has(seen.reason);
  return Math.min(checkEveryMs, stubborn ? Math.max(step, STUBBORN_PAUSE_MS) : step);
}
