// SPDX-License-Identifier: MIT
// The metrics of the gateway, as Prometheus reads them. The only importer of
// prom-client. Owns one registry; nothing is in prom-client's global one.
//
// Two ways in: what happens is told by calls (observation, verdict, reloaded);
// what is the case is read from the sources when someone scrapes. So an idle
// gateway does nothing for its metrics.
//
// Counters of the data plane are absolute and exact; they are rendered as the
// nearest double, which is what Prometheus stores: exact up to 2^53 (8 PiB).

import { performance } from 'node:perf_hooks';
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry, type Metric } from 'prom-client';
import type { StateView } from './cluster-memory.js';
import {
  CONNECT_BUCKETS_SECONDS,
  CONNECT_FAILURE_REASONS,
  CUT_REASONS,
  END_REASONS,
  HOLD_BUCKETS_SECONDS,
  REJECT_REASONS,
  type DataPlaneStats,
  type DurationCounts,
  type ServerStats,
} from './dataplane-stats.js';
import {
  ComputedMetric,
  connectCounts,
  histogramSamples,
  isUp,
  PROBE_FAILURE_REASONS,
  roleOf,
  ROLES,
  type CandidateView,
  type ConnectCounts,
} from './metrics-samples.js';
import type { Recovery } from './dataplane.js';
import { FENCE_REASONS, type FenceReason } from './election.js';
import type { Observation } from './probe/observation.js';

export type { CandidateView } from './metrics-samples.js';

/** Where the metrics look when they are scraped; cheap and without side effects. */
export interface MetricsSources {
  readonly stats: () => DataPlaneStats;
  /** The candidates now, in any order; their slots are all different. */
  readonly candidates: () => readonly CandidateView[];
  /** The epoch of the current route, 0 before the first. */
  readonly epoch: () => number;
  /** How many clients there may be. */
  readonly maxConnections: () => number;
  /** What is remembered of the cluster, on disk. */
  readonly state: () => StateView;
  /** The configuration that was found last was rejected, and an earlier one goes on. */
  readonly configRejected: () => boolean;
  /** New clients wait because an administrator wants it. */
  readonly holding: () => boolean;
  /** No new clients are accepted, and sessions are waited for. */
  readonly draining: () => boolean;
  /** Of the product. */
  readonly version: string;
  /** Monotonic clock, milliseconds. */
  readonly now?: () => number;
}

/** What the metrics need of an election's verdict. */
export interface PrimaryView {
  readonly kind: 'primary' | 'none';
  readonly fenced: readonly { readonly reason: FenceReason }[];
}

/** What the metrics need of what a verdict has brought about. */
export interface OutcomeView {
  /** Milliseconds; undefined: no doubt was ended. */
  readonly decidedInMs?: number | undefined;
  /** Undefined: there was none. */
  readonly failover?: object | undefined;
}

/** What the metrics need of the data plane's recovery. */
export type RecoveryView = Pick<Recovery, 'recovered' | 'notWhole' | 'missing' | 'givenUp' | 'ms'>;

export type ReloadResult = 'ok' | 'rejected';

/** From a switchover that is seen at once to an outage of a minute. */
const DECISION_BUCKETS_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

const RELOAD_RESULTS: readonly ReloadResult[] = ['ok', 'rejected'];

/** One candidate with the counters of its slot. */
type Server = CandidateView & { readonly connect: ConnectCounts };

export class Metrics {
  readonly #registry = new Registry();
  readonly #metrics = declareMetrics(this.#registry);
  readonly #sources: MetricsSources;
  readonly #now: () => number;
  /** Candidates that have series. */
  readonly #known = new Set<string>();
  /** Who has a slot, and what the slot had counted for others before. */
  readonly #slots = new Map<number, { readonly name: string; readonly since: ServerStats | undefined }>();
  #servers: readonly Server[] = [];
  #holdSeconds: DurationCounts = { buckets: HOLD_BUCKETS_SECONDS.map(() => 0n), sum: 0 };
  /** When the running outage began; undefined while there is a primary. */
  #withoutPrimarySince: number | undefined;
  #withoutPrimaryMs = 0;

