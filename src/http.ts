// SPDX-License-Identifier: MIT
// The HTTP listener: GET and HEAD of /metrics, /healthz, /readyz and /, nothing else.
// Owns its sockets: those it binds and its copies of those it was handed.
//
// Invariants: no request can make the process fail, wait or grow: sizes, times,
// connections and requests per connection are limited, no body is taken, and scrapes
// that come together are rendered once. No browser's script of another origin may
// read an answer: there is no CORS.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { ListenOptions } from 'node:net';
import { bindHost, listenFailed } from './bind-host.js';
import { formatHostPort } from './candidates.js';
import { RateLimit, type Logger } from './log.js';

export interface HttpOptions {
  /**
   * Descriptors of listening sockets (TCP or AF_UNIX), or an address to bind. `::` and '' serve IPv4 too; a name is
   * bound on every address it has; port 0 is any free one.
   */
  readonly listen: { readonly fds: readonly number[] } | { readonly host: string; readonly port: number };
  /** What /metrics answers. */
  readonly render: () => Promise<string>;
  readonly contentType: string;
  /** What /readyz answers: 200 or 503, each with the reason as one line. */
  readonly readiness: () => Readiness;
  /** What / answers, HTML; left out: it is not there. */
  readonly page?: (() => Page) | undefined;
  readonly logger: Logger;
  /** How long close() waits for requests under way. Default 1000. */
  readonly closeTimeoutMs?: number;
}

export interface Readiness {
  readonly ready: boolean;
  readonly reason: string;
}

export interface Page {
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
}

export interface HttpListener {
  /** What is listened on: `127.0.0.1:9090`, `[::]:9090`; `fd:4` for an AF_UNIX socket that was handed over. */
  readonly addresses: readonly string[];
  /** Idempotent; resolves, within the time limit, when no connection is left. Sockets of systemd stay bound there. */
  close(): Promise<void>;
}

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

const LIMITS = { maxHeaderBytes: 8192, connections: 64, requestsPerSocket: 1000 };
const TIMEOUTS_MS = { headers: 5000, request: 10_000, keepAlive: 5000, inactive: 15_000, check: 5000 };
const CLOSE_TIMEOUT_MS = 1000;
const PURPOSE = 'serve metrics';
const LOG_EVERY_MS = 60_000;
const TEXT = 'text/plain; charset=utf-8';
const HTML = 'text/html; charset=utf-8';
const ALLOWED = 'GET, HEAD';

/** Throws GatewayError LISTEN_FAILED, naming the address or descriptor; nothing is left bound then. */
export async function startHttp(options: HttpOptions): Promise<HttpListener> {
  const service = new HttpService(options);
  try {
    if ('fds' in options.listen) await service.listenOnFds(options.listen.fds);
    else await service.listenOn(options.listen.host, options.listen.port);
  } catch (error) {
    await service.close();
    throw error;
  }
  return service;
}

class HttpService implements HttpListener {
  readonly addresses: string[] = [];
  readonly #options: HttpOptions;
  readonly #limit = new RateLimit(LOG_EVERY_MS);
  #servers: Server[] = [];
  #rendering: Promise<string> | undefined;
  #closed: Promise<void> | undefined;

  constructor(options: HttpOptions) {
    this.#options = options;
  }

  async listenOnFds(fds: readonly number[]): Promise<void> {
    for (const fd of fds) {
      try {
        this.addresses.push(boundAddress(await this.#listen({ fd }), fd));
      } catch (error) {
        throw listenFailed(PURPOSE, `descriptor ${fd.toString()}`, error);
      }
    }
  }

  async listenOn(host: string, port: number): Promise<void> {
    const bind = async (address: string, free: number): Promise<number> =>
      portOf(await this.#listen({ host: address, port: free })) ?? free;
    const release = (taken: number): Promise<void> => this.#release(taken);
    this.addresses.push(...(await bindHost(PURPOSE, host, port, { bind, release })));
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  /** Throws what net.Server does. */
  async #listen(where: ListenOptions | { readonly fd: number }): Promise<Server> {
    const server = this.#createServer();
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(where, () => {
        server.off('error', reject);
        resolve();
      });
    });
    server.on('error', (error) => {
      this.#complain('accept', 'metrics: a connection could not be accepted', error);
    });
    this.#servers.push(server);
    return server;
  }

  async #release(port: number): Promise<void> {
    const released = this.#servers.filter((server) => portOf(server) === port);
    this.#servers = this.#servers.filter((server) => !released.includes(server));
    await Promise.all(released.map((server) => new Promise((resolve) => server.close(resolve))));
  }

