// SPDX-License-Identifier: MIT
// Every setting there is, once: its key, default, kind, environment variable,
// option and explanation. The reader, the help text, `--check-config` and the
// tests of the sample file all work from this table.
//
// The shape is a convict schema. Constants only: nothing here is ever changed.

import { MAX_CANDIDATES } from './candidates.js';
import {
  candidateList,
  countOrAuto,
  decimal,
  directory,
  host,
  integer,
  oneOf,
  onOff,
  port,
  socketPath,
  text,
} from './config-kinds.js';
import type { Kind } from './config-kinds.js';
import { CUT_POLICIES, MAX_CLIENTS, SSL_MODES } from './config-types.js';
import type { CutPolicy, SslMode } from './config-types.js';
import { LOG_LEVELS } from './log.js';
import type { LogLevel } from './log.js';

/** Where the configuration is looked for unless a file is named. */
export const CONFIG_DIRECTORY = '/etc/pg-gateway';

/** Where the installed service has its state. */
export const STATE_DIRECTORY = '/var/lib/pg-gateway';

/** What the settings hold after checking, before defaults of the machine are filled in. */
export interface RawSettings {
  candidates: string[];
  state_directory: string | null;
  listen: { host: string; port: number };
  sessions: {
    workers: number | 'auto';
    max_connections: number | 'auto';
    max_connections_per_client: number;
    max_connection_rate: number;
    tcp_keepalive: boolean;
    tcp_keepalives_idle: number;
    tcp_keepalives_interval: number;
    tcp_keepalives_count: number;
    tcp_user_timeout: number;
    drain_timeout_ms: number;
  };
  failover: { hold_timeout_ms: number; max_held: number; release_rate: number; cut_policy: CutPolicy };
  probe: {
    user: string | null;
    password: string | null;
    passfile: string | null;
    database: string;
    connect_timeout_ms: number;
    query_timeout_ms: number;
    check_every: number;
    sslmode: SslMode;
    sslrootcert: string | null;
    sslcert: string | null;
    sslkey: string | null;
  };
  metrics: { host: string; port: number; status_page: boolean };
  control: { socket: string };
  log: { level: LogLevel };
}

/** One setting; a leaf of a convict schema. */
export interface Setting<T = unknown> {
  /** null: there is none, or it depends on the machine (`defaultNote` says on what). */
  readonly default: T | null;
  readonly defaultNote?: string;
  /** Name under which the kind is registered with convict. */
  readonly format: string;
  readonly kind: Kind;
  readonly env: string;
  /** Long option, without the dashes. Secrets have none: every user can read a command line. */
  readonly option?: string;
  /** Its value is masked wherever it would be printed. */
  readonly secret: boolean;
  /** May change while the gateway runs. */
  readonly live: boolean;
  readonly nullable: boolean;
  /**
   * Always true. convict then leaves values out of its complaints, which so stay
   * of one form; the lines that are printed carry the value, masked if `secret`.
   */
  readonly sensitive: true;
  readonly doc: string;
}

/** A setting and its full key, as in `probe.check_every`. */
export interface NamedSetting extends Setting {
  readonly key: string;
}

type Leaf = string[] | string | number | boolean | null;

/** The tables of a file. */
export type TableName = { [T in keyof RawSettings]: RawSettings[T] extends Leaf ? never : T }[keyof RawSettings];

/** Full keys, as in `probe.check_every`: what has a word for each of them is complete, or does not compile. */
export type SettingKey =
  Exclude<keyof RawSettings, TableName> | { [T in TableName]: `${T}.${keyof RawSettings[T] & string}` }[TableName];

export type Layout<T> = { readonly [K in keyof T]: T[K] extends Leaf ? Setting<T[K]> : Layout<T[K]> };

const MAX_TIMEOUT_MS = 600_000;
/** MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL, MAX_TCP_KEEPCNT of the kernel. */
const MAX_KEEPALIVE_SECONDS = 32_767;
const MAX_KEEPALIVE_COUNT = 127;
const MAX_USER_TIMEOUT_MS = 86_400_000;
const MIN_CHECK_EVERY_SECONDS = 0.05;
const MAX_CHECK_EVERY_SECONDS = 3600;

export const MAX_WORKERS = 64;

interface Details {
  readonly env: string;
  readonly doc: string;
  readonly option?: string;
  readonly defaultNote?: string;
  readonly secret?: boolean;
  readonly live?: boolean;
}

function setting<T>(value: T | null, kind: Kind, details: Details): Setting<T> {
  return {
    secret: false,
    live: true,
    ...details,
    default: value,
    kind,
    format: `pg-gateway ${details.env}`,
    nullable: value === null,
    sensitive: true,
  };
}