  constructor(sources: MetricsSources) {
    this.#sources = sources;
    this.#now = sources.now ?? (() => performance.now());
    this.#withoutPrimarySince = this.#now();
    this.#metrics.buildInfo.set({ version: sources.version, node: process.versions.node }, 1);
    for (const reason of FENCE_REASONS) this.#metrics.serversFenced.set({ reason }, 0);
    for (const result of RELOAD_RESULTS) this.#metrics.reloads.inc({ result }, 0);
    this.#declareComputed();
    collectProcessMetrics(this.#registry);
  }

  /** Of what render() gives. */
  get contentType(): string {
    return this.#registry.contentType;
  }

  /** A probe has ended. One of a candidate that is no more is left out. */
  observation(observation: Observation): void {
    const server = observation.candidate.name;
    if (!this.#known.has(server)) this.#takeCandidates(this.#sources.candidates(), this.#sources.stats());
    if (!this.#known.has(server)) return;
    this.#metrics.probeSeconds.observe({ server }, observation.tookMs / 1000);
    if (observation.kind === 'failed') this.#metrics.probeFailures.inc({ server, reason: observation.reason });
  }

  /** The verdict has changed. */
  verdict(verdict: PrimaryView, { decidedInMs, failover }: OutcomeView): void {
    if (decidedInMs !== undefined) this.#metrics.decisionSeconds.observe(decidedInMs / 1000);
    if (failover !== undefined) this.#metrics.failovers.inc();
    for (const reason of FENCE_REASONS) {
      const count = verdict.fenced.filter((fenced) => fenced.reason === reason).length;
      this.#metrics.serversFenced.set({ reason }, count);
      if (reason === 'rival') this.#metrics.splitBrain.set(count > 0 ? 1 : 0);
    }
    if (verdict.kind === 'none') {
      this.#withoutPrimarySince ??= this.#now();
      return;
    }
    this.#withoutPrimaryMs += this.#runningOutageMs();
    this.#withoutPrimarySince = undefined;
  }

  /** What became of the sessions of an earlier process; once. */
  recovery({ recovered, notWhole, missing, givenUp, ms }: RecoveryView): void {
    this.#metrics.sessionsRecovered.inc(recovered);
    this.#metrics.recoveryLost.inc({ reason: 'not_whole' }, notWhole);
    this.#metrics.recoveryLost.inc({ reason: 'missing' }, missing);
    this.#metrics.recoveryLost.inc({ reason: 'given_up' }, givenUp?.sessions ?? 0);
    this.#metrics.recoverySeconds.set(ms / 1000);
  }

  reloaded(result: ReloadResult): void {
    this.#metrics.reloads.inc({ result });
  }

  /** The exposition. Rejects only by a fault of a source. */
  async render(): Promise<string> {
    const stats = this.#sources.stats();
    const views = this.#sources.candidates();
    this.#takeCandidates(views, stats);
    const bySlot = new Map(stats.servers.map((server) => [server.server, server]));
    this.#servers = views.map((view) => {
      const since = this.#slots.get(view.server)?.since;
      return { ...view, connect: connectCounts(bySlot.get(view.server), since) };
    });
    this.#updateTotals(stats);
    this.#updateServers();
    this.#updateWorkers(stats);
    // All samples are read before the first await in there, so renders that overlap do not mix.
    return this.#registry.metrics();
  }

  #runningOutageMs(): number {
    return this.#withoutPrimarySince === undefined ? 0 : this.#now() - this.#withoutPrimarySince;
  }

