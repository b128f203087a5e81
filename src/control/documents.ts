// SPDX-License-Identifier: MIT
// What is said on the control socket, as JSON: the shapes, and the paths. Data only,
// and without an import that costs anything: pg-gatewayctl has it too.
//
// Names are stable: one may be added, none changes its meaning. Times are ISO 8601 in UTC.

/** A monitoring check's words for the whole; the exit statuses of `pg-gatewayctl status` are 0, 1, 2. */
export type Health = 'ok' | 'warning' | 'critical';

/** What a candidate is at this moment. */
export type ServerRole =
  | 'primary' // proven: clients go there
  | 'standby'
  | 'read-only' // out of recovery, and read-only
  | 'writable' // it claims to be the primary, which is not proven
  | 'fenced' // it gets no traffic, whatever it says
  | 'down' // its last probe failed
  | 'unprobed';

export interface ServerDocument {
  /** As in the log and in the metrics. */
  readonly name: string;
  readonly role: ServerRole;
  /** Since when it has this role, as far as this process has seen. */
  readonly since: string | null;
  /** Address that answered the last probe; null: it did not. */
  readonly address: string | null;
  readonly port: number;
  readonly timeline: number | null;
  /** How far what it has replayed is behind the primary, as their last probes saw both; null: not known. */
  readonly lag_bytes: number | null;
  readonly sessions: number;
  /** How long its last probe took, and how long ago that ended; null: there was none. */
  readonly probe_ms: number | null;
  readonly probe_age_seconds: number | null;
  /** Of one that is down or fenced: a stable word, and a line for people. */
  readonly reason: string | null;
  readonly detail: string | null;
}

export interface VerdictDocument {
  readonly kind: 'primary' | 'none' | 'unknown';
  /** Stable words: those of the log. */
  readonly reason: string;
  readonly detail: string;
  /** Since when there is this primary, or none, whatever the reason became meanwhile. */
  readonly since: string;
  /** Something speaks against the primary; unless HOLD_TIMEOUT_MS is 0, new clients wait until it has answered. */
  readonly suspected: boolean;
}

export interface FailoverStep {
  readonly at: string;
  /** `doubt`: something spoke against the old primary; `lost`: no primary was proven; `proven`: the new one was; `routed`. */
  readonly step: 'doubt' | 'lost' | 'proven' | 'routed';
  /** Milliseconds since the doubt. */
  readonly ms: number;
  readonly detail: string;
}

export interface FailoverDocument {
  /** When it was decided. */
  readonly at: string;
  readonly old: string;
  readonly new: string;
  readonly old_timeline: number;
  readonly new_timeline: number;
  readonly cause: string;
  /** From the first doubt to the proof of the new primary. */
  readonly decided_in_ms: number;
  readonly sessions_cut: number;
  readonly clients_held: number;
  readonly steps: readonly FailoverStep[];
}

export interface HoldDocument {
  readonly since: string;
  /** When it ends by itself. */
  readonly until: string;
}

export interface DrainDocument {
  readonly since: string;
  /** When it no longer waits for sessions. */
  readonly until: string;
  /** Whether the process ends then. */
  readonly exits: boolean;
}

export interface StatusDocument {
  readonly health: Health;
  /** Why it is not `ok`, the worst first. */
  readonly problems: readonly string[];
  readonly version: string;
  readonly pid: number;
  readonly started_at: string;
  readonly uptime_seconds: number;
  readonly verdict: VerdictDocument;
  readonly primary: {
    readonly server: string;
    readonly address: string;
    readonly port: number;
    readonly timeline: number;
    readonly epoch: number;
  } | null;
  readonly servers: readonly ServerDocument[];
  readonly clients: {
    /** They have a server, or are being connected to one. */
    readonly sessions: number;
    /** They wait for one. */
    readonly held: number;
    /** They have not sent their startup message yet. */
    readonly silent: number;
    readonly limit: number;
    readonly accepted_total: number;
    /** Moved since the start of the process, for sessions that have ended too. */
    readonly bytes_client_to_server_total: number;
    readonly bytes_server_to_client_total: number;
  };
  /** New clients wait because an administrator wants it. */
  readonly hold: HoldDocument | null;
  readonly drain: DrainDocument | null;
  /** How many sessions would outlive this process; null: none does. */
  readonly sessions_kept: number | null;
  readonly log_level: string;
  /** What is remembered of the cluster is on disk. */
  readonly state_saved: boolean;
  /** How many there were since the start of the process. */
  readonly failovers: number;
  readonly last_failover: FailoverDocument | null;
}

export interface SessionDocument {
  readonly id: number;
  /**
   * `silent`: it has not sent its startup message yet; `held`: it waits for a server; `starting`: its server has not
   * answered that message yet; `open`.
   */
  readonly state: 'silent' | 'held' | 'starting' | 'open';
  /** Numeric; `unix` of an AF_UNIX client, which has no port. */
  readonly client_address: string;
  readonly client_port: number | null;
  readonly server: string | null;
  /** Of the gateway's connection to the server: pg_stat_activity.client_port there. */
  readonly source_port: number | null;
  readonly age_seconds: number;
  readonly idle_seconds: number | null;
  readonly bytes_client_to_server: number;
  readonly bytes_server_to_client: number;
  readonly worker: number;
}

export interface SessionsDocument {
  /** How many there are of those that were asked for. */
  readonly matching: number;
  /** The oldest first; as many as were asked for at most. */
  readonly sessions: readonly SessionDocument[];
}

export interface FailoversDocument {
  /** Since when they are counted: the start of the process. */
  readonly since: string;
  /** How many there were; the oldest of many are forgotten. */
  readonly total: number;
  /** The latest first. */
  readonly failovers: readonly FailoverDocument[];
}

export interface KillDocument {
  readonly killed: readonly number[];
  /** There were no such sessions (any more). */
  readonly unknown: readonly number[];
}

export interface ReloadDocument {
  readonly result: 'ok' | 'rejected';
  /** Keys of the settings that have changed. */
  readonly changed: readonly string[];
  /** Those that wait for a restart. */
  readonly waiting_for_restart: readonly string[];
  /** Why it was rejected. */
  readonly problems: readonly string[];
}

export interface VersionDocument {
  readonly version: string;
  readonly node: string;
  readonly pid: number;
}

export interface LogLevelDocument {
  readonly level: string;
  readonly before: string;
}

/** What is answered with a status of 400 and above. */
export interface ErrorDocument {
  readonly error: {
    /** A code of the manual. */
    readonly code: string;
    readonly message: string;
  };
}

/** Bounds of what may be asked for. */
export const BOUNDS = {
  listed: 10_000,
  killed: 1000,
  holdSeconds: 600,
  drainSeconds: 86_400,
} as const;

export const DEFAULTS = { listed: 1000, holdSeconds: 60, drainSeconds: 300 } as const;
