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

/** Out of a search a server that is down may be given up for long: what is retried costs the network and its log. */
const MOST_REST_FACTOR = 8;
const LONGEST_REST_MS = 10_000;
/** So much of a rest more or less, by chance: candidates that went down together do not come back in step. */
const REST_SPREAD = 0.2;

/**
 * Out of a search: how long a candidate whose last probe failed rests before the next one. It begins with the calm
 * cadence and doubles with each rest, up to eight times that or ten seconds, and is never shorter than the cadence but
 * by the spread.
 * @param rests how many it has had since it last answered, or since the last search
 * @param random 0 <= random < 1
 */
export function restMs(checkEveryMs: number, rests: number, random: number): number {
  const longestMs = Math.max(checkEveryMs, LONGEST_REST_MS);
  const grownMs = checkEveryMs * Math.min(2 ** rests, MOST_REST_FACTOR);
  return Math.min(grownMs, longestMs) * (1 - REST_SPREAD + 2 * REST_SPREAD * random);
}