  /** Makes the series of candidates that came, and drops those of candidates that went. */
  #takeCandidates(views: readonly CandidateView[], stats: DataPlaneStats): void {
    const names = new Set(views.map(({ name }) => name));
    for (const server of this.#known) {
      if (names.has(server)) continue;
      this.#known.delete(server);
      this.#metrics.probeSeconds.remove({ server });
      for (const reason of PROBE_FAILURE_REASONS) this.#metrics.probeFailures.remove({ server, reason });
    }
    for (const { name, server: slot } of views) {
      if (!this.#known.has(name)) {
        this.#known.add(name);
        this.#metrics.probeSeconds.zero({ server: name });
        for (const reason of PROBE_FAILURE_REASONS) this.#metrics.probeFailures.inc({ server: name, reason }, 0);
      }
      const owner = this.#slots.get(slot);
      if (owner?.name === name) continue;
      // A slot that another candidate had goes on counting; the new one's series begin at 0.
      const since = owner === undefined ? undefined : stats.servers.find(({ server }) => server === slot);
      this.#slots.set(slot, { name, since });
    }
  }

  #updateTotals(stats: DataPlaneStats): void {
    const metrics = this.#metrics;
    const hasPrimary = this.#withoutPrimarySince === undefined;
    metrics.connectionsActive.set(stats.active);
    metrics.connectionsLimit.set(this.#sources.maxConnections());
    setCounter(metrics.connections, stats.accepted);
    metrics.clientsHeld.set(stats.held);
    metrics.clientsSilent.set(stats.silent);
    setCounter(metrics.clientsHeldEver, stats.heldEver);
    setCounter(metrics.holdTimeouts, stats.holdTimeouts);
    this.#holdSeconds = stats.holdSeconds;
    setCounter(metrics.bytesClientToBackend, stats.bytesClientToBackend);
    setCounter(metrics.bytesBackendToClient, stats.bytesBackendToClient);
    setCounter(metrics.acceptPauses, stats.acceptPauses);
    setCounter(metrics.acceptRateWaits, stats.rateWaits);
    setCounter(metrics.pipeWaits, stats.pipeWaits);
    metrics.sessionsKept.set(stats.kept.sessions);
    setCounter(metrics.keepFailures, stats.kept.failures);
    metrics.rejected.reset();
    for (const reason of REJECT_REASONS) metrics.rejected.inc({ reason }, Number(stats.rejected[reason]));
    metrics.cut.reset();
    for (const reason of CUT_REASONS) metrics.cut.inc({ reason }, Number(stats.cut[reason]));
    metrics.ended.reset();
    for (const reason of END_REASONS) metrics.ended.inc({ reason }, Number(stats.ended[reason]));
    metrics.epoch.set(this.#sources.epoch());
    metrics.hasPrimary.set(hasPrimary ? 1 : 0);
    const state = this.#sources.state();
    metrics.stateSaved.set(state.saved ? 1 : 0);
    metrics.stateWriteFailures.reset();
    metrics.stateWriteFailures.inc(state.writeFailures);
    metrics.configRejected.set(this.#sources.configRejected() ? 1 : 0);
    metrics.holding.set(this.#sources.holding() ? 1 : 0);
    metrics.draining.set(this.#sources.draining() ? 1 : 0);
    metrics.withoutPrimary.reset();
    metrics.withoutPrimary.inc((this.#withoutPrimaryMs + this.#runningOutageMs()) / 1000);
    metrics.withoutPrimaryNow.set(this.#runningOutageMs() / 1000);
    metrics.loopBusy.reset();
    metrics.loopBusy.inc(performance.eventLoopUtilization().active / 1000);
  }

  #updateServers(): void {
    const metrics = this.#metrics;
    const healthy = this.#servers.filter(isUp).length;
    metrics.serversHealthy.set(healthy);
    metrics.serversUnhealthy.set(this.#servers.length - healthy);
    metrics.serverUp.reset();
    metrics.serverRole.reset();
    metrics.serverTimeline.reset();
    metrics.serverSessions.reset();
    metrics.connectFailures.reset();
    for (const view of this.#servers) {
      const server = view.name;
      const isRole = roleOf(view);
      metrics.serverUp.set({ server }, isUp(view) ? 1 : 0);
      for (const role of ROLES) metrics.serverRole.set({ server, role }, role === isRole ? 1 : 0);
      // An old answer is no knowledge: no timeline rather than a stale one.
      if (view.observation?.kind === 'answered')
        metrics.serverTimeline.set({ server }, view.observation.state.timeline);
      metrics.serverSessions.set({ server }, view.connect.sessions);
      for (const reason of CONNECT_FAILURE_REASONS) {
        metrics.connectFailures.inc({ server, reason }, Number(view.connect.failures[reason]));
      }
    }
  }

  #updateWorkers(stats: DataPlaneStats): void {
    this.#metrics.workerSessions.reset();
    this.#metrics.workerLag.reset();
    for (const [index, { sessions, loopLagMs }] of stats.workers.entries()) {
      const worker = index.toString();
      this.#metrics.workerSessions.set({ worker }, sessions);
      this.#metrics.workerLag.set({ worker }, loopLagMs / 1000);
    }
  }

  #declareComputed(): void {
    const connect = 'pg_gateway_backend_connect_duration_seconds';
    const hold = 'pg_gateway_client_hold_duration_seconds';
    const computed = [
      // The original's name for what is a gauge. Prometheus's naming rules keep _total for counters, so it has no type.
      new ComputedMetric(
        'pg_gateway_servers_total',
        'Candidates, of a name with several addresses each of them.',
        'untyped',
        () => [{ labels: {}, value: this.#servers.length }],
      ),
      new ComputedMetric(connect, 'How long connecting to a server took, for clients.', 'histogram', () =>
        this.#servers.flatMap((view) =>
          histogramSamples(connect, { server: view.name }, CONNECT_BUCKETS_SECONDS, view.connect),
        ),
      ),
      new ComputedMetric(hold, 'How long clients waited that got a server then.', 'histogram', () =>
        histogramSamples(hold, {}, HOLD_BUCKETS_SECONDS, this.#holdSeconds),
      ),
    ];
    for (const metric of computed) {
      // The Registry's type only knows prom-client's own four classes; what it calls is what ComputedMetric has.
      this.#registry.registerMetric(metric as unknown as Metric);
    }
  }
}

/** The counters are absolute where they come from: prom-client's is set back and filled up to the same value. */
function setCounter(counter: Counter, value: bigint): void {
  counter.reset();
  counter.inc(Number(value));
}

function declareMetrics(registry: Registry) {
  const registers = [registry];
  const gauge = <L extends string = never>(name: string, help: string, ...labelNames: L[]): Gauge<L> =>
    new Gauge({ name: `pg_gateway_${name}`, help, labelNames, registers });
  const counter = <L extends string = never>(name: string, help: string, ...labelNames: L[]): Counter<L> =>
    new Counter({ name: `pg_gateway_${name}`, help, labelNames, registers });
  return {
    buildInfo: gauge('build_info', 'What is running; always 1.', 'version', 'node'),
    connectionsActive: gauge('connections_active', 'Clients that have a server, or are being connected to one, now.'),
    connectionsLimit: gauge('connections_limit', 'How many clients there may be at once, those that wait too.'),
    connections: counter('connections_total', 'Client connections accepted.'),
    clientsHeld: gauge('clients_held', 'Clients that wait for a primary now.'),
    clientsSilent: gauge('clients_silent', 'Clients that have not sent their startup message yet.'),
    clientsHeldEver: counter('clients_held_total', 'Clients that had to wait for a primary.'),
    holdTimeouts: counter('client_hold_timeouts_total', 'Clients that waited for a primary in vain.'),
    bytesClientToBackend: counter('bytes_client_to_backend_total', 'Bytes moved from clients to servers.'),
    bytesBackendToClient: counter('bytes_backend_to_client_total', 'Bytes moved from servers to clients.'),
    rejected: counter('clients_rejected_total', 'Clients not served, by reason.', 'reason'),
    cut: counter('sessions_cut_total', 'Sessions ended by the gateway, by reason.', 'reason'),
    ended: counter('sessions_ended_total', 'Sessions that ended by themselves, by who ended first.', 'reason'),
    acceptPauses: counter('accept_pauses_total', 'Times accepting was paused for want of descriptors or memory.'),
    acceptRateWaits: counter('accept_rate_waits_total', 'Times accepting waited for MAX_CONNECTION_RATE.'),
    pipeWaits: counter(
      'pipe_waits_total',
      'Times a session found no pipe for want of descriptors or memory, and waited.',
    ),
    sessionsKept: gauge('sessions_kept', 'Sessions that would survive the end of this process now.'),
    keepFailures: counter('session_keep_failures_total', 'Sessions that could not be kept for the next process.'),
    sessionsRecovered: counter('sessions_recovered_total', 'Sessions of an earlier process that went on in this one.'),
    recoveryLost: counter(
      'recovery_lost_total',
      'Sessions of an earlier process that could not go on, by reason.',
      'reason',
    ),
    recoverySeconds: gauge('recovery_seconds', 'How long taking up the sessions of an earlier process took.'),
    serversHealthy: gauge('servers_healthy', 'Candidates that answered their last probe, whatever their role.'),
    serversUnhealthy: gauge('servers_unhealthy', 'Candidates that did not answer their last probe.'),
    serverUp: gauge('server_up', 'Whether the candidate answered its last probe.', 'server'),
    serverRole: gauge('server_role', 'The role of the candidate: 1 for the one it has.', 'server', 'role'),
    serverTimeline: gauge('server_timeline', 'Timeline of the candidate, by its last probe.', 'server'),
    serverSessions: gauge('server_sessions', 'Sessions on the server now.', 'server'),
    probeSeconds: new Histogram({
      name: 'pg_gateway_probe_duration_seconds',
      help: 'How long a probe took, whatever its result.',
      labelNames: ['server'] as const,
      buckets: [...CONNECT_BUCKETS_SECONDS],
      registers,
    }),
    probeFailures: counter('probe_failures_total', 'Probes without an answer, by reason.', 'server', 'reason'),
    connectFailures: counter(
      'backend_connect_failures_total',
      'Connections to a server that were not made, by reason.',
      'server',
      'reason',
    ),
    hasPrimary: gauge('has_primary', 'Whether a primary is proven.'),
    epoch: gauge('epoch', 'Number of the current route; each new route has a higher one.'),
    failovers: counter('failovers_total', 'Times another server, or a higher timeline, became the proven primary.'),
    withoutPrimary: counter('seconds_without_primary_total', 'Time without a proven primary, with the running outage.'),
    withoutPrimaryNow: gauge('seconds_without_primary', 'How long the running outage has lasted; 0 with a primary.'),
    decisionSeconds: new Histogram({
      name: 'pg_gateway_decision_duration_seconds',
      help: 'From the first doubt about the primary to the proof of one, the same or another.',
      buckets: DECISION_BUCKETS_SECONDS,
      registers,
    }),
    serversFenced: gauge('servers_fenced', 'Servers that get no traffic whatever they say, by reason.', 'reason'),
    splitBrain: gauge('split_brain', 'Whether several servers are writable on the newest timeline.'),
    stateSaved: gauge('state_saved', 'Whether what is remembered of the cluster is in the state directory.'),
    stateWriteFailures: counter('state_write_failures_total', 'Times it could not be written there.'),
    reloads: counter('config_reloads_total', 'Reloads of the configuration, by result.', 'result'),
    configRejected: gauge(
      'config_rejected',
      'Whether the configuration that was found last was rejected, and an earlier one goes on.',
    ),
    holding: gauge('holding', 'Whether new clients wait because an administrator wants it.'),
    draining: gauge('draining', 'Whether no new clients are accepted, and sessions are waited for.'),
    workerSessions: gauge('worker_sessions', 'Sessions of the worker thread now.', 'worker'),
    workerLag: gauge(
      'worker_loop_lag_seconds',
      'How long the heartbeat that the worker has not answered has waited, or how late it answered the last one.',
      'worker',
    ),
    loopBusy: counter('loop_busy_seconds_total', 'Time the control plane spent working, not waiting for events.'),
  };
}

/**
 * prom-client's default metrics without:
 * - nodejs_eventloop_lag_{min,max,...}_seconds: they need a timer that wakes the process 100 times a second, ten times
 *   what an idle gateway may. prom-client has no switch for it; with the longest period the timer never fires in
 *   practice. pg_gateway_loop_busy_seconds_total costs nothing and shows a busy loop; nodejs_eventloop_lag_seconds,
 *   measured at each scrape, stays.
 * - gauges named _total, which Prometheus's naming rules keep for counters.
 */
function collectProcessMetrics(registry: Registry): void {
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 2 ** 31 - 1 });
  for (const which of ['min', 'max', 'mean', 'stddev', 'p50', 'p90', 'p99']) {
    registry.removeSingleMetric(`nodejs_eventloop_lag_${which}_seconds`);
  }
  for (const what of ['handles', 'requests', 'resources']) registry.removeSingleMetric(`nodejs_active_${what}_total`);
}
