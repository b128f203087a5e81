// SPDX-License-Identifier: MIT
// The control socket: AF_UNIX, HTTP, JSON. Who may open it is said by the permissions of
// its file (0660); who has opened it may do everything.
// Owns its sockets: the one it binds, with its file, and its copies of those it was handed.
//
// Invariants as those of ../http.ts: no request can make the process fail, wait or grow.

import { lstatSync, unlinkSync } from 'node:fs';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { connect } from 'node:net';

import { listenFailed } from '../bind-host.js';
import { RateLimit } from '../log.js';
import type { Logger } from '../log.js';
import { answer, refusal } from './api.js';
import type { ApiAnswer, Desk } from './api.js';

export interface ControlOptions {
  /** Descriptors of listening sockets, or a path to bind; neither: nothing is served. */
  readonly fds: readonly number[];
  readonly path: string | undefined;
  readonly desk: Desk;
  readonly logger: Logger;
  /** How long close() waits for requests under way. */
  readonly closeTimeoutMs: number;
}

export interface ControlListener {
  /** What is listened on: a path, or `fd:4`. */
  readonly addresses: readonly string[];
  /** Idempotent; resolves, within the time limit, when no connection is left. */
  close(): Promise<void>;
}

const LIMITS = { headerBytes: 8192, bodyBytes: 65_536, connections: 16, requestsPerSocket: 1000 };
const TIMEOUTS_MS = { headers: 5000, request: 10_000, keepAlive: 5000, inactive: 15_000, check: 5000, stale: 1000 };
const PURPOSE = 'serve administrators';
const LOG_EVERY_MS = 60_000;
/** Of the file: nobody but its owner and its group. */
const UMASK = 0o117;

/** @throws GatewayError LISTEN_FAILED; nothing is left bound then */
export async function startControl(options: ControlOptions): Promise<ControlListener> {
  const service = new ControlService(options);
  try {
    for (const fd of options.fds) await service.listenOnFd(fd);
    if (options.fds.length === 0 && options.path !== undefined) await service.listenOnPath(options.path);
  } catch (error) {
    await service.close();
    throw error;
  }
  return service;
}

class ControlService implements ControlListener {
  readonly addresses: string[] = [];
  readonly #options: ControlOptions;
  readonly #limit = new RateLimit(LOG_EVERY_MS);
  readonly #servers: Server[] = [];
  #closed: Promise<void> | undefined;

  constructor(options: ControlOptions) {
    this.#options = options;
  }

  async listenOnFd(fd: number): Promise<void> {
    try {
      await this.#listen({ fd });
    } catch (error) {
      throw listenFailed(PURPOSE, `descriptor ${fd.toString()}`, error);
    }
    this.addresses.push(`fd:${fd.toString()}`);
  }

  async listenOnPath(path: string): Promise<void> {
    try {
      if (await isStale(path)) unlinkSync(path);
      await this.#listen({ path });
    } catch (error) {
      throw listenFailed(PURPOSE, path, error);
    }
    this.addresses.push(path);
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #listen(where: { readonly fd: number } | { readonly path: string }): Promise<void> {
    const server = this.#createServer();
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      // The file is made during this call, and never has other permissions.
      const before = process.umask(UMASK);
      try {
        server.listen(where, () => {
          server.off('error', reject);
          resolve();
        });
      } finally {
        process.umask(before);
      }
    });
    server.on('error', (error) => {
      this.#complain('accept', 'control: a connection could not be accepted', error);
    });
    this.#servers.push(server);
  }

  #createServer(): Server {
    const server = createServer(
      {
        maxHeaderSize: LIMITS.headerBytes,
        headersTimeout: TIMEOUTS_MS.headers,
        requestTimeout: TIMEOUTS_MS.request,
        keepAliveTimeout: TIMEOUTS_MS.keepAlive,
        connectionsCheckingInterval: TIMEOUTS_MS.check,
      },
      (request, response) => {
        void this.#serve(request, response);
      },
    );
    server.timeout = TIMEOUTS_MS.inactive;
    server.maxConnections = LIMITS.connections;
    server.maxRequestsPerSocket = LIMITS.requestsPerSocket;
    return server;
  }

  /** Never rejects. */
  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      send(response, await this.#answer(request), this.#closed !== undefined);
    } catch (error) {
      if (!request.destroyed) this.#complain('serve', 'control: a request could not be answered', error);
      response.destroy();
    }
  }

  async #answer(request: IncomingMessage): Promise<ApiAnswer> {
    const body = await bodyOf(request);
    if (body === undefined) return refusal(413, 'CONTROL_REQUEST', `at most ${LIMITS.bodyBytes} bytes expected`);
    const target = request.url ?? '';
    const [path = '', query = ''] = target.split('?', 2);
    const asked = { method: request.method ?? '', path, query: new URLSearchParams(query), body };
    try {
      return await answer(this.#options.desk, asked);
    } catch (error) {
      this.#complain('answer', 'control: a request could not be answered', error);
      return refusal(500, 'INTERNAL', 'a fault of the gateway: the log has it');
    }
  }

  #complain(key: string, message: string, error: unknown): void {
    const similar = this.#limit.admit(key);
    if (similar !== undefined) this.#options.logger.warning(`${message}${similar}`, { reason: String(error) });
  }

  async #close(): Promise<void> {
    const closed = this.#servers.map(
      (server) =>
        new Promise<void>((resolve) => {
          server.close(() => {
            resolve();
          });
          server.closeIdleConnections();
        }),
    );
    const deadline = setTimeout(() => {
      for (const server of this.#servers) server.closeAllConnections();
    }, this.#options.closeTimeoutMs);
    await Promise.all(closed);
    clearTimeout(deadline);
  }
}

/** Undefined: it is too long. What is too long is read to its end, and thrown away. */
async function bodyOf(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length <= LIMITS.bodyBytes) chunks.push(chunk);
    else chunks.length = 0;
  }
  return length <= LIMITS.bodyBytes ? Buffer.concat(chunks).toString() : undefined;
}

function send(response: ServerResponse, { status, document, allow }: ApiAnswer, closing: boolean): void {
  const body = Buffer.from(`${JSON.stringify(document)}\n`);
  response.writeHead(status, {
    'Content-Type': 'application/json',
    'Content-Length': body.length,
    'Cache-Control': 'no-store',
    ...(allow === undefined ? {} : { Allow: allow }),
    ...(closing ? { Connection: 'close' } : {}),
  });
  response.end(body);
}

/** Whether the file is a socket that a process which was killed has left: nobody listens on it. */
function isStale(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const end = (stale: boolean): void => {
      socket.destroy();
      resolve(stale);
    };
    socket.setTimeout(TIMEOUTS_MS.stale, () => {
      end(false);
    });
    socket.once('connect', () => {
      end(false);
    });
    socket.once('error', (error) => {
      // Of what is no socket at all connect(2) says the same: that is left where it is.
      end('code' in error && error.code === 'ECONNREFUSED' && isSocket(path));
    });
  });
}

function isSocket(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSocket() === true;
}
