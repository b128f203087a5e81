// SPDX-License-Identifier: MIT
// The requests of the control socket: path and method -> what is done. GET changes
// nothing, POST does. Knows neither sockets nor HTTP's bytes.

import { GatewayError } from '../errors.js';
import type { LogLevel } from '../log.js';
import type {
  DrainDocument,
  ErrorDocument,
  FailoversDocument,
  HoldDocument,
  KillDocument,
  LogLevelDocument,
  ReloadDocument,
  SessionsDocument,
  StatusDocument,
  VersionDocument,
} from './documents.js';
import {
  drainRequest,
  emptyRequest,
  holdRequest,
  killRequest,
  logLevelRequest,
  noQuery,
  sessionsRequest,
} from './requests.js';
import type { DrainRequest, SessionsRequest } from './requests.js';

/** Who does what is asked. Each may throw a GatewayError CONTROL_REQUEST or CONTROL_BUSY. */
export interface Desk {
  status(): StatusDocument;
  failovers(): FailoversDocument;
  version(): VersionDocument;
  sessions(request: SessionsRequest): Promise<SessionsDocument>;
  kill(ids: readonly number[]): Promise<KillDocument>;
  hold(seconds: number): HoldDocument;
  release(): { readonly released: boolean };
  drain(request: DrainRequest): DrainDocument;
  reload(): ReloadDocument;
  setLogLevel(level: LogLevel): LogLevelDocument;
}

export interface ApiRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  /** JSON, not parsed yet; empty: there is none. */
  readonly body: string;
}

export interface ApiAnswer {
  readonly status: number;
  readonly document: object;
  /** Methods that there are, of a path that has not the one asked for. */
  readonly allow?: string;
}

type Ask = (desk: Desk, query: URLSearchParams) => object | Promise<object>;
type Order = (desk: Desk, body: unknown) => object | Promise<object>;

const GET: Readonly<Record<string, Ask>> = {
  '/v1/status': (desk, query) => (noQuery(query), desk.status()),
  '/v1/sessions': (desk, query) => desk.sessions(sessionsRequest(query)),
  '/v1/failovers': (desk, query) => (noQuery(query), desk.failovers()),
  '/v1/version': (desk, query) => (noQuery(query), desk.version()),
};

const POST: Readonly<Record<string, Order>> = {
  '/v1/kill': (desk, body) => desk.kill(killRequest(body)),
  '/v1/hold': (desk, body) => desk.hold(holdRequest(body)),
  '/v1/release': (desk, body) => (emptyRequest(body), desk.release()),
  '/v1/drain': (desk, body) => desk.drain(drainRequest(body)),
  '/v1/reload': (desk, body) => (emptyRequest(body), desk.reload()),
  '/v1/log-level': (desk, body) => desk.setLogLevel(logLevelRequest(body)),
};

/** Every path and its method, for the manual. */
export const PATHS: readonly (readonly [method: string, path: string])[] = [
  ...Object.keys(GET).map((path) => ['GET', path] as const),
  ...Object.keys(POST).map((path) => ['POST', path] as const),
];

/** Never rejects for what is asked, only for a fault of ours. */
export async function answer(desk: Desk, request: ApiRequest): Promise<ApiAnswer> {
  const { method, path, query } = request;
  const ask = Object.hasOwn(GET, path) ? GET[path] : undefined;
  const order = Object.hasOwn(POST, path) ? POST[path] : undefined;
  if (ask === undefined && order === undefined)
    return refusal(404, 'CONTROL_REQUEST', `${path}: there is no such path`);
  try {
    if (method === 'GET' && ask !== undefined) return { status: 200, document: await ask(desk, query) };
    if (method === 'POST' && order !== undefined) {
      noQuery(query);
      return { status: 200, document: await order(desk, parse(request.body)) };
    }
    const allow = ask === undefined ? 'POST' : 'GET';
    return { ...refusal(405, 'CONTROL_REQUEST', `${path}: ${allow} expected`), allow };
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    return refusal(error.code === 'CONTROL_REQUEST' ? 400 : 503, error.code, error.message);
  }
}

export function refusal(status: number, code: GatewayError['code'], message: string): ApiAnswer {
  const document: ErrorDocument = { error: { code, message } };
  return { status, document };
}

function parse(body: string): unknown {
  if (body === '') return undefined;
  try {
    return JSON.parse(body);
  } catch {
    throw new GatewayError('CONTROL_REQUEST', 'the body is not JSON');
  }
}
