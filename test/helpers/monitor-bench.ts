// SPDX-License-Identifier: MIT
// A monitor whose probers and time are in the test's hands.

import type { ProbeConfig } from '#src/config.js';
import { createLogger } from '#src/log.js';
import { memoryOf, ProcessMemoryStore } from '#src/memory.js';
import type { RememberedCluster } from '#src/memory.js';
import { Monitor } from '#src/monitor.js';
import type { Observation } from '#src/probe/observation.js';
import type { CandidateProber, ProberOptions } from '#src/probe/prober.js';
import type { Lookup } from '#src/probe/resolver.js';
import type { Verdict } from '#src/election.js';
import { FakeTimers } from './fake-timers.js';
import { candidate, labelOf, primary, standby } from './observations.js';
import { assert } from './suite.js';

export const PROBE: ProbeConfig = {
  user: 'probe',
  password: undefined,
  passfile: undefined,
  database: 'postgres',
  connectTimeoutMs: 800,
  queryTimeoutMs: 500,
  checkEveryMs: 2000,
  tls: { mode: 'disable' },
};

/** Answers when the test says so, or at once with what the test has set. */
export class FakeProber implements CandidateProber {
  readonly options: ProberOptions;
  readonly #timers: FakeTimers;
  /** When each probe began. */
  readonly begun: number[] = [];
  /** The answer to every probe from now on; undefined: the test answers each. */
  always: Observation | undefined;
  closed = false;
  #pending: ((seen: Observation) => void) | undefined;

  constructor(options: ProberOptions, timers: FakeTimers) {
    this.options = options;
    this.#timers = timers;
  }

  get running(): boolean {
    return this.#pending !== undefined;
  }

  probe(): Promise<Observation> {
    assert.not.ok(this.running, 'two probes of one candidate at a time');
    this.begun.push(this.#timers.now());
    if (this.always !== undefined) return Promise.resolve(this.#now(this.always));
    return new Promise((resolve) => {
      this.#pending = resolve;
    });
  }

  answer(seen: Observation): void {
    const pending = this.#pending;
    if (pending === undefined) throw new Error('no probe is under way');
    this.#pending = undefined;
    pending(this.#now(seen));
  }

  close(): Promise<void> {
    this.closed = true;
    return Promise.resolve();
  }

  #now(seen: Observation): Observation {
    const at = this.#timers.now();
    return { ...seen, at, tookMs: at - (this.begun.at(-1) ?? at) };
  }
}

export interface Bench {
  readonly monitor: Monitor;
  readonly timers: FakeTimers;
  readonly store: ProcessMemoryStore;
  readonly verdicts: string[];
  /** Of each verdict: `time of the verdict - since: cause`. */
  readonly doubts: string[];
  readonly suspicions: boolean[];
  /** Who is watched, each time that it changes. */
  readonly watched: string[];
  readonly lines: string[];
  readonly last: () => Verdict | undefined;
  /** The last one of `a`, or of `n/a`. */
  readonly prober: (label: string) => FakeProber;
  /** Lets time pass in small steps, with all that follows from it. */
  readonly pass: (ms: number) => Promise<void>;
  /** Lets what was answered take effect. */
  readonly settle: () => Promise<void>;
}

interface BenchOptions {
  readonly remembered?: RememberedCluster;
  readonly checkEveryMs?: number;
  /** Default: no jitter. */
  readonly random?: () => number;
  /** Default: none ends. */
  readonly lookup?: Lookup;
}

export function bench(
  hosts: readonly string[],
  {
    remembered,
    checkEveryMs = 2000,
    random = () => 0.5,
    lookup = () => new Promise(() => undefined),
  }: BenchOptions = {},
): Bench {
  const timers = new FakeTimers();
  const store = new ProcessMemoryStore();
  if (remembered !== undefined) store.save(memoryOf(remembered));
  const probers = new Map<string, FakeProber>();
  const verdicts: string[] = [];
  const doubts: string[] = [];
  const suspicions: boolean[] = [];
  const watched: string[] = [];
  const lines: string[] = [];
  let last: Verdict | undefined;
  const monitor = new Monitor({
    candidates: hosts.map(candidate),
    probe: { ...PROBE, checkEveryMs },
    logger: createLogger({ level: 'info', write: (line) => lines.push(line), journal: true }),
    timers,
    random,
    lookup,
    store,
    openProber: (options) => {
      const prober = new FakeProber(options, timers);
      probers.set(labelOf(options.candidate), prober);
      return prober;
    },
    onCandidates: (candidates) => watched.push(candidates.map(labelOf).join(' ')),
    onSuspicion: (suspected) => suspicions.push(suspected),
    onVerdict: (verdict, previous, { since, cause }) => {
      doubts.push(`${String(timers.now() - since)} ms: ${cause}`);
      assert.is(previous, last);
      last = verdict;
      const route = verdict.kind === 'primary' ? `${labelOf(verdict.primary.candidate)}#${String(verdict.epoch)} ` : '';
      verdicts.push(`${route}${verdict.reason}`);
    },
  });
  const settle = async (): Promise<void> => {
    for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
  };
  return {
    monitor,
    timers,
    store,
    verdicts,
    doubts,
    suspicions,
    watched,
    lines,
    last: () => last,
    prober: (label) => {
      const prober = probers.get(label);
      if (prober === undefined) throw new Error(`no prober for ${label}`);
      return prober;
    },
    pass: async (ms) => {
      for (let passed = 0; passed < ms; passed += 1) {
        timers.advance(1);
        await settle();
      }
    },
    settle,
  };
}

/** A bench on which a is the primary on timeline 1, the others are standbys, and all is calm. */
export async function calmBench(
  hosts: readonly string[] = ['a', 'b', 'c'],
  checkEveryMs = 2000,
  random?: () => number,
): Promise<Bench> {
  const calm = bench(hosts, { checkEveryMs, ...(random === undefined ? {} : { random }) });
  calm.monitor.start();
  for (const host of hosts) {
    calm.prober(host).always = host === 'a' ? primary(host, 1) : standby(host, 1);
    calm.prober(host).answer(host === 'a' ? primary(host, 1) : standby(host, 1));
  }
  await calm.settle();
  assert.equal(calm.verdicts, ['a#1 first-primary']);
  return calm;
}

export async function isResolved(promise: Promise<void>): Promise<boolean> {
  let resolved = false;
  void promise.then(() => {
    resolved = true;
  });
  for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
  return resolved;
}

/** How many probes began in the time that `during` takes. */
export async function probesIn(prober: FakeProber, during: () => Promise<void>): Promise<number> {
  const before = prober.begun.length;
  await during();
  return prober.begun.length - before;
}
