// SPDX-License-Identifier: MIT
// What the metrics are made from, without prom-client: roles, differences of
// snapshots, and histograms that were counted elsewhere. Pure.

import type { Candidate } from './candidates.js';
import {
  CONNECT_BUCKETS_SECONDS,
  type ConnectFailureReason,
  type DurationCounts,
  type ServerStats,
} from './dataplane-stats.js';
import type { Verdict } from './election.js';
import type { Observation, ProbeFailureReason } from './probe/observation.js';

/** Label values of pg_gateway_server_role; keep them stable. */
export const ROLES = ['primary', 'standby', 'writable', 'read_only', 'fenced', 'unknown'] as const;
export type Role = (typeof ROLES)[number];

/** One candidate as it is now. */
export interface CandidateView {
  /** `Candidate.name`, the label `server`. */
  readonly name: string;
  /** Its slot in the data plane: `Route.server`, `ServerStats.server`. */
  readonly server: number;
  /** Its last probe; undefined before the first one has ended. */
  readonly observation: Observation | undefined;
  /** It is the proven primary. */
  readonly primary: boolean;
  /** It must not get traffic, whatever it says of itself. */
  readonly fenced: boolean;
}

/** Every reason of a failed probe: a Record, so that the compiler misses none. */
const PROBE_FAILURES: Readonly<Record<ProbeFailureReason, true>> = {
  dns: true,
  refused: true,
  unreachable: true,
  connect_timeout: true,
  query_timeout: true,
  broken: true,
  tls: true,
  auth: true,
  starting: true,
  shutdown: true,
  too_many: true,
  protocol: true,
  error: true,
};
export const PROBE_FAILURE_REASONS: readonly string[] = Object.keys(PROBE_FAILURES);

/** It answered its last probe, whatever it said. */
/** @param slotOf the slot of a candidate in the data plane */
export function viewsOf(
  candidates: readonly Candidate[],
  observations: ReadonlyMap<string, Observation>,
  verdict: Verdict | undefined,
  slotOf: (name: string) => number,
): readonly CandidateView[] {
  const primary = verdict?.kind === 'primary' ? verdict.primary.candidate.name : undefined;
  const fenced = new Set(verdict?.fenced.map(({ candidate }) => candidate.name));
  return candidates.map(({ name }) => ({
    name,
    server: slotOf(name),
    observation: observations.get(name),
    primary: name === primary,
    fenced: fenced.has(name),
  }));
}

export function isUp(view: CandidateView): boolean {
  return view.observation?.kind === 'answered';
}

/**
 * What the gateway holds a candidate for. Fenced is its own decision, so it comes before what the server says; and so is
 * which of the writable ones is the primary.
 */
export function roleOf(view: CandidateView): Role {
  if (view.fenced) return 'fenced';
  if (view.observation?.kind !== 'answered') return 'unknown';
  const { inRecovery, readOnly } = view.observation.state;
  if (inRecovery) return 'standby';
  if (readOnly) return 'read_only';
  return view.primary ? 'primary' : 'writable';
}

/** Counters of one slot, without what `since` had counted already. */
export interface ConnectCounts {
  readonly sessions: number;
  readonly failures: Readonly<Record<ConnectFailureReason, bigint>>;
  /** As `DurationCounts.buckets`: not cumulative, the last one is +Inf. */
  readonly buckets: readonly bigint[];
  /** Seconds. */
  readonly sum: number;
}

export function connectCounts(now: ServerStats | undefined, since: ServerStats | undefined): ConnectCounts {
  const failures = (reason: ConnectFailureReason): bigint =>
    (now?.connectFailures[reason] ?? 0n) - (since?.connectFailures[reason] ?? 0n);
  const bucket = (index: number): bigint =>
    (now?.connectSeconds.buckets[index] ?? 0n) - (since?.connectSeconds.buckets[index] ?? 0n);
  return {
    sessions: now?.sessions ?? 0,
    failures: {
      refused: failures('refused'),
      timeout: failures('timeout'),
      unreachable: failures('unreachable'),
      other: failures('other'),
    },
    buckets: Array.from({ length: CONNECT_BUCKETS_SECONDS.length + 1 }, (_, index) => bucket(index)),
    sum: Math.max(0, (now?.connectSeconds.sum ?? 0) - (since?.connectSeconds.sum ?? 0)),
  };
}

/** One line of the exposition; without `metricName` it has the name of its metric. */
export interface Sample {
  readonly metricName?: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/**
 * The lines of one histogram series in the form Prometheus wants: cumulative buckets with their upper bound, +Inf last,
 * then sum and count. "Exposition formats" in the Prometheus manual.
 */
export function histogramSamples(
  name: string,
  labels: Readonly<Record<string, string>>,
  bounds: readonly number[],
  counts: DurationCounts,
): Sample[] {
  let cumulative = 0n;
  const samples = counts.buckets.map((count, index) => {
    cumulative += count;
    const bound = bounds[index];
    const le = bound === undefined ? '+Inf' : bound.toString();
    return { metricName: `${name}_bucket`, labels: { ...labels, le }, value: Number(cumulative) };
  });
  return [
    ...samples,
    { metricName: `${name}_sum`, labels, value: counts.sum },
    { metricName: `${name}_count`, labels, value: Number(cumulative) },
  ];
}

/**
 * A metric whose samples are computed when they are read, for what prom-client's own classes cannot hold: histograms
 * counted elsewhere, and the type `untyped`. It has what prom-client's Registry asks of a metric (15.1, lib/registry.js):
 * `name`, `get()` and `reset()`.
 */
export class ComputedMetric {
  readonly name: string;
  readonly #help: string;
  readonly #type: 'histogram' | 'untyped';
  readonly #samples: () => readonly Sample[];

  constructor(name: string, help: string, type: 'histogram' | 'untyped', samples: () => readonly Sample[]) {
    this.name = name;
    this.#help = help;
    this.#type = type;
    this.#samples = samples;
  }

  get(): Promise<object> {
    const values = this.#samples();
    return Promise.resolve({ name: this.name, help: this.#help, type: this.#type, values, aggregator: 'sum' });
  }

  reset(): void {
    // There is nothing here to set back: the counts are kept by their source.
  }
}
