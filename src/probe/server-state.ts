// SPDX-License-Identifier: MIT
// The one query of a probe, and how its answer is read. Pure.

import { isStartTime } from '../memory.js';
import { ProbeFault } from './failure.js';
import type { ServerState } from './observation.js';

/**
 * One row of seven texts: in recovery (t/f), read-only (on/off), timeline, streaming (t/f), system identifier, LSN, start
 * of the server.
 *
 * - Any role may run it, on PostgreSQL 10 to 18: pg_control_*() and the WAL functions are open to PUBLIC; from
 *   pg_stat_wal_receiver a role without pg_read_all_stats reads NULLs, and so finds no streaming receiver.
 * - pg_current_wal_lsn() and pg_walfile_name() fail during recovery, hence the CASE: neither has constant arguments, so
 *   nothing is evaluated before the branch is chosen. The sub-select makes pg_is_in_recovery() be asked once (a volatile
 *   function is not pulled up), so a promotion in the middle cannot mix the two branches' facts; the functions
 *   of the standby's branch go on working after a promotion.
 * - The timeline of a primary is the first eight hexadecimal digits of the name of the WAL file it writes
 *   (pg_control_checkpoint() lags behind a fast promotion until its checkpoint ends). That of a standby is what its
 *   WAL receiver streams; else the higher one of its last restart point and its minimum recovery point.
 * - Read-only is what the next transaction would be. transaction_read_only is what this one is: one that began in recovery
 *   stays read-only, and so a server just promoted would be taken for unusable once more.
 * - The start of the server is in whole microseconds, as the server keeps it: of no time zone and no style of dates. A double
 *   holds that exactly (extract() is numeric only since PostgreSQL 14, and its text was cut to 15 digits before 12).
 * - Every name is qualified: nothing in the search_path of the role can stand in for it.
 * - It is sent without parameters in the simple protocol: one message there, one back.
 */
export const PROBE_QUERY = `\
SELECT r.in_recovery::pg_catalog.text,
 CASE WHEN r.in_recovery THEN 'on' ELSE pg_catalog.current_setting('default_transaction_read_only') END,
 CASE WHEN NOT r.in_recovery
  THEN pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8)
  ELSE pg_catalog.lpad(pg_catalog.to_hex(COALESCE(w.received_tli,
   (SELECT GREATEST(c.timeline_id, m.min_recovery_end_timeline)
    FROM pg_catalog.pg_control_checkpoint() c, pg_catalog.pg_control_recovery() m))), 8, '0')
 END,
 (r.in_recovery AND w.received_tli IS NOT NULL)::pg_catalog.text,
 (SELECT s.system_identifier FROM pg_catalog.pg_control_system() s)::pg_catalog.text,
 CASE WHEN r.in_recovery THEN pg_catalog.pg_last_wal_replay_lsn()
  ELSE pg_catalog.pg_current_wal_lsn() END::pg_catalog.text,
 (pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time())
  OPERATOR(pg_catalog.*) 1000000::pg_catalog.float8)::pg_catalog.int8::pg_catalog.text
FROM (SELECT pg_catalog.pg_is_in_recovery() AS in_recovery) r
LEFT JOIN (SELECT v.received_tli FROM pg_catalog.pg_stat_wal_receiver v WHERE v.status = 'streaming') w
 ON r.in_recovery`;

/**
 * Reads the answer to PROBE_QUERY.
 * @throws ProbeFault protocol: it is not one row of seven texts that make sense
 */
export function parseServerState(rows: readonly (readonly unknown[])[]): ServerState {
  const [row, ...more] = rows;
  if (row?.length !== 7 || more.length > 0) {
    throw new ProbeFault('protocol', `expected one row of seven columns, got ${rows.length} of ${row?.length ?? 0}`);
  }
  const [inRecovery, readOnly, timeline, streaming, systemId, lsn, startedAt] = row;
  return {
    inRecovery: parseFlag('pg_is_in_recovery()', inRecovery, 'true', 'false'),
    readOnly: parseFlag('default_transaction_read_only', readOnly, 'on', 'off'),
    timeline: parseTimeline(timeline),
    streaming: parseFlag('streaming', streaming, 'true', 'false'),
    systemId: parseSystemId(systemId),
    lsn: lsn === null ? null : parseLsn(lsn),
    startedAt: parseStart(startedAt),
  };
}

function parseFlag(what: string, value: unknown, yes: string, no: string): boolean {
  if (value === yes) return true;
  if (value === no) return false;
  throw senseless(what, value);
}

function parseTimeline(value: unknown): number {
  const timeline = typeof value === 'string' && /^[0-9A-F]{8}$/i.test(value) ? Number.parseInt(value, 16) : 0;
  if (timeline < 1) throw senseless('timeline', value);
  return timeline;
}

/** The server keeps an unsigned number but shows it as a signed one. */
function parseSystemId(value: unknown): string {
  if (typeof value !== 'string' || !/^-?\d{1,19}$/.test(value) || BigInt(value) === 0n) {
    throw senseless('system identifier', value);
  }
  return BigInt.asUintN(64, BigInt(value)).toString();
}

function parseStart(value: unknown): string {
  if (!isStartTime(value)) throw senseless('start of the server', value);
  return value;
}

/** pg_lsn: two hexadecimal numbers of up to 32 bits. */
function parseLsn(value: unknown): bigint {
  const match = typeof value === 'string' ? /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/i.exec(value) : null;
  const [, high, low] = match ?? [];
  if (high === undefined || low === undefined) throw senseless('LSN', value);
  return (BigInt(`0x${high}`) << 32n) | BigInt(`0x${low}`);
}

function senseless(what: string, value: unknown): ProbeFault {
  return new ProbeFault('protocol', `the ${what} makes no sense: ${JSON.stringify(value).slice(0, 80)}`);
}
