// SPDX-License-Identifier: MIT
// When whom is probed. Owns the probers and their timers; what they see is somebody
// else's to judge, and so is which of the two cadences there is.
//
// Calm: one timer, all candidates side by side, every `checkEveryMs`; one whose last
// probe failed is left out, and rests for longer and longer instead. Search: each
// candidate for itself, a short pause after the end of its last probe, so that none
// waits for another. A requested round probes everybody at once, whoever rests.
//
// Invariants: at most one probe per candidate is under way; what is seen counts only
// if its prober still is the candidate's (one from before a change of the candidates
// has none to speak for); rounds begin at least FAST_PAUSE_MS apart, whatever requests
// them; after close() nothing is called back.

import { FAST_PAUSE_MS, restMs, searchPauseMs } from './cadence.js';
import type { Candidate } from './candidates.js';
import type { Logger } from './log.js';
import type { ProbeFault } from './probe/failure.js';
import type { Observation } from './probe/observation.js';
import type { CandidateProber } from './probe/prober.js';
import type { Timers } from './timers.js';

export interface RoundsOptions {
  readonly openProber: (candidate: Candidate, onBroken: (fault: ProbeFault) => void) => CandidateProber;
  /** Of the calm cadence; asked whenever it is needed. */
  readonly checkEveryMs: () => number;
  readonly onSeen: (seen: Observation) => void;
  /** A connection broke between two probes. True: a round has been requested for it already. */
  readonly onBroken: (candidate: Candidate, why: string) => boolean;
  readonly logger: Logger;
  readonly timers: Timers;
  /** As Math.random(). */
  readonly random: () => number;
}

/** A candidate under watch. */
interface Slot {
  readonly candidate: Candidate;
  readonly prober: CandidateProber;
  seen: Observation | undefined;
  running: boolean;
  /** Asked for while a probe was under way, which may have looked too early. */
  again: boolean;
  begunAt: number;
  endedAt: number;
  brokeAt: number;
  /** Pauses that have run out since it last answered, or since the cadence changed. */
  rests: number;
  /** Set: it waits for the end of its pause or of its rest. */
  cancelWake: (() => void) | undefined;
}

/** A standby that drops each new connection must not keep everybody busy: one round for it in this time. */
const BREAKS_APART_MS = 1000;

export class Rounds {
  readonly #options: RoundsOptions;
  readonly #timers: Timers;
  readonly #slots = new Map<string, Slot>();
  readonly #closing = new Set<Promise<void>>();
  /** When the present search began; undefined: calm. */
  #searchSince: number | undefined;
  #lastRoundAt = -Infinity;
  /** When the last event came that a round was asked for. */
  #newsAt = -Infinity;
  /** When the pause of the calm timer began. */
  #calmAt = -Infinity;
  #cancelCalm: (() => void) | undefined;
  #cancelRound: (() => void) | undefined;
  #closed = false;

  constructor(options: RoundsOptions) {
    this.#options = options;
    this.#timers = options.timers;
  }

