// SPDX-License-Identifier: MIT
// What the native data plane counts, as one snapshot. Data only: filled by
// src/dataplane.ts, read by the metrics, the status line and the watchdog.
//
// Counters (bigint) only ever grow, from 0 at the start of the process; each is
// exact on its own. A snapshot is summed over workers that go on working
// meanwhile, so two counters of one snapshot may be some microseconds apart.

/** Clients that were answered with an error, or closed, before a backend served them. Label values; keep them stable. */
export const REJECT_REASONS = [
  'no_primary', // no server is proven primary
  'connect_failed', // the proven primary could not be connected to
  'too_many_held', // MAX_HELD clients waited for a primary already
  'too_many_clients', // MAX_CONNECTIONS clients were there already
  'too_many_per_client', // MAX_CONNECTIONS_PER_CLIENT of them from its address
  'gave_up', // it hung up before it had one
  'startup', // the startup message was malformed, too long, or did not come in time
  'resources', // no descriptor, pipe or memory left for it
  'killed', // an administrator ended it while it waited for a primary
] as const;
export type RejectReason = (typeof REJECT_REASONS)[number];

/** Established sessions ended by the gateway's own decision. Label values; keep them stable. */
export const CUT_REASONS = [
  'demoted', // the session's server is proven to be no longer primary
  'superseded', // another server is proven primary
  'lost', // no server is proven primary any more, and CUT_POLICY is eager
  'shutdown', // the gateway stops
  'killed', // an administrator ended it
] as const;
export type CutReason = (typeof CUT_REASONS)[number];

/** Those for which a verdict has sessions cut. */
export type VerdictCutReason = Exclude<CutReason, 'shutdown' | 'killed'>;

/** Established sessions that ended by themselves, by who ended them first. Label values; keep them stable. */
export const END_REASONS = [
  'client_closed', // the client's FIN came first
  'backend_closed', // the server's FIN came first
  'client_reset', // the client's connection broke (RST, timeout)
  'backend_reset', // the server's connection broke (RST, timeout)
  'resources', // no pipe or memory to go on with
] as const;
export type EndReason = (typeof END_REASONS)[number];

/** Why a connection of the data plane to a server was not made. Label values; keep them stable. */
export const CONNECT_FAILURE_REASONS = [
  'refused', // ECONNREFUSED
  'timeout', // no answer within CONNECT_TIMEOUT_MS
  'unreachable', // EHOSTUNREACH, ENETUNREACH, EHOSTDOWN ...
  'other', // any other errno
] as const;
export type ConnectFailureReason = (typeof CONNECT_FAILURE_REASONS)[number];

/** Upper bounds (inclusive, seconds) of the connect duration buckets; one more bucket, +Inf, follows them. */
export const CONNECT_BUCKETS_SECONDS = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5,
] as const;

/** Likewise of how long clients waited for a server. */
export const HOLD_BUCKETS_SECONDS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30] as const;

/** Durations counted by the data plane. */
export interface DurationCounts {
  /**
   * One count per bucket, NOT cumulative: [i] holds the durations in (bound i-1, bound i].
   * One more than there are bounds; the last one is +Inf.
   */
  readonly buckets: readonly bigint[];
  /** Sum of all durations, seconds. */
  readonly sum: number;
}

/** One server slot. */
export interface ServerStats {
  /** The slot, 0..127: `Route.server`. */
  readonly server: number;
  /** Sessions on it now. */
  readonly sessions: number;
  /** Connections made. */
  readonly connects: bigint;
  readonly connectFailures: Readonly<Record<ConnectFailureReason, bigint>>;
  /** How long the successful connects took. */
  readonly connectSeconds: DurationCounts;
}

/** One worker thread; its place in `DataPlaneStats.workers` is its number. */
export interface WorkerStats {
  /** Sessions it holds now. */
  readonly sessions: number;
  /** How long the heartbeat that it has not answered has waited, or how late it answered the last one; milliseconds. */
  readonly loopLagMs: number;
  /** Heartbeats answered since the start. */
  readonly beat: bigint;
}

/** Sessions that the next process would find. */
export interface KeptStats {
  readonly sessions: number;
  /** Socket pairs in the service manager's store. */
  readonly segments: number;
  /** Parked messages, those of ended sessions among them. */
  readonly messages: number;
  /** Sessions that could not be kept, or no longer. */
  readonly failures: bigint;
}

export interface DataPlaneStats {
  /** Client connections accepted. */
  readonly accepted: bigint;
  /** Clients that have a server, or are being connected to one, now. */
  readonly active: number;
  /** Clients that wait for a server now. */
  readonly held: number;
  /** Clients that have not said yet what they want, and have no server before they do. */
  readonly silent: number;
  /** Clients that ever had to wait. */
  readonly heldEver: bigint;
  /** Those of them that waited for HOLD_TIMEOUT_MS in vain. */
  readonly holdTimeouts: bigint;
  /** How long those waited that got a server. */
  readonly holdSeconds: DurationCounts;
  readonly bytesClientToBackend: bigint;
  readonly bytesBackendToClient: bigint;
  readonly rejected: Readonly<Record<RejectReason, bigint>>;
  readonly cut: Readonly<Record<CutReason, bigint>>;
  readonly ended: Readonly<Record<EndReason, bigint>>;
  /** Times accepting was paused because descriptors or memory had run out. */
  readonly acceptPauses: bigint;
  /** Times accepting waited because of maxConnectionRate. */
  readonly rateWaits: bigint;
  /** Turns in which a session found no pipe for the same reason; its bytes waited. It looks again 20 times a second. */
  readonly pipeWaits: bigint;
  /** The slots in use; slots that never had a route or a session may be left out. */
  readonly servers: readonly ServerStats[];
  readonly workers: readonly WorkerStats[];
  /** All 0 where nothing is kept. */
  readonly kept: KeptStats;
}
