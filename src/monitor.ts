// SPDX-License-Identifier: MIT
// Watches the candidates: has them probed (rounds.ts), has the election decide on
// every observation, and tells what has changed.
//
// It is calm while a primary is proven and nothing speaks against it. From the first
// doubt on it searches, until a primary has answered.
//
// Invariant: after close() nothing is called back.

import { isDeepStrictEqual } from 'node:util';

import { CandidateLog } from './candidate-log.js';
import { configuredName } from './candidates.js';
import type { Candidate } from './candidates.js';
import type { ProbeConfig } from './config.js';
import { elect } from './election.js';
import type { Verdict } from './election.js';
import type { Logger } from './log.js';
import { ProcessMemoryStore } from './memory.js';
import type { Memory, MemoryStore } from './memory.js';
import { Names } from './names.js';
import { isAmong } from './probe/dial.js';
import type { Observation } from './probe/observation.js';
import { Prober } from './probe/prober.js';
import type { CandidateProber, ProberOptions } from './probe/prober.js';
import type { Lookup } from './probe/resolver.js';
import { Rounds } from './rounds.js';
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
  /** Others are watched from now on, before anything is probed or decided of them. See `Monitor.candidates`. */
  readonly onCandidates?: (candidates: readonly Candidate[]) => void;
  /** Each probe's, before it is decided on. */
  readonly onObservation?: (observation: Observation) => void;
  /** Default: the memory of this process. */
  readonly store?: MemoryStore;
  readonly timers?: Timers;
  /** Default: over SQL. */
  readonly openProber?: ProberFactory;
  /** Of names. Default: the system's. */
  readonly lookup?: Lookup;
  /** Default: Math.random. */
  readonly random?: () => number;
}

/** Why the primary is looked for. */
export interface Doubt {
  /** When it was first suspected that it might be another one, or none: the time of the monitor's timers. */
  readonly since: number;
  /** One line for the log. */
  readonly cause: string;
}

