// SPDX-License-Identifier: MIT
// What may be asked on the control socket: query strings and bodies, read strictly. Pure.
// Whoever asks for what there is not is told so, rather than given something else.

import { isIP } from 'node:net';

import { GatewayError } from '../errors.js';
import { LOG_LEVELS } from '../log.js';
import type { LogLevel } from '../log.js';
import { BOUNDS, DEFAULTS } from './documents.js';

/** As the words of a query say it; names are not looked up yet. */
export interface SessionsRequest {
  /** Numeric address, or `unix`. */
  readonly client?: string;
  readonly clientPort?: number;
  /** Name of the server. */
  readonly server?: string;
  readonly idleMs?: number;
  readonly port?: number;
  readonly limit: number;
}

const SESSIONS_FIELDS = ['client', 'server', 'idle', 'port', 'limit'] as const;
const MAX_IDLE_SECONDS = 2_000_000;

/** @throws GatewayError CONTROL_REQUEST, as all here */
export function sessionsRequest(query: URLSearchParams): SessionsRequest {
  const given = fieldsOf(query, SESSIONS_FIELDS);
  const { client, server, idle, port, limit } = given;
  return {
    ...(client === undefined ? {} : clientOf(client)),
    ...(server === undefined ? {} : { server }),
    ...(idle === undefined ? {} : { idleMs: Math.ceil(decimal('idle', idle, MAX_IDLE_SECONDS) * 1000) }),
    ...(port === undefined ? {} : { port: whole('port', Number(port), 1, 65_535) }),
    limit: limit === undefined ? DEFAULTS.listed : whole('limit', Number(limit), 1, BOUNDS.listed),
  };
}

/** None may be given. */
export function noQuery(query: URLSearchParams): void {
  fieldsOf(query, []);
}

export function killRequest(body: unknown): readonly number[] {
  const { ids } = members(body, ['ids']);
  if (!Array.isArray(ids) || ids.length === 0 || ids.length > BOUNDS.killed) {
    throw bad(`ids: expected a list of 1 to ${BOUNDS.killed} numbers of sessions`);
  }
  return [...new Set(ids.map((id: unknown) => whole('ids', id, 1, Number.MAX_SAFE_INTEGER)))];
}

/** How long, seconds. */
export function holdRequest(body: unknown): number {
  const { seconds = DEFAULTS.holdSeconds } = members(body, ['seconds']);
  return whole('seconds', seconds, 1, BOUNDS.holdSeconds);
}

export interface DrainRequest {
  readonly seconds: number;
  /** Whether the process ends then. */
  readonly exit: boolean;
}

export function drainRequest(body: unknown): DrainRequest {
  const { seconds = DEFAULTS.drainSeconds, exit = true } = members(body, ['seconds', 'exit']);
  if (typeof exit !== 'boolean') throw bad('exit: expected true or false');
  return { seconds: whole('seconds', seconds, 0, BOUNDS.drainSeconds), exit };
}

export function logLevelRequest(body: unknown): LogLevel {
  const { level } = members(body, ['level']);
  const found = LOG_LEVELS.find((one) => one === level);
  if (found === undefined) throw bad(`level: expected one of ${LOG_LEVELS.join(', ')}`);
  return found;
}

/** Nothing may be said. */
export function emptyRequest(body: unknown): void {
  members(body, []);
}

/** `10.0.0.7`, `10.0.0.7:51234`, `::1`, `[::1]:51234` or `unix`. */
function clientOf(text: string): Pick<SessionsRequest, 'client' | 'clientPort'> {
  if (text === 'unix' || isClientAddress(text)) return { client: text };
  const match = /^\[(?<v6>[^\]]+)\](?::(?<port6>\d{1,5}))?$|^(?<v4>[^:]+):(?<port4>\d{1,5})$/u.exec(text)?.groups;
  const address = match?.['v6'] ?? match?.['v4'] ?? '';
  const port = match?.['port6'] ?? match?.['port4'];
  if (!isClientAddress(address))
    throw bad(`client: expected an address, address:port, or unix: ${JSON.stringify(text)}`);
  return { client: address, ...(port === undefined ? {} : { clientPort: whole('client', Number(port), 1, 65_535) }) };
}

/** Numeric, as sessions are listed: without the scope that a link-local one may have (RFC 4007). */
function isClientAddress(text: string): boolean {
  return isIP(text) !== 0 && !text.includes('%');
}

function fieldsOf<K extends string>(query: URLSearchParams, known: readonly K[]): Partial<Record<K, string>> {
  const found: Partial<Record<K, string>> = {};
  for (const [name, value] of query) {
    const key = known.find((one) => one === name);
    if (key === undefined) throw bad(`${JSON.stringify(name)}: not known here`);
    if (found[key] !== undefined) throw bad(`${name}: given twice`);
    found[key] = value;
  }
  return found;
}

/** The members of a JSON object; a body that is not there is one without any. */
function members<K extends string>(body: unknown, known: readonly K[]): Partial<Record<K, unknown>> {
  if (body === undefined) return {};
  if (typeof body !== 'object' || body === null || Array.isArray(body)) throw bad('expected a JSON object');
  for (const name of Object.keys(body)) {
    if (!known.some((one) => one === name)) throw bad(`${JSON.stringify(name)}: not known here`);
  }
  return body;
}

function whole(name: string, value: unknown, min: number, max: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value;
  throw bad(`${name}: expected a whole number from ${min} to ${max}`);
}

function decimal(name: string, text: string, max: number): number {
  const value = /^(?:\d{1,10}(?:\.\d{1,9})?)$/u.test(text) ? Number(text) : Number.NaN;
  if (value <= max) return value;
  throw bad(`${name}: expected a number of seconds from 0 to ${max}`);
}

function bad(what: string): GatewayError {
  return new GatewayError('CONTROL_REQUEST', what);
}
