// SPDX-License-Identifier: MIT
// The HTTP server (node's own) that the metrics listener and the control socket are made
// of: the limits of what a peer may do, the complaints about it, and its end.
// Owns its sockets.
//
// Invariants: no request can make the process fail, wait or grow: sizes, times, connections
// and requests per connection are limited. Each complaint is written once a minute at most.

import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { ListenOptions } from 'node:net';

import { RateLimit } from './log.js';
import type { Logger } from './log.js';

export interface StrictHttpOptions {
  /** Begins every complaint: `metrics`, `control`. */
  readonly name: string;
  /** At once, of each socket; more are closed when they come. */
  readonly maxConnections: number;
  /** What rejects is complained of, and its connection closed. */
  readonly serve: (request: IncomingMessage, response: ServerResponse) => Promise<void>;
  readonly logger: Logger;
  /** How long close() waits for requests under way. */
  readonly closeTimeoutMs: number;
}

const MAX_HEADER_BYTES = 8192;
const MAX_REQUESTS_PER_SOCKET = 1000;
const TIMEOUTS_MS = { headers: 5000, request: 10_000, keepAlive: 5000, inactive: 15_000, check: 5000 };
const LOG_EVERY_MS = 60_000;

export class StrictHttp {
  readonly #options: StrictHttpOptions;
  readonly #limit = new RateLimit(LOG_EVERY_MS);
  #servers: Server[] = [];
  #closed: Promise<void> | undefined;

  constructor(options: StrictHttpOptions) {
    this.#options = options;
  }

  /** close() has been called: an answer is the last of its connection. */
  get closing(): boolean {
    return this.#closed !== undefined;
  }

  /** Listens at one more place. Throws what net.Server does; nothing is left bound then. */
  async listen(where: ListenOptions | { readonly fd: number }): Promise<Server> {
    const server = this.#createServer();
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(where, () => {
        server.off('error', reject);
        resolve();
      });
    });
    server.on('error', (error) => {
      this.complain('accept', 'a connection could not be accepted', error);
    });
    this.#servers.push(server);
    return server;
  }

  /** Listens at the TCP port no longer. Resolves when the connections that came there have ended. */
  async release(port: number): Promise<void> {
    const released = this.#servers.filter((server) => portOf(server) === port);
    this.#servers = this.#servers.filter((server) => !released.includes(server));
    await Promise.all(released.map(closed));
  }

  complain(key: string, message: string, error: unknown): void {
    const similar = this.#limit.admit(key);
    if (similar === undefined) return;
    this.#options.logger.warning(`${this.#options.name}: ${message}${similar}`, { reason: String(error) });
  }

  /** Idempotent; resolves, within the time limit, when no connection is left. Sockets of systemd stay bound there. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    const ends = this.#servers.map(closed);
    const deadline = setTimeout(() => {
      for (const server of this.#servers) server.closeAllConnections();
    }, this.#options.closeTimeoutMs);
    await Promise.all(ends);
    clearTimeout(deadline);
  }

  #createServer(): Server {
    const server = createServer(
      {
        maxHeaderSize: MAX_HEADER_BYTES,
        headersTimeout: TIMEOUTS_MS.headers,
        requestTimeout: TIMEOUTS_MS.request,
        keepAliveTimeout: TIMEOUTS_MS.keepAlive,
        connectionsCheckingInterval: TIMEOUTS_MS.check,
      },
      (request, response) => {
        void this.#serve(request, response);
      },
    );
    server.timeout = TIMEOUTS_MS.inactive; // also a peer that does not read its answer
    server.maxConnections = this.#options.maxConnections;
    server.maxRequestsPerSocket = MAX_REQUESTS_PER_SOCKET;
    return server;
  }

  /** Never rejects. */
  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      await this.#options.serve(request, response);
    } catch (error) {
      // A peer that hung up in the middle of its request is nothing to complain of.
      if (request.complete) this.complain('serve', 'a request could not be answered', error);
      response.destroy();
    }
  }
}

/** Undefined: it has no TCP port. */
export function portOf(server: Server): number | undefined {
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : undefined;
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => {
      resolve();
    });
    server.closeIdleConnections();
  });
}
