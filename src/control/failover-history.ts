// SPDX-License-Identifier: MIT
// The failovers of this process, each with the times of its steps. Bounded: of more the
// oldest go, and are but counted. Decides nothing.

import type { Verdict } from '../election.js';
import type { Outcome } from '../failovers.js';
import type { Doubt } from '../monitor.js';
import { isoTime } from './clock.js';
import type { Clock } from './clock.js';
import type { FailoverDocument, FailoverStep } from './documents.js';

interface Step {
  readonly step: FailoverStep['step'];
  readonly at: number;
  readonly detail: string;
}

const MAX_FAILOVERS = 100;
/** A primary may be lost in many ways before another is proven; the first ones tell the story. */
const MAX_STEPS = 20;

export class FailoverHistory {
  readonly #failovers: FailoverDocument[] = [];
  #total = 0;
  #steps: Step[] = [];

  /**
   * Each verdict, once its route has been given out.
   * @param decidedAt when it was decided, monotonic milliseconds; `clock.now` is when its route was given out
   */
  decided(verdict: Verdict, doubt: Doubt, outcome: Outcome, decidedAt: number, clock: Clock): void {
    if (this.#steps.length === 0) this.#steps.push({ step: 'doubt', at: doubt.since, detail: doubt.cause });
    if (verdict.kind === 'none') {
      const detail = `${verdict.reason}: ${verdict.detail}`;
      if (this.#steps.length < MAX_STEPS) this.#steps.push({ step: 'lost', at: decidedAt, detail });
      return;
    }
    const steps = this.#steps;
    this.#steps = [];
    const { failover } = outcome;
    if (failover === undefined) return;
    const { old, new: next, cut, held, decidedInMs } = failover;
    const target = `${next.candidate.name} at ${next.address.address}`;
    steps.push({ step: 'proven', at: decidedAt, detail: `${verdict.reason}: ${verdict.detail}` });
    steps.push({ step: 'routed', at: clock.now, detail: `new clients go to ${target}` });
    this.#total += 1;
    this.#failovers.unshift({
      at: isoTime(clock, decidedAt),
      old: old.candidate.name,
      new: next.candidate.name,
      old_timeline: old.timeline,
      new_timeline: next.timeline,
      cause: failover.doubt.cause,
      decided_in_ms: tenths(decidedInMs),
      sessions_cut: cut,
      clients_held: held,
      steps: steps.map(({ step, at, detail }) => ({
        at: isoTime(clock, at),
        step,
        ms: tenths(at - failover.doubt.since),
        detail,
      })),
    });
    this.#failovers.length = Math.min(this.#failovers.length, MAX_FAILOVERS);
  }

  /** How many there were, those that are forgotten too. */
  get total(): number {
    return this.#total;
  }

  /** The latest first. */
  list(): readonly FailoverDocument[] {
    return this.#failovers;
  }
}

function tenths(ms: number): number {
  return Math.round(ms * 10) / 10;
}
