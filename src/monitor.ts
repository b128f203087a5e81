// SPDX-License-Identifier: MIT
// Watches the candidates: owns their probers, says when each is probed, has the
// election decide on every observation, and tells what has changed.
//
// Two cadences. Calm, while a primary is proven and nothing speaks against it: one
// timer, all candidates side by side, every `checkEveryMs`. Search, from the first
// doubt on: each candidate for itself, a short pause after the end of its last
// probe, so that none waits for another.
//
// Invariants: at most one probe per candidate is under way; an observation counts
// only if its prober still is the candidate's (one from before a reconfiguration
// has none to speak for); rounds begin at least FAST_PAUSE_MS apart, whatever
// triggers them; after close() nothing is called back.

import { isDeepStrictEqual } from 'node:util';

import { CandidateLog } from './candidate-log.js';
import type { Candidate } from './candidates.js';
import { FAST_PAUSE_MS, searchPauseMs } from './cadence.js';
import type { ProbeConfig } from './config.js';
import { elect } from './election.js';
import type { Verdict } from './election.js';
import type { Logger } from './log.js';
import { ProcessMemoryStore } from './memory.js';
import type { Memory, MemoryStore } from './memory.js';
import type { Observation } from './probe/observation.js';
import { Prober } from './probe/prober.js';
import type { CandidateProber, ProberOptions } from './probe/prober.js';
import { systemTimers } from './timers.js';
import type { Timers } from './timers.js';

export type ProberFactory = (options: ProberOptions) => CandidateProber;

export interface MonitorOptions {
  /** In the order of the configuration, no two of one name. */
  readonly candidates: readonly Candidate[];
  readonly probe: ProbeConfig;
  readonly logger: Logger;
  /**
   * The first decision, and each one after it that differs: in the route (identity, address or timeline of the
   * primary, or none), in what is proven about sessions, in why there is no primary, or in who is fenced. The reason
   * of a primary is that of its election, until the next one. `doubt` is what it ends, or leaves open.
   */
  readonly onVerdict: (verdict: Verdict, previous: Verdict | undefined, doubt: Doubt) => void;
  /**
   * True: something speaks against the proven primary, which is being asked. False: it has answered, or there is another
   * verdict, which has been told before. Never twice the same.
   */
  readonly onSuspicion?: (suspected: boolean) => void;
  /** Each probe's, before it is decided on. */
  readonly onObservation?: (observation: Observation) => void;
  /** Default: the memory of this process. */
  readonly store?: MemoryStore;
  readonly timers?: Timers;
  /** Default: over SQL. */
  readonly openProber?: ProberFactory;
}

/** Why the primary is looked for. */
export interface Doubt {
  /** When it was first suspected that it might be another one, or none: the time of the monitor's timers. */
  readonly since: number;
  /** One line for the log. */
  readonly cause: string;
}

/** A candidate under watch. */
interface Slot {
  readonly candidate: Candidate;
  readonly prober: CandidateProber;
  running: boolean;
  /** Asked for while a probe was under way, which may have looked too early. */
  again: boolean;
  begunAt: number;
  endedAt: number;
  brokeAt: number;
  cancelWake: (() => void) | undefined;
}

/** A standby that drops each new connection must not keep everybody busy: one round for it in this time. */
const BREAKS_APART_MS = 1000;

export class Monitor {
  /**
   * Resolves after the first `onVerdict`: a primary is proven, or every candidate has answered or failed once; also when
   * closed before.
   */
  readonly firstRound: Promise<void>;
  readonly #options: MonitorOptions;
  readonly #timers: Timers;
  readonly #store: MemoryStore;
  readonly #log: CandidateLog;
  readonly #slots = new Map<string, Slot>();
  readonly #observations = new Map<string, Observation>();
  readonly #closing = new Set<Promise<void>>();
  #endFirstRound: () => void = () => undefined;
  #candidates: readonly Candidate[];
  #probe: ProbeConfig;
  #memory: Memory;
  #verdict: Verdict | undefined;
  /** When the present search began; undefined: calm. */
  #searchSince: number | undefined;
  /** Undefined: calm, and nothing speaks against the primary. */
  #doubt: Doubt | undefined;
  /** When the proven primary came under suspicion, and no probe begun since then has ended. */
  #suspectSince: number | undefined;
  /** What `onSuspicion` was told last. */
  #toldSuspicion = false;
  #lastRoundAt = -Infinity;
  /** When the last event came that a round was asked for. */
  #newsAt = -Infinity;
  #cancelCalm: (() => void) | undefined;
  #cancelRound: (() => void) | undefined;
  #state: 'new' | 'running' | 'closed' = 'new';

