// SPDX-License-Identifier: MIT
// Asks the gateway on its control socket. Each question has a deadline, and each answer a bound.

import { request } from 'node:http';

import { ERROR_CODES, GatewayError } from '../errors.js';
import type { ErrorCode } from '../errors.js';

const DEADLINE_MS = 5000;
const MAX_ANSWER_BYTES = 32 * 1024 * 1024;

export interface Client {
  /**
   * What GET answers. Rejects with the gateway's own GatewayError, or CONTROL_UNREACHABLE.
   * @param signal gives the question up
   */
  get<T>(path: string, signal?: AbortSignal): Promise<T>;
  post<T>(path: string, body: object): Promise<T>;
}

/** @param socket path of the control socket */
export function connectTo(socket: string): Client {
  return {
    // The shapes are those of ../control/documents.ts, by the version of the path.
    get: async <T>(path: string, signal?: AbortSignal) =>
      (await ask(socket, { method: 'GET', path, body: undefined, signal })) as T,
    post: async <T>(path: string, body: object) =>
      (await ask(socket, { method: 'POST', path, body: JSON.stringify(body), signal: undefined })) as T,
  };
}

/** The kernel says that nobody listens there: no process has the socket, not even one that stands still. */
export function hasNoListener({ code, cause }: GatewayError): boolean {
  if (code !== 'CONTROL_UNREACHABLE' || !(cause instanceof Error) || !('code' in cause)) return false;
  return cause.code === 'ENOENT' || cause.code === 'ECONNREFUSED';
}

interface Question {
  readonly method: string;
  readonly path: string;
  readonly body: string | undefined;
  readonly signal: AbortSignal | undefined;
}

async function ask(socket: string, question: Question): Promise<unknown> {
  const { status, text } = await exchange(socket, question);
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    throw unreachable(socket, `what answers there is no gateway (status ${status})`);
  }
  if (status === 200) return document;
  const { code, message } = errorOf(document);
  if (code === undefined) throw unreachable(socket, `what answers there is no gateway (status ${status})`);
  throw new GatewayError(code, message);
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

function exchange(socket: string, { method, path, body, signal }: Question): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const settled = (): void => {
      clearTimeout(deadline);
      signal?.removeEventListener('abort', giveUp);
    };
    const fail = (error: Error): void => {
      settled();
      reject(unreachable(socket, describe(error, socket), error));
    };
    const headers = {
      Host: 'pg-gateway',
      Connection: 'close',
      ...(body === undefined ? {} : { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) }),
    };
    const asked = request({ socketPath: socket, method, path, headers, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      let length = 0;
      response.on('data', (chunk: Buffer) => {
        length += chunk.length;
        if (length > MAX_ANSWER_BYTES) asked.destroy(new Error('the answer is too long'));
        else chunks.push(chunk);
      });
      response.on('error', fail);
      response.on('end', () => {
        settled();
        resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() });
      });
    });
    const deadline = setTimeout(() => {
      asked.destroy(new Error(`no answer within ${DEADLINE_MS / 1000} seconds`));
    }, DEADLINE_MS);
    const giveUp = (): void => {
      asked.destroy(new Error('given up'));
    };
    signal?.addEventListener('abort', giveUp);
    asked.on('error', fail);
    asked.end(body);
  });
}

function errorOf(document: unknown): { readonly code: ErrorCode | undefined; readonly message: string } {
  const nothing = { code: undefined, message: '' };
  if (typeof document !== 'object' || document === null || !('error' in document)) return nothing;
  const { error } = document;
  if (typeof error !== 'object' || error === null || !('code' in error) || !('message' in error)) return nothing;
  const code = String(error.code);
  return Object.hasOwn(ERROR_CODES, code) ? { code: code as ErrorCode, message: String(error.message) } : nothing;
}

/** Those that systemd opens have the name of the unit beside them that they come and go with. */
const INSTALLED_SOCKET = /^\/run\/pg-gatewayctl\/(pg-gateway(?:@[^/]+)?\.sock)$/;

function describe(error: Error, socket: string): string {
  const installed = INSTALLED_SOCKET.exec(socket)?.[1];
  switch ('code' in error ? error.code : undefined) {
    case 'ENOENT':
      return `there is no such socket; is the gateway configured, and its control socket on?${installed === undefined ? '' : ` (systemctl status ${installed}et)`}`;
    case 'ECONNREFUSED':
      return 'nobody listens there: the gateway does not run';
    case 'EACCES':
      return `permission denied: be root, or in the group of the socket${installed === undefined ? '' : ' (pg-gateway-admin)'}`;
    case 'ECONNRESET':
      return 'the connection broke';
    default:
      return error.message;
  }
}

function unreachable(socket: string, why: string, cause?: Error): GatewayError {
  return new GatewayError('CONTROL_UNREACHABLE', `cannot ask the gateway at ${socket}: ${why}`, { cause });
}