  #createServer(): Server {
    const server = createServer(
      {
        maxHeaderSize: LIMITS.maxHeaderBytes,
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
    server.maxConnections = LIMITS.connections;
    server.maxRequestsPerSocket = LIMITS.requestsPerSocket;
    return server;
  }

  /** Never rejects. */
  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      request.resume(); // what is left of a body that nobody reads must not stall the connection
      send(request, response, await this.#answer(request), this.#closed !== undefined);
    } catch (error) {
      this.#complain('serve', 'metrics: a request could not be answered', error);
      response.destroy();
    }
  }

  async #answer(request: IncomingMessage): Promise<Answer> {
    const path = pathOf(request.url ?? '');
    const close = hasBody(request) ? { Connection: 'close' } : {};
    const route = this.#routeOf(path);
    if (route === undefined) return { ...text(404, 'not found'), headers: close };
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      return { ...text(405, 'method not allowed'), headers: { Allow: ALLOWED, ...close } };
    }
    if (hasBody(request)) return { ...text(413, 'no body is taken'), headers: close };
    return route();
  }

  #routeOf(path: string): (() => Answer | Promise<Answer>) | undefined {
    const { page, readiness, contentType } = this.#options;
    switch (path) {
      case '/metrics':
        return () => this.#rendered('metrics', contentType, async () => ({ body: await this.#render() }));
      case '/healthz':
        return () => text(200, 'ok');
      case '/readyz':
        return () => {
          const { ready, reason } = readiness();
          return text(ready ? 200 : 503, reason.replace(/\s+/gu, ' '));
        };
      case '/':
        return page === undefined ? undefined : () => this.#rendered('the status page', HTML, page);
      default:
        return undefined;
    }
  }

  async #rendered(
    what: string,
    type: string,
    render: () => Pick<Answer, 'body' | 'headers'> | Promise<Pick<Answer, 'body'>>,
  ): Promise<Answer> {
    try {
      return { status: 200, type, ...(await render()) };
    } catch (error) {
      this.#complain(what, `${what} could not be rendered`, error);
      return text(500, `${what} could not be rendered`);
    }
  }

  #render(): Promise<string> {
    if (this.#rendering === undefined) {
      const rendering = this.#options.render();
      this.#rendering = rendering;
      const done = (): void => {
        this.#rendering = undefined;
      };
      rendering.then(done, done);
    }
    return this.#rendering;
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
    }, this.#options.closeTimeoutMs ?? CLOSE_TIMEOUT_MS);
    await Promise.all(closed);
    clearTimeout(deadline);
  }
}

function send(request: IncomingMessage, response: ServerResponse, answer: Answer, closing: boolean): void {
  const body = Buffer.from(answer.body);
  response.writeHead(answer.status, {
    'Content-Type': answer.type,
    'Content-Length': body.length,
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
    ...answer.headers,
    ...(closing ? { Connection: 'close' } : {}),
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}

function text(status: number, line: string): Answer {
  return { status, type: TEXT, body: `${line}\n` };
}

/** Nothing here takes one, so that what would send one without end is closed instead. RFC 9112, section 6. */
function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/** The path of a request target in origin or absolute form (RFC 9112, section 3.2), without its query. */
function pathOf(target: string): string {
  return target.replace(/^https?:\/\/[^/?#]*/iu, '').replace(/[?#].*$/su, '');
}

function portOf(server: Server): number | undefined {
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : undefined;
}

function boundAddress(server: Server, fd: number): string {
  const address = server.address();
  // An AF_UNIX socket that was handed over does not tell Node its path.
  if (address === null || address === '') return `fd:${fd.toString()}`;
  return typeof address === 'string' ? address : formatHostPort(address.address, address.port);
}