  /** @throws what the store throws where its memory cannot be trusted */
  constructor(options: MonitorOptions) {
    this.#options = options;
    this.#timers = options.timers ?? systemTimers;
    this.#store = options.store ?? new ProcessMemoryStore();
    this.#log = new CandidateLog(options.logger, this.#timers);
    this.#candidates = options.candidates;
    this.#probe = options.probe;
    this.#memory = this.#store.load();
    this.firstRound = new Promise((resolve) => {
      this.#endFirstRound = resolve;
    });
  }

  /** Begins to probe. Idempotent. */
  start(): void {
    if (this.#state !== 'new') return;
    this.#state = 'running';
    this.#searchSince = this.#timers.now();
    this.#doubt = { since: this.#searchSince, cause: 'start' };
    for (const candidate of this.#candidates) this.#slots.set(candidate.name, this.#openSlot(candidate));
    this.#beginRound(this.#timers.now());
  }

  /** The last of each candidate. */
  observations(): ReadonlyMap<string, Observation> {
    return this.#observations;
  }

  /**
   * Something happened that speaks against the primary: probe everybody at once, then at the fast cadence until the
   * primary has answered. Calls in quick succession make one round.
   */
  triggerRound(why: string): void {
    if (this.#state !== 'running') return;
    if (this.#verdict?.kind === 'primary') {
      this.#suspectSince = this.#timers.now();
      this.#doubt ??= { since: this.#suspectSince, cause: why };
      this.#chooseCadence();
      this.#tellSuspicion();
    }
    this.#requestRound(why);
  }

  /**
   * Other candidates, other settings. Kept candidates keep their connections, unless the log-in changed; what was seen
   * of them counts until they are seen again. Added ones are probed at once.
   */
  reconfigure(candidates: readonly Candidate[], probe: ProbeConfig): void {
    const sameLogin = isDeepStrictEqual(loginOf(this.#probe), loginOf(probe));
    this.#candidates = candidates;
    this.#probe = probe;
    if (this.#state !== 'running') return;
    const names = new Set(candidates.map(({ name }) => name));
    for (const [name, slot] of this.#slots) {
      if (names.has(name) && sameLogin) continue;
      this.#closeSlot(slot);
      this.#slots.delete(name);
      if (!names.has(name)) this.#observations.delete(name);
    }
    this.#log.retain(names);
    const added = candidates.filter(({ name }) => !this.#slots.has(name)).map((candidate) => this.#openSlot(candidate));
    for (const slot of added) this.#slots.set(slot.candidate.name, slot);
    this.#decide();
    this.#rearm();
    for (const slot of added) this.#begin(slot);
  }

  /** Ends all probing and all connections. Idempotent. */
  async close(): Promise<void> {
    this.#state = 'closed';
    this.#cancelCalm?.();
    this.#cancelRound?.();
    for (const slot of this.#slots.values()) this.#closeSlot(slot);
    this.#slots.clear();
    this.#endFirstRound();
    await Promise.all(this.#closing);
  }

  #openSlot(candidate: Candidate): Slot {
    const open: ProberFactory = this.#options.openProber ?? ((options) => new Prober(options));
    const slot: Slot = {
      candidate,
      prober: open({
        candidate,
        settings: () => this.#probe,
        timers: this.#timers,
        onBroken: ({ message }) => this.#broke(slot, message),
      }),
      running: false,
      again: false,
      begunAt: -Infinity,
      endedAt: -Infinity,
      brokeAt: -Infinity,
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

  #isPrimary(slot: Slot): boolean {
    return this.#verdict?.kind === 'primary' && this.#verdict.primary.candidate.name === slot.candidate.name;
  }

  /** The connection of an idle prober is gone: news about the server, and possibly about the cluster. */
  #broke(slot: Slot, detail: string): void {
    if (!this.#isCurrent(slot)) return;
    const { name } = slot.candidate;
    this.#options.logger.debug('probe connection broke', { candidate: name, detail });
    if (this.#isPrimary(slot)) {
      this.triggerRound(`the probe connection to ${name} broke`);
      return;
    }
    const now = this.#timers.now();
    if (now - slot.brokeAt < BREAKS_APART_MS) return;
    slot.brokeAt = now;
    this.#requestRound(`the probe connection to ${name} broke`);
  }

  #requestRound(why: string): void {
    this.#newsAt = this.#timers.now();
    if (this.#cancelRound !== undefined) return;
    const waitMs = this.#lastRoundAt + FAST_PAUSE_MS - this.#newsAt;
    this.#options.logger.debug('probe round', { why });
    if (waitMs <= 0) {
      this.#beginRound(this.#newsAt);
      return;
    }
    this.#cancelRound = this.#timers.after(waitMs, () => this.#beginRound(this.#newsAt));
  }

  /** Probes everybody who has not been asked since `newsAt`. */
  #beginRound(newsAt: number): void {
    this.#cancelRound?.();
    this.#cancelRound = undefined;
    this.#lastRoundAt = this.#timers.now();
    for (const slot of [...this.#slots.values()]) {
      if (slot.begunAt < newsAt) this.#begin(slot);
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
    this.#observations.set(slot.candidate.name, seen);
    this.#log.observed(seen);
    this.#options.onObservation?.(seen);
    const begunAt = seen.at - seen.tookMs;
    if (this.#suspectSince !== undefined && this.#isPrimary(slot) && begunAt >= this.#suspectSince) {
      this.#suspectSince = undefined;
    }
    this.#decide();
    this.#chooseCadence();
    this.#tellSuspicion();
    if (!this.#isCurrent(slot)) return; // a callback has reconfigured or closed
    if (slot.again) {
      slot.again = false;
      this.#begin(slot);
    } else {
      this.#armSearch(slot);
    }
  }

  #decide(): void {
    const decision = elect({ candidates: this.#candidates, observations: this.#observations, memory: this.#memory });
    const isNews = !isDeepStrictEqual(decision.memory, this.#memory);
    this.#memory = decision.memory;
    // Before the route is given out: what was routed to must never be forgotten.
    if (isNews) this.#store.save(this.#memory);
    const previous = this.#verdict;
    const verdict = settled(decision.verdict, previous);
    // A gateway that remembers a primary may hear the others before it.
    const roundIsOver = this.#candidates.every(({ name }) => this.#observations.has(name));
    if (previous === undefined && verdict.kind === 'none' && !roundIsOver) return;
    if (previous !== undefined && isDeepStrictEqual(essence(previous), essence(verdict))) return;
    this.#verdict = verdict;
    // It was the one before that came under suspicion.
    if (verdict.kind === 'primary' && verdict.epoch !== epochOf(previous)) this.#suspectSince = undefined;
    // Nothing was suspected before it was proven: an orderly switchover, or a probe that failed.
    const cause = verdict.kind === 'none' ? verdict.detail : verdict.reason;
    const doubt = (this.#doubt ??= { since: this.#timers.now(), cause });
    this.#chooseCadence();
    this.#options.onVerdict(verdict, previous, doubt);
    this.#tellSuspicion();
    this.#endFirstRound();
  }

  #tellSuspicion(): void {
    const suspected = this.#suspectSince !== undefined;
    if (this.#state !== 'running' || suspected === this.#toldSuspicion) return;
    this.#toldSuspicion = suspected;
    this.#options.onSuspicion?.(suspected);
  }

  #chooseCadence(): void {
    if (this.#verdict?.kind !== 'primary') this.#suspectSince = undefined;
    const searches = this.#verdict?.kind !== 'primary' || this.#suspectSince !== undefined;
    if (!searches) this.#doubt = undefined;
    if (searches === (this.#searchSince !== undefined)) return;
    this.#searchSince = searches ? this.#timers.now() : undefined;
    this.#rearm();
  }

  #rearm(): void {
    for (const slot of this.#slots.values()) {
      slot.cancelWake?.();
      slot.cancelWake = undefined;
      if (!slot.running) this.#armSearch(slot);
    }
    this.#rearmCalm();
  }

  #rearmCalm(): void {
    this.#cancelCalm?.();
    this.#cancelCalm = undefined;
    if (this.#state !== 'running' || this.#searchSince !== undefined) return;
    this.#cancelCalm = this.#timers.after(this.#probe.checkEveryMs, () => this.#beginRound(this.#timers.now()));
  }

  #armSearch(slot: Slot): void {
    if (this.#searchSince === undefined || slot.cancelWake !== undefined) return;
    const now = this.#timers.now();
    const seen = this.#observations.get(slot.candidate.name);
    const pauseMs = searchPauseMs(now - this.#searchSince, this.#probe.checkEveryMs, seen);
    const waitMs = Math.max(0, slot.endedAt + pauseMs - now);
    slot.cancelWake = this.#timers.after(waitMs, () => this.#begin(slot));
  }
}

/** All that a connection depends on: the rest may change under it. */
function loginOf(probe: ProbeConfig): unknown {
  const { user, password, passfile, database, tls } = probe;
  return { user, password, passfile, database, tls };
}

function epochOf(verdict: Verdict | undefined): number | undefined {
  return verdict?.kind === 'primary' ? verdict.epoch : undefined;
}

/** A primary that goes on being one keeps the reason for which it was elected. */
function settled(verdict: Verdict, previous: Verdict | undefined): Verdict {
  if (verdict.kind !== 'primary' || previous?.kind !== 'primary' || verdict.epoch !== previous.epoch) return verdict;
  return { ...verdict, reason: previous.reason };
}

/** What makes a verdict another one. Details are not part of it: they change with every probe. */
function essence(verdict: Verdict): unknown {
  const fenced = verdict.fenced.map(({ candidate, reason }) => [candidate.name, reason]);
  const route = verdict.kind === 'primary' ? verdict.epoch : verdict.reason;
  return { kind: verdict.kind, route, fenced, cut: verdict.cut };
}
