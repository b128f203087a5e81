// SPDX-License-Identifier: MIT
// The HTTP listener: GET and HEAD of /metrics, /healthz, /readyz and /, nothing else.
// Its sockets are those it binds and its copies of those it was handed.
//
// Invariants beside those of strict-http.ts: no body is taken, and scrapes that come
// together are rendered once. No browser's script of another origin may read an answer:
// there is no CORS.

import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { bindHost, listenFailed } from './bind-host.js';
import { formatHostPort } from './candidates.js';
import type { Logger } from './log.js';
import { portOf, StrictHttp } from './strict-http.js';

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

const MAX_CONNECTIONS = 64;
const CLOSE_TIMEOUT_MS = 1000;
const PURPOSE = 'serve metrics';
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
  readonly #http: StrictHttp;
  #rendering: Promise<string> | undefined;

  constructor(options: HttpOptions) {
    this.#options = options;
    this.#http = new StrictHttp({
      name: 'metrics',
      maxConnections: MAX_CONNECTIONS,
      serve: (request, response) => this.#serve(request, response),
      logger: options.logger,
      closeTimeoutMs: options.closeTimeoutMs ?? CLOSE_TIMEOUT_MS,
    });
  }

  async listenOnFds(fds: readonly number[]): Promise<void> {
    for (const fd of fds) {
      try {
        this.addresses.push(boundAddress(await this.#http.listen({ fd }), fd));
      } catch (error) {
        throw listenFailed(PURPOSE, `descriptor ${fd.toString()}`, error);
      }
    }
  }

  async listenOn(host: string, port: number): Promise<void> {
    const bind = async (address: string, free: number): Promise<number> =>
      portOf(await this.#http.listen({ host: address, port: free })) ?? free;
    const release = (taken: number): Promise<void> => this.#http.release(taken);
    this.addresses.push(...(await bindHost(PURPOSE, host, port, { bind, release })));
  }

  close(): Promise<void> {
    return this.#http.close();
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    request.resume(); // what is left of a body that nobody reads must not stall the connection
    send(request, response, await this.#answer(request), this.#http.closing);
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
        return () => this.#rendered('the metrics', contentType, async () => ({ body: await this.#render() }));
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
      this.#http.complain(what, `${what} could not be rendered`, error);
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

function boundAddress(server: Server, fd: number): string {
  const address = server.address();
  // An AF_UNIX socket that was handed over does not tell Node its path.
  if (address === null || address === '') return `fd:${fd.toString()}`;
  return typeof address === 'string' ? address : formatHostPort(address.address, address.port);
}