  /**
   * These are the candidates from now on; those that were before keep their connections.
   * @param anew all connect anew
   */
  watch(candidates: readonly Candidate[], anew = false): void {
    const names = new Set(candidates.map(({ name }) => name));
    for (const [name, slot] of this.#slots) {
      if (names.has(name) && !anew) continue;
      this.#closeSlot(slot);
      this.#slots.delete(name);
    }
    for (const candidate of candidates) {
      if (!this.#slots.has(candidate.name)) this.#slots.set(candidate.name, this.#openSlot(candidate));
    }
  }

  /** Probes those that never were. */
  probeNew(): void {
    for (const slot of [...this.#slots.values()]) if (slot.begunAt === -Infinity) this.#begin(slot);
  }

  /** Which cadence there is from now on. */
  search(searches: boolean): void {
    if (searches === (this.#searchSince !== undefined)) return;
    const now = this.#timers.now();
    this.#searchSince = searches ? now : undefined;
    this.#calmAt = now;
    for (const slot of this.#slots.values()) slot.rests = 0;
    this.rearm();
  }

  /** The settings or the candidates have changed: that counts for the pauses under way, and begins none anew. */
  rearm(): void {
    for (const slot of this.#slots.values()) {
      slot.cancelWake?.();
      slot.cancelWake = undefined;
      this.#arm(slot);
    }
    this.#rearmCalm();
  }

  /** Everybody at once, or in FAST_PAUSE_MS at most: requests in quick succession make one round. */
  request(why: string): void {
    if (this.#closed) return;
    this.#newsAt = this.#timers.now();
    if (this.#cancelRound !== undefined) return;
    const waitMs = this.#lastRoundAt + FAST_PAUSE_MS - this.#newsAt;
    this.#options.logger.debug('probe round', { why });
    if (waitMs <= 0) {
      this.#beginRequested();
      return;
    }
    this.#cancelRound = this.#timers.after(waitMs, () => this.#beginRequested());
  }

  /** Ends all probing and all connections. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelCalm?.();
    this.#cancelRound?.();
    for (const slot of this.#slots.values()) this.#closeSlot(slot);
    this.#slots.clear();
    await Promise.all(this.#closing);
  }

  #openSlot(candidate: Candidate): Slot {
    const slot: Slot = {
      candidate,
      prober: this.#options.openProber(candidate, ({ message }) => this.#broke(slot, message)),
      seen: undefined,
      running: false,
      again: false,
      begunAt: -Infinity,
      endedAt: -Infinity,
      brokeAt: -Infinity,
      rests: 0,
      cancelWake: undefined,
    };
    return slot;
  }

  #closeSlot(slot: Slot): void {
    slot.cancelWake?.();
    const closed = slot.prober.close();
    this.#closing.add(closed);
    void closed.finally(() => this.#closing.delete(closed));
  }

  #isCurrent(slot: Slot): boolean {
    return this.#slots.get(slot.candidate.name) === slot;
  }

  /** The connection of an idle prober is gone: news about the server, and possibly about the cluster. */
  #broke(slot: Slot, detail: string): void {
    if (!this.#isCurrent(slot)) return;
    const { name } = slot.candidate;
    this.#options.logger.debug('probe connection broke', { candidate: name, detail });
    const why = `the probe connection to ${name} broke`;
    if (this.#options.onBroken(slot.candidate, why)) return;
    const now = this.#timers.now();
    if (now - slot.brokeAt < BREAKS_APART_MS) return;
    slot.brokeAt = now;
    this.request(why);
  }

  /** Probes everybody who has not been asked since the last news. */
  #beginRequested(): void {
    this.#cancelRound?.();
    this.#cancelRound = undefined;
    this.#calmAt = this.#lastRoundAt = this.#timers.now();
    for (const slot of [...this.#slots.values()]) if (slot.begunAt < this.#newsAt) this.#begin(slot);
    this.#rearmCalm();
  }

  /** Probes everybody who neither rests nor is being probed. */
  #beginCalm(): void {
    this.#calmAt = this.#lastRoundAt = this.#timers.now();
    for (const slot of [...this.#slots.values()]) {
      if (!slot.running && slot.cancelWake === undefined) this.#begin(slot);
    }
    this.#rearmCalm();
  }

  #begin(slot: Slot): void {
    slot.cancelWake?.();
    slot.cancelWake = undefined;
    if (slot.running) {
      slot.again = true;
      return;
    }
    slot.running = true;
    slot.begunAt = this.#timers.now();
    void slot.prober.probe().then((seen) => this.#ended(slot, seen));
  }

  #ended(slot: Slot, seen: Observation): void {
    if (!this.#isCurrent(slot)) return;
    slot.running = false;
    slot.endedAt = seen.at;
    slot.seen = seen;
    if (seen.kind === 'answered') slot.rests = 0;
    this.#options.onSeen(seen);
    if (!this.#isCurrent(slot)) return; // a callback has changed the candidates or closed
    if (slot.again) {
      slot.again = false;
      this.#begin(slot);
    } else {
      this.#arm(slot);
    }
  }

  #rearmCalm(): void {
    this.#cancelCalm?.();
    this.#cancelCalm = undefined;
    if (this.#closed || this.#searchSince !== undefined) return;
    const waitMs = Math.max(0, this.#calmAt + this.#options.checkEveryMs() - this.#timers.now());
    this.#cancelCalm = this.#timers.after(waitMs, () => this.#beginCalm());
  }

  /** What a candidate waits for by itself; the rest is the calm timer's. */
  #arm(slot: Slot): void {
    if (slot.running || slot.cancelWake !== undefined) return;
    const pauseMs = this.#pauseMs(slot);
    if (pauseMs === undefined) return;
    const waitMs = Math.max(0, slot.endedAt + pauseMs - this.#timers.now());
    slot.cancelWake = this.#timers.after(waitMs, () => {
      slot.rests += 1;
      this.#begin(slot);
    });
  }

  /** Between the end of its last probe and the next; undefined: the calm timer says when. */
  #pauseMs({ seen, rests }: Slot): number | undefined {
    const { checkEveryMs, random } = this.#options;
    if (this.#searchSince !== undefined) {
      return searchPauseMs(this.#timers.now() - this.#searchSince, checkEveryMs(), seen);
    }
    return seen?.kind === 'failed' ? restMs(checkEveryMs(), rests, random()) : undefined;
  }
}