export const SCHEMA: Layout<RawSettings> = {
  candidates: setting<string[]>([], candidateList, {
    env: 'CANDIDATES',
    option: 'candidates',
    defaultNote: 'required',
    doc: `The servers of the cluster, 1 to ${String(MAX_CANDIDATES)} of them: host, host:port, [v6] or [v6]:port, the port being 5432 if not given. Commas or spaces divide them.`,
  }),
  state_directory: setting<string | null>(null, directory, {
    env: 'STATE_DIRECTORY',
    option: 'state-directory',
    defaultNote: 'none',
    live: false,
    doc: 'Directory where the cluster is remembered over a stop: its system identifier and highest timeline, which fence old and foreign servers. systemd sets it. Without one a stop forgets them.',
  }),
  listen: {
    host: setting('localhost', host, {
      env: 'LISTEN_HOST',
      option: 'listen-host',
      live: false,
      doc: 'Host name or address where clients connect; "::" is every address, IPv4 too. Not used when systemd hands the sockets over.',
    }),
    port: setting(5432, port, {
      env: 'LISTEN_PORT',
      option: 'listen-port',
      live: false,
      doc: 'Port where clients connect; 0 is any free one. Not used when systemd hands the sockets over.',
    }),
  },
  sessions: {
    workers: setting<number | 'auto'>(1, countOrAuto(MAX_WORKERS), {
      env: 'NUM_THREADS',
      option: 'workers',
      live: false,
      doc: `Threads that carry sessions, 1 to ${String(MAX_WORKERS)}; "auto" is one for each CPU this process may use.`,
    }),
    max_connections: setting<number | 'auto'>('auto', countOrAuto(MAX_CLIENTS, 'clients'), {
      env: 'MAX_CONNECTIONS',
      doc: 'How many clients there may be at once, 1 to 1000000, those that wait too; "auto" is as many as the limit of open files has room for.',
    }),
    max_connections_per_client: setting(0, integer(0, MAX_CLIENTS, 'clients'), {
      env: 'MAX_CONNECTIONS_PER_CLIENT',
      doc: 'How many of them from one address, 0 to 1000000; 0 is any number.',
    }),
    max_connection_rate: setting(0, integer(0, MAX_CLIENTS, 'clients a second'), {
      env: 'MAX_CONNECTION_RATE',
      doc: 'How many new clients a second are accepted, 0 to 1000000, more wait in the queue of the socket; 0 is any number.',
    }),
    tcp_keepalive: setting(true, onOff, {
      env: 'TCP_KEEPALIVE',
      doc: 'Whether new sessions have TCP keepalive on, to clients and to the server (in the environment 1 or 0).',
    }),
    tcp_keepalives_idle: setting(60, integer(0, MAX_KEEPALIVE_SECONDS, 'seconds'), {
      env: 'TCP_KEEPALIVES_IDLE',
      doc: "Seconds without a packet after which a session's peer is asked whether it lives; 0 is the kernel's net.ipv4.tcp_keepalive_time.",
    }),
    tcp_keepalives_interval: setting(10, integer(0, MAX_KEEPALIVE_SECONDS, 'seconds'), {
      env: 'TCP_KEEPALIVES_INTERVAL',
      doc: "Seconds after which a peer that did not answer is asked again; 0 is the kernel's net.ipv4.tcp_keepalive_intvl.",
    }),
    tcp_keepalives_count: setting(12, integer(0, MAX_KEEPALIVE_COUNT), {
      env: 'TCP_KEEPALIVES_COUNT',
      doc: "Unanswered questions after which the session ends; 0 is the kernel's net.ipv4.tcp_keepalive_probes.",
    }),
    tcp_user_timeout: setting(0, integer(0, MAX_USER_TIMEOUT_MS, 'milliseconds'), {
      env: 'TCP_USER_TIMEOUT',
      doc: 'Milliseconds after which a session ends whose peer has not acknowledged what was sent, or has taken nothing of it; 0 leaves it to the kernel (net.ipv4.tcp_retries2), which waits for a slow reader.',
    }),
    drain_timeout_ms: setting(0, integer(0, MAX_TIMEOUT_MS, 'milliseconds'), {
      env: 'DRAIN_TIMEOUT_MS',
      doc: 'How long a stop waits for sessions to end by themselves, accepting no more; 0 does not wait.',
    }),
  },
  failover: {
    hold_timeout_ms: setting(15_000, integer(0, MAX_TIMEOUT_MS, 'milliseconds'), {
      env: 'HOLD_TIMEOUT_MS',
      doc: 'How long a client waits while there is no primary, 0 to 600000 milliseconds; 0 turns it away at once.',
    }),
    max_held: setting(1000, integer(0, MAX_CLIENTS, 'clients'), {
      env: 'MAX_HELD',
      doc: 'How many clients may wait for a primary, 0 to 1000000; more are told 53300.',
    }),
    release_rate: setting(500, integer(1, MAX_CLIENTS, 'clients a second'), {
      env: 'RELEASE_RATE',
      doc: 'How many waiting clients a second are sent to a new primary, 1 to 1000000.',
    }),
    cut_policy: setting<CutPolicy>('proof', oneOf(CUT_POLICIES), {
      env: 'CUT_POLICY',
      doc: 'When sessions are cut: on proof that their server is not the primary, or (eager) when there is no primary.',
    }),
  },
  probe: {
    user: setting<string | null>(null, text('a user name'), {
      env: 'PGUSER',
      defaultNote: 'name of the OS user',
      doc: 'User the probes log in as. No privilege is needed beyond connecting.',
    }),
    password: setting<string | null>(null, text('a password'), {
      env: 'PGPASSWORD',
      secret: true,
      doc: 'Password of that user. When PGPASSWORD is not set, the systemd credential "pgpassword" stands for it.',
    }),
    passfile: setting<string | null>(null, text('the path of a file'), {
      env: 'PGPASSFILE',
      defaultNote: '~/.pgpass, if there',
      doc: "Password file in libpq's format, read when there is no password.",
    }),
    database: setting('postgres', text('a database name'), {
      env: 'PGDATABASE',
      doc: 'Database the probes connect to.',
    }),
    connect_timeout_ms: setting(800, integer(1, MAX_TIMEOUT_MS, 'milliseconds'), {
      env: 'CONNECT_TIMEOUT_MS',
      doc: 'Milliseconds a connection to a server may take, 1 to 600000.',
    }),
    query_timeout_ms: setting(500, integer(1, MAX_TIMEOUT_MS, 'milliseconds'), {
      env: 'QUERY_TIMEOUT_MS',
      doc: 'Milliseconds the answer to a probe may take, 1 to 600000.',
    }),
    check_every: setting(2, decimal(MIN_CHECK_EVERY_SECONDS, MAX_CHECK_EVERY_SECONDS, 'seconds'), {
      env: 'CHECK_EVERY',
      option: 'check-every',
      doc: 'Seconds between two probes of a server while all is well, 0.05 to 3600, fractions allowed.',
    }),
    sslmode: setting<SslMode>(
      'prefer',
      oneOf(SSL_MODES, { exact: true, refused: { allow: '"allow" of libpq is not supported: use "prefer"' } }),
      {
        env: 'PGSSLMODE',
        doc: 'How probes encrypt, with libpq\'s meaning: disable, prefer, require, verify-ca or verify-full. (verify-full if not set and sslrootcert is "system".)',
      },
    ),
    sslrootcert: setting<string | null>(null, text('the path of a file, or "system"'), {
      env: 'PGSSLROOTCERT',
      defaultNote: '~/.postgresql/root.crt, if there',
      doc: 'File of the root certificates to trust (PEM); "system" trusts those of the operating system.',
    }),
    sslcert: setting<string | null>(null, text('the path of a file'), {
      env: 'PGSSLCERT',
      defaultNote: '~/.postgresql/postgresql.crt, if there',
      doc: 'File of the client certificate (PEM).',
    }),
    sslkey: setting<string | null>(null, text('the path of a file'), {
      env: 'PGSSLKEY',
      defaultNote: '~/.postgresql/postgresql.key, if there',
      doc: 'File of the private key of sslcert (PEM).',
    }),
  },
  metrics: {
    host: setting('::', host, {
      env: 'METRICS_HOST',
      option: 'metrics-host',
      live: false,
      doc: 'Host name or address of /metrics, /healthz, /readyz and the status page at /; "::" is every address, IPv4 too.',
    }),
    port: setting(9090, port, {
      env: 'METRICS_PORT',
      option: 'metrics-port',
      live: false,
      doc: 'Port of /metrics, /healthz, /readyz and the status page at /; 0 is any free one.',
    }),
    status_page: setting(true, onOff, {
      env: 'STATUS_PAGE',
      live: false,
      doc: 'Whether there is a status page for browsers at / of that port (in the environment 1 or 0).',
    }),
  },
  control: {
    socket: setting('off', socketPath, {
      env: 'CONTROL_SOCKET',
      option: 'control-socket',
      live: false,
      doc: 'Path of the socket where pg-gatewayctl asks and orders; its file lets the user and the group of the gateway in. "off" opens none. Not used when systemd hands the socket over.',
    }),
  },
  log: {
    level: setting<LogLevel>('info', oneOf(LOG_LEVELS, { aliases: { warn: 'warning', error: 'err' } }), {
      env: 'LOG_LEVEL',
      option: 'log-level',
      doc: 'Least severe message that is logged: debug, info, notice, warning or err.',
    }),
  },
};

/** Every setting, in the order of the tables. */
export const SETTINGS: readonly NamedSetting[] = Object.entries(SCHEMA).flatMap(([name, node]) =>
  isSetting(node)
    ? [{ key: name, ...node }]
    : Object.entries(node).map(([leaf, inner]: [string, Setting]) => ({ key: `${name}.${leaf}`, ...inner })),
);

function isSetting(node: object): node is Setting {
  return 'format' in node;
}
