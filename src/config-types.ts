// SPDX-License-Identifier: MIT
// The effective configuration as the rest of the program sees it: every value
// checked, every default filled in. Data only. `src/config.ts` makes it.

import type { Candidate } from './candidates.js';
import type { LogLevel } from './log.js';

/**
 * libpq's modes ("34.19. SSL Support" in the PostgreSQL manual) but `allow`,
 * which is of no use to a prober.
 */
export const SSL_MODES = ['disable', 'prefer', 'require', 'verify-ca', 'verify-full'] as const;

export type SslMode = (typeof SSL_MODES)[number];

/** How a probe encrypts. The paths were readable files when the configuration was read. */
export interface ProbeTls {
  readonly mode: SslMode;
  /**
   * File of the trusted root certificates (PEM), or the word `system`: those of
   * the operating system. Always set for the verify modes. As in libpq, a root
   * certificate makes the chain be checked in every mode but `disable`.
   */
  readonly rootCert?: string;
  /** Client certificate (PEM); set together with `key`. */
  readonly cert?: string;
  /** Private key of `cert` (PEM). */
  readonly key?: string;
}

/** How candidates are probed. All of it may change while the gateway runs. */
export interface ProbeConfig {
  /** Undefined only where the operating system has no name for this user. */
  readonly user: string | undefined;
  /** Never printed, never logged. */
  readonly password: string | undefined;
  /** A readable password file (libpq's format); undefined if there is none. */
  readonly passfile: string | undefined;
  readonly database: string;
  /** Bound of connecting and logging in. 1..600000 */
  readonly connectTimeoutMs: number;
  /** Bound of one query. 1..600000 */
  readonly queryTimeoutMs: number;
  /** The calm cadence. 50..3600000 */
  readonly checkEveryMs: number;
  readonly tls: ProbeTls;
}

/** When sessions are cut: on proof that their server is not the primary, or as soon as there is no proven primary. */
export const CUT_POLICIES = ['proof', 'eager'] as const;

export type CutPolicy = (typeof CUT_POLICIES)[number];

/** The most clients that a setting may ask for. */
export const MAX_CLIENTS = 1_000_000;

/** What becomes of clients while there is no primary. All of it may change while the gateway runs. */
export interface FailoverConfig {
  /** How long a client without a server waits for one. 0..600000 */
  readonly holdTimeoutMs: number;
  /** How many clients may wait. 0..1000000 */
  readonly maxHeld: number;
  /** How many of them a second are let go when there is a server, beside one for each that comes then. 1..1000000 */
  readonly releaseRate: number;
  readonly cutPolicy: CutPolicy;
}

/**
 * By what the kernel notices that the peer of a session has vanished without a word; tcp(7). Meaning and words are
 * PostgreSQL's ("20.3.2. TCP Settings" in its manual); 0 is the kernel's own.
 */
export interface TcpSettings {
  readonly keepalive: boolean;
  /** Idle seconds before it is asked whether it lives. 0..32767 */
  readonly keepalivesIdleS: number;
  /** Seconds before it is asked again. 0..32767 */
  readonly keepalivesIntervalS: number;
  /** How many of these go unanswered before the session ends. 0..127 */
  readonly keepalivesCount: number;
  /** How long data may go unacknowledged, or untaken. 0..86400000 */
  readonly userTimeoutMs: number;
}

export interface HostPort {
  readonly host: string;
  /** 0..65535; 0 = any free port. */
  readonly port: number;
}

export interface Config {
  /** 1..64, in the order of the configuration, no two alike. */
  readonly candidates: readonly Candidate[];
  /** Where the cluster is remembered over a stop; undefined: nowhere. */
  readonly stateDirectory: string | undefined;
  /** Where clients connect, unless the service manager hands sockets over. */
  readonly listen: HostPort;
  /** Where /metrics, /healthz and /readyz are served, and perhaps the status page. */
  readonly metrics: HostPort & { readonly statusPage: boolean };
  /** Where administrators ask and order. */
  readonly control: {
    /** Absolute path, or `off`; not used when the service manager hands a socket over. */
    readonly socket: string;
  };
  readonly probe: ProbeConfig;
  /** Threads of the data plane, 1..64. */
  readonly workers: number;
  /** How many clients there may be at once, 1..1000000; undefined: as many as there are descriptors for. */
  readonly maxConnections: number | undefined;
  /** How many of them from one address, 0..1000000; 0: any number. */
  readonly maxConnectionsPerClient: number;
  /** New ones a second, 0: any number. */
  readonly maxConnectionRate: number;
  /** Of both sides of a session. */
  readonly tcp: TcpSettings;
  /** How long a stop waits for sessions to end by themselves. 0..600000 */
  readonly drainTimeoutMs: number;
  readonly failover: FailoverConfig;
  readonly logLevel: LogLevel;
  /** The files read, in order. */
  readonly sources: readonly string[];
}

/** One effective value, for people to read. */
export interface EffectiveSetting {
  /** As in a file: `probe.check_every`. */
  readonly key: string;
  /** undefined: not set, without a default. The mask, if `masked`. */
  readonly value: SettingValue | undefined;
  /** It is a secret, and set. */
  readonly masked: boolean;
  /** A file's path, `environment VARIABLE`, `argument --option`, `credential name` or `default`. */
  readonly from: string;
}

/** A value of a setting, in the units of the files. */
export type SettingValue = string | number | boolean | readonly string[];

/** A value as it was given, and who gave it. */
export type GivenSetting = readonly [key: string, value: unknown, from: string];

/** A configuration that knows where its values are from. */
export interface LoadedConfig extends Config {
  readonly settings: readonly EffectiveSetting[];
  /** All that was given but the secrets: what `restoreConfig` makes the same configuration of. */
  readonly given: readonly GivenSetting[];
  /** What is allowed but should not be: one line each, without secrets. */
  readonly warnings: readonly string[];
}
