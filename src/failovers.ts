// SPDX-License-Identifier: MIT
// What a change of the primary was, told when it is decided: since when there was
// doubt and why, how long the decision took, what it cost. For the log and the
// metrics; decides nothing.

import type { DataPlaneStats } from './dataplane-stats.js';
import { sameServer } from './election.js';
import type { ProvenPrimary, Verdict } from './election.js';
import type { Doubt } from './monitor.js';
import type { Timers } from './timers.js';

export interface Failover {
  readonly old: ProvenPrimary;
  readonly new: ProvenPrimary;
  readonly doubt: Doubt;
  readonly decidedInMs: number;
  /** Sessions that were cut since there was doubt, and those that this decision cuts. */
  readonly cut: number;
  /** Clients that had to wait since there was doubt. */
  readonly held: number;
}

export interface Outcome {
  /** The last proven primary before this verdict, also if it was in doubt for a while; undefined: there was none. */
  readonly lastPrimary: ProvenPrimary | undefined;
  /** From the doubt to the proof of a primary, this one again or another; undefined: none was doubted, or is proven. */
  readonly decidedInMs: number | undefined;
  /** Another server, or the same one on a higher timeline, is the primary now. */
  readonly failover: Failover | undefined;
}

export interface FailoversOptions {
  /** Of an earlier process; what became of it while nobody looked counts as well. */
  readonly lastPrimary: ProvenPrimary | undefined;
  readonly stats: () => DataPlaneStats;
  readonly timers: Timers;
}

export class Failovers {
  readonly #options: FailoversOptions;
  #lastPrimary: ProvenPrimary | undefined;
  #verdict: Verdict | undefined;
  /** Sessions that had been cut when a primary was last proven. */
  #cutBefore = 0;
  /** Clients that had had to wait by then. */
  #heldBefore = 0;

  constructor(options: FailoversOptions) {
    this.#options = options;
    this.#lastPrimary = options.lastPrimary;
  }

  /** Each verdict, before its route is given out: what is on the old server then is what it cuts. */
  decided(verdict: Verdict, doubt: Doubt): Outcome {
    const lastPrimary = this.#lastPrimary;
    const previous = this.#verdict;
    this.#verdict = verdict;
    if (verdict.kind === 'none') return { lastPrimary, decidedInMs: undefined, failover: undefined };
    const { primary } = verdict;
    this.#lastPrimary = primary;
    const isFailover = lastPrimary !== undefined && isAnother(lastPrimary, verdict);
    const wasProven = previous?.kind === 'primary' && previous.epoch === verdict.epoch;
    // The first of a process ends the start, not a doubt.
    if (wasProven || (previous === undefined && !isFailover) || lastPrimary === undefined) {
      const stats = this.#options.stats();
      this.#cutBefore = cutIn(stats);
      this.#heldBefore = Number(stats.heldEver);
      return { lastPrimary, decidedInMs: undefined, failover: undefined };
    }
    const decidedInMs = this.#options.timers.now() - doubt.since;
    const stats = this.#options.stats();
    const isCut = verdict.cut !== null && verdict.cut.belowEpoch >= verdict.epoch;
    const cutSince = Math.max(0, cutIn(stats) - this.#cutBefore);
    const cut = cutSince + (isCut ? sessionsIn(stats) : 0);
    const held = Number(stats.heldEver) - this.#heldBefore;
    this.#cutBefore += cut;
    this.#heldBefore += held;
    const failover = isFailover ? { old: lastPrimary, new: primary, doubt, decidedInMs, cut, held } : undefined;
    return { lastPrimary, decidedInMs, failover };
  }
}

function isAnother(last: ProvenPrimary, { primary, reason }: Verdict & { readonly kind: 'primary' }): boolean {
  if (primary.timeline > last.timeline) return true;
  // It may have moved to another address, and what was not proven of it before then is its start.
  return reason !== 'moved' && reason !== 'still-primary' && !sameServer(last, primary);
}

/** Under whatever names of servers that are no candidates any more: there are none of the new primary yet. */
function sessionsIn({ servers }: DataPlaneStats): number {
  return servers.reduce((sum, { sessions }) => sum + sessions, 0);
}

/** Those that a stop has ended are not meant. */
function cutIn({ cut }: DataPlaneStats): number {
  return Number(cut.demoted + cut.superseded + cut.lost);
}
