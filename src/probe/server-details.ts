// SPDX-License-Identifier: MIT
// What a check of the configuration asks a server beside the probe's question, and
// how the answer is read. Pure.

import { ProbeFault } from './failure.js';

/** What the server says of itself, and of the log-in. */
export interface ServerDetails {
  /** `15.18 (Debian 15.18-0+deb12u1)` */
  readonly version: string;
  readonly maxConnections: number;
  /** Of these nobody gets any but superusers, and roles with pg_use_reserved_connections. */
  readonly reservedConnections: number;
  /** The probes' role is a superuser. */
  readonly superuser: boolean;
  /** It may see what a standby streams. */
  readonly readsStatistics: boolean;
  /** When its password ends to be valid, milliseconds since 1970 by the server's clock; null: never. */
  readonly passwordUntil: number | null;
  /** Where the connection comes from, as the server sees it, without brackets; null: it does not tell. */
  readonly clientAddress: string | null;
  /** The server's clock, milliseconds since 1970. */
  readonly clock: number;
  /** Where it listens, by its own word. */
  readonly port: number;
}

/**
 * One row of ten texts, in the order of ServerDetails. As with PROBE_QUERY any role may ask it, on PostgreSQL 10 to 18,
 * and every name is qualified. `reserved_connections` is there since PostgreSQL 16. pg_roles hides no date of validity.
 */
export const DETAILS_QUERY = `\
SELECT pg_catalog.current_setting('server_version'),
 pg_catalog.current_setting('max_connections'),
 pg_catalog.current_setting('superuser_reserved_connections'),
 COALESCE(pg_catalog.current_setting('reserved_connections', true), '0'),
 pg_catalog.current_setting('is_superuser'),
 pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')::pg_catalog.text,
 (SELECT ${milliseconds('r.rolvaliduntil')} FROM pg_catalog.pg_roles r
  WHERE r.rolname OPERATOR(pg_catalog.=) CURRENT_USER AND pg_catalog.isfinite(r.rolvaliduntil)),
 pg_catalog.host(pg_catalog.inet_client_addr()),
 ${milliseconds('pg_catalog.clock_timestamp()')},
 pg_catalog.current_setting('port')`;

function milliseconds(time: string): string {
  return `(pg_catalog.date_part('epoch', ${time}) OPERATOR(pg_catalog.*) 1000::pg_catalog.float8)::pg_catalog.int8::pg_catalog.text`;
}

/**
 * Reads the answer to DETAILS_QUERY.
 * @throws ProbeFault protocol: it is not one row of ten texts that make sense
 */
export function parseServerDetails(rows: readonly (readonly unknown[])[]): ServerDetails {
  const [row, ...more] = rows;
  if (row?.length !== 10 || more.length > 0) {
    throw new ProbeFault('protocol', `expected one row of ten columns, got ${rows.length} of ${row?.length ?? 0}`);
  }
  const [version, most, superusers, reserved, superuser, statistics, until, address, clock, port] = row;
  return {
    version: parseText('version', version),
    maxConnections: parseCount('max_connections', most),
    reservedConnections:
      parseCount('superuser_reserved_connections', superusers) + parseCount('reserved_connections', reserved),
    superuser: superuser === 'on',
    readsStatistics: statistics === 'true',
    passwordUntil: until === null ? null : parseTime('validity of the password', until),
    clientAddress: address === null ? null : parseText('address', address),
    clock: parseTime('clock', clock),
    port: parseCount('port', port),
  };
}

function parseText(what: string, value: unknown): string {
  if (typeof value === 'string' && value.length > 0 && value.length <= 200) return value;
  throw senseless(what, value);
}

function parseCount(what: string, value: unknown): number {
  if (typeof value === 'string' && /^\d{1,10}$/.test(value)) return Number(value);
  throw senseless(what, value);
}

function parseTime(what: string, value: unknown): number {
  if (typeof value === 'string' && /^-?\d{1,15}$/.test(value)) return Number(value);
  throw senseless(what, value);
}

function senseless(what: string, value: unknown): ProbeFault {
  return new ProbeFault('protocol', `the ${what} makes no sense: ${JSON.stringify(value ?? null).slice(0, 80)}`);
}
