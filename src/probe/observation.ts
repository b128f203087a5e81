// SPDX-License-Identifier: MIT
// What one probe saw of one candidate. Data only: made by a probe, read by the
// election, the metrics and the log.

import type { Candidate } from '../candidates.js';

/** The address that answered: the peer of the probe's own connection. */
export interface ServerAddress {
  /** Numeric: IPv4 dotted quad or IPv6 without brackets (a scope `%eth0` may follow). */
  readonly address: string;
  readonly port: number;
}

/** Why a probe has no answer. Label values of the metric; keep them stable. */
export type ProbeFailureReason =
  | 'dns' // the name could not be looked up
  | 'refused' // connect(2) was refused
  | 'unreachable' // no route, network or host down
  | 'connect_timeout' // no connection or no log-in within CONNECT_TIMEOUT_MS
  | 'query_timeout' // no answer to the query within QUERY_TIMEOUT_MS
  | 'broken' // the connection was reset or closed
  | 'tls' // the TLS handshake or the certificate check failed
  | 'auth' // the server refused the log-in (28xxx, 3D000 ...)
  | 'starting' // 57P03: starting up, shutting down, in crash recovery
  | 'shutdown' // 57P01/57P02: the server ended the connection
  | 'too_many' // 53300
  | 'protocol' // what answered is not PostgreSQL, or its answer makes no sense
  | 'error'; // any other SQL error

/** What an answering server said. */
export interface ServerState {
  readonly inRecovery: boolean;
  /** Transactions are read-only: a server out of recovery of which that is said is not a usable primary. */
  readonly readOnly: boolean;
  /** Timeline ID, >= 1. */
  readonly timeline: number;
  /**
   * True: a standby whose WAL receiver streams `timeline` at this moment, so a server on that timeline lives.
   * Else the timeline of a standby comes from its control file (it may lag, or be the rest of an accident), or the
   * probe's role may not see the WAL receiver: pg_stat_wal_receiver needs pg_read_all_stats.
   */
  readonly streaming?: boolean;
  /** Database system identifier: unsigned 64 bit, as decimal text. */
  readonly systemId: string;
  /**
   * When its postmaster was started: microseconds since 1970 by the server's own clock, as decimal text. With the system
   * identifier it tells whether two addresses are one server's. Undefined: not known.
   */
  readonly startedAt?: string;
  /** Write position of a primary, replay position of a standby; null where unknown. */
  readonly lsn: bigint | null;
}

interface ObservationBase {
  readonly candidate: Candidate;
  /** CLOCK_MONOTONIC milliseconds when the probe ended. */
  readonly at: number;
  /** How long the probe took, milliseconds. */
  readonly tookMs: number;
}

export type Observation =
  | (ObservationBase & { readonly kind: 'answered'; readonly address: ServerAddress; readonly state: ServerState })
  | (ObservationBase & {
      readonly kind: 'failed';
      readonly reason: ProbeFailureReason;
      /** One line for the log, without secrets. */
      readonly detail: string;
    });