/** What a first round may take beside its probes. */
const ROUND_SLACK_MS = 5000;

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
  readonly #names: Names;
  readonly #rounds: Rounds;
  readonly #observations = new Map<string, Observation>();
  #endFirstRound: () => void = () => undefined;
  #configured: readonly Candidate[];
  /** Of the configured ones, each address of a name that has several. */
  #candidates: readonly Candidate[];
  #probe: ProbeConfig;
  #memory: Memory;
  #verdict: Verdict | undefined;
  /** Undefined: calm, and nothing speaks against the primary. */
  #doubt: Doubt | undefined;
  /** When the proven primary came under suspicion, and no probe begun since then has ended. */
  #suspectSince: number | undefined;
  /** What `onSuspicion` was told last. */
  #toldSuspicion = false;
  #state: 'new' | 'running' | 'closed' = 'new';

  /** @throws what the store throws where its memory cannot be trusted */
  constructor(options: MonitorOptions) {
    this.#options = options;
    this.#timers = options.timers ?? systemTimers;
    this.#store = options.store ?? new ProcessMemoryStore();
    this.#log = new CandidateLog(options.logger, this.#timers);
    this.#configured = options.candidates;
    this.#candidates = options.candidates;
    this.#probe = options.probe;
    this.#memory = this.#store.load();
    this.#names = this.#newNames();
    this.#rounds = this.#newRounds();
    this.firstRound = new Promise((resolve) => {
      this.#endFirstRound = resolve;
    });
  }

  /** Begins to probe. Idempotent. */
  start(): void {
    if (this.#state !== 'new') return;
    this.#state = 'running';
    this.#doubt = { since: this.#timers.now(), cause: 'start' };
    this.#rounds.search(true);
    this.#rounds.watch(this.#candidates);
    this.#rounds.request('start');
  }

  /** Who is watched: the configured ones, and of a name that has several addresses each of them in its place. */
  candidates(): readonly Candidate[] {
    return this.#candidates;
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
    this.#rounds.request(why);
  }

  /**
   * Other candidates, other settings. Kept candidates keep their connections, unless the log-in changed; what was seen
   * of them counts until they are seen again. Added ones are probed at once.
   */
  reconfigure(candidates: readonly Candidate[], probe: ProbeConfig): void {
    const sameLogin = isDeepStrictEqual(loginOf(this.#probe), loginOf(probe));
    this.#configured = candidates;
    this.#probe = probe;
    if (this.#state === 'running') this.#watch(this.#names.candidates(candidates), !sameLogin);
  }

  /** Ends all probing and all connections. Idempotent. */
  async close(): Promise<void> {
    this.#state = 'closed';
    this.#names.close();
    const closed = this.#rounds.close();
    this.#endFirstRound();
    await closed;
  }

  #newNames(): Names {
    const { logger, lookup } = this.#options;
    const onFound = (): void => {
      if (this.#state !== 'running') return;
      const candidates = this.#names.candidates(this.#configured);
      if (!isDeepStrictEqual(candidates, this.#candidates)) this.#watch(candidates);
    };
    return new Names({ onFound, logger, timers: this.#timers, ...(lookup === undefined ? {} : { lookup }) });
  }

  #newRounds(): Rounds {
    const { logger, random = Math.random } = this.#options;
    const openProber: ProberFactory = this.#options.openProber ?? ((options) => new Prober(options));
    const timers = this.#timers;
    const settings = (): ProbeConfig => this.#probe;
    return new Rounds({
      openProber: (candidate, onBroken) =>
        openProber({ candidate, resolver: this.#names.resolver(candidate.host), settings, timers, onBroken }),
      checkEveryMs: () => this.#probe.checkEveryMs,
      onSeen: (seen) => this.#saw(seen),
      onBroken: (candidate, why) => {
        if (!this.#isPrimary(candidate)) return false;
        this.triggerRound(why);
        return true;
      },
      logger,
      timers,
      random,
    });
  }

  /** These are the candidates from now on. The new ones are probed at once. */
  #watch(candidates: readonly Candidate[], anew = false): void {
    this.#candidates = candidates;
    this.#options.onCandidates?.(candidates);
    this.#renameObservations();
    this.#log.retain(new Set(candidates.map(({ name }) => name)));
    this.#rounds.watch(candidates, anew);
    this.#decide();
    this.#rounds.rearm();
    this.#rounds.probeNew();
  }

  /**
   * A name has got more addresses than one, or is left with one. What was seen at an address it has still goes by the new
   * name of that, so that nothing comes into doubt which was not. But what was said before a doubt must not end it.
   */
  #renameObservations(): void {
    const before = [...this.#observations.values()];
    this.#observations.clear();
    for (const candidate of this.#candidates) {
      const { address, host, name } = candidate;
      const addresses = address === undefined ? (this.#names.resolver(host).known ?? []) : [address];
      const seen =
        before.find((one) => one.candidate.name === name) ??
        before.find(
          (one) =>
            this.#doubt === undefined &&
            one.kind === 'answered' &&
            configuredName(one.candidate) === configuredName(candidate) &&
            isAmong(addresses, one.address),
        );
      if (seen !== undefined) this.#observations.set(name, { ...seen, candidate });
    }
  }

  #isPrimary({ name }: Candidate): boolean {
    return this.#verdict?.kind === 'primary' && this.#verdict.primary.candidate.name === name;
  }

  #saw(seen: Observation): void {
    const { candidate, at, tookMs } = seen;
    this.#observations.set(candidate.name, seen);
    this.#log.observed(seen);
    this.#options.onObservation?.(seen);
    if (this.#suspectSince !== undefined && this.#isPrimary(candidate) && at - tookMs >= this.#suspectSince) {
      this.#suspectSince = undefined;
    }
    this.#decide();
    this.#chooseCadence();
    this.#tellSuspicion();
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
    this.#rounds.search(searches);
  }
}

/** Milliseconds in which the first round ends: a log-in, and a question that has to be asked twice (prober.ts). */
export function firstRoundWithinMs({ connectTimeoutMs, queryTimeoutMs }: ProbeConfig): number {
  return connectTimeoutMs + 2 * queryTimeoutMs + ROUND_SLACK_MS;
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
