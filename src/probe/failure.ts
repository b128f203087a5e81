// SPDX-License-Identifier: MIT
// What a failure of a probe means: any error, of any layer, becomes one of the
// reasons that log and metrics know. Pure.

import { isNativeError } from 'node:util/types';

import type { ProbeFailureReason } from './observation.js';

/** Where the probe stood when it failed. */
export type ProbeStage = 'lookup' | 'connect' | 'tls' | 'login' | 'query';

/** A probe's failure, understood. `message` is one line without secrets. */
export class ProbeFault extends Error {
  readonly reason: ProbeFailureReason;
  /** Where it came as an ErrorResponse. */
  readonly sqlState: string | undefined;

  constructor(
    reason: ProbeFailureReason,
    detail: string,
    options: { cause?: unknown; sqlState?: string | undefined } = {},
  ) {
    super(oneLine(detail), { cause: options.cause });
    this.name = 'ProbeFault';
    this.reason = reason;
    this.sqlState = options.sqlState;
  }
}

const MAX_DETAIL_CHARS = 300;

/**
 * Appendix A of the PostgreSQL manual, "PostgreSQL Error Codes". The first entry that begins the code decides.
 * 42501 at log-in is a missing CONNECT privilege, 3D000 a missing database, 08P01 and 0A000 a server (or something
 * else) that does not speak our protocol. 57P05 is idle_session_timeout: the server lives, the connection is gone.
 */
const SQLSTATE_REASONS: readonly (readonly [string, ProbeFailureReason])[] = [
  ['57P01', 'shutdown'],
  ['57P02', 'shutdown'],
  ['57P03', 'starting'],
  ['57P05', 'broken'],
  ['53300', 'too_many'],
  ['28', 'auth'],
  ['3D000', 'auth'],
  ['08P01', 'protocol'],
  ['08', 'broken'],
];

const LOGIN_SQLSTATE_REASONS: readonly (readonly [string, ProbeFailureReason])[] = [
  ['42501', 'auth'],
  ['0A000', 'protocol'],
];

/** connect(2), tcp(7), getaddrinfo(3). */
const ERRNO_REASONS: Readonly<Record<string, ProbeFailureReason>> = {
  ECONNREFUSED: 'refused',
  EHOSTUNREACH: 'unreachable',
  EHOSTDOWN: 'unreachable',
  ENETUNREACH: 'unreachable',
  ENETDOWN: 'unreachable',
  EADDRNOTAVAIL: 'unreachable',
  EAFNOSUPPORT: 'unreachable',
  EACCES: 'unreachable', // a local firewall, or a broadcast address
  EPERM: 'unreachable',
  ECONNRESET: 'broken',
  ECONNABORTED: 'broken',
  EPIPE: 'broken',
  ENOTCONN: 'broken',
  ENOTFOUND: 'dns',
  EAI_AGAIN: 'dns',
  EAI_FAIL: 'dns',
};

/** Any thrown value -> the fault that it is. A ProbeFault is returned as it is. */
export function faultOf(error: unknown, stage: ProbeStage): ProbeFault {
  if (error instanceof ProbeFault) return error;
  const { code, severity, message } = partsOf(error);
  const sqlState = severity !== undefined && code !== undefined && /^[0-9A-Z]{5}$/.test(code) ? code : undefined;
  const reason = sqlState === undefined ? localReason(code, message, stage) : sqlReason(sqlState, stage);
  const detail = sqlState === undefined ? message : `${severity ?? 'ERROR'} ${sqlState}: ${message}`;
  return new ProbeFault(reason, detail, { cause: error, sqlState });
}

function sqlReason(sqlState: string, stage: ProbeStage): ProbeFailureReason {
  const table = stage === 'login' ? [...LOGIN_SQLSTATE_REASONS, ...SQLSTATE_REASONS] : SQLSTATE_REASONS;
  return table.find(([prefix]) => sqlState.startsWith(prefix))?.[1] ?? 'error';
}

function localReason(code: string | undefined, message: string, stage: ProbeStage): ProbeFailureReason {
  if (stage === 'lookup') return 'dns';
  // Whatever ends a handshake, a reset as well, is for the operator a matter of TLS.
  if (stage === 'tls' || (code !== undefined && isTlsCode(code))) return 'tls';
  if (code === 'ETIMEDOUT') return stage === 'connect' ? 'connect_timeout' : 'broken';
  const known = code === undefined ? undefined : ERRNO_REASONS[code];
  if (known !== undefined) return known;
  // pg has no codes for these. What its parser cannot read has neither SQLSTATE nor errno.
  if (message.startsWith('SASL:')) return 'auth';
  if (message.startsWith('received invalid response')) return 'protocol';
  if (message.startsWith('Connection terminated')) return 'broken';
  return 'error';
}

/** OpenSSL's errors (node's `ERR_SSL_*`, `ERR_TLS_*`) and its X509_V_ERR_* names, which node uses bare. */
function isTlsCode(code: string): boolean {
  return /^(ERR_SSL_|ERR_TLS_|ERR_OSSL_|CERT_|CRL_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|INVALID_CA$|HOSTNAME_MISMATCH$)/.test(
    code,
  );
}

interface ErrorParts {
  readonly code: string | undefined;
  /** Of an ErrorResponse: FATAL, ERROR ... Its presence tells a SQLSTATE from another five-letter code (EPIPE). */
  readonly severity: string | undefined;
  readonly message: string;
}

function partsOf(error: unknown): ErrorParts {
  if (!isNativeError(error)) return { code: undefined, severity: undefined, message: String(error) };
  const code: unknown = 'code' in error ? error.code : undefined;
  const severity: unknown = 'severity' in error ? error.severity : undefined;
  return {
    code: typeof code === 'string' ? code : undefined,
    severity: typeof severity === 'string' ? severity : undefined,
    message: error.message,
  };
}

function oneLine(text: string): string {
  const line = text.replace(/\s+/g, ' ').trim();
  return line.length <= MAX_DETAIL_CHARS ? line : `${line.slice(0, MAX_DETAIL_CHARS)}...`;
}
