// SPDX-License-Identifier: MIT
// The control socket: AF_UNIX, HTTP, JSON. Who may open it is said by the permissions of
// its file (0660); who has opened it may do everything.
// Its sockets are the one it binds, with its file, and its copies of those it was handed.
//
// Invariants as those of ../strict-http.ts: no request can make the process fail, wait or grow.

import { lstatSync, unlinkSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { connect } from 'node:net';

import { listenFailed } from '../bind-host.js';
import type { Logger } from '../log.js';
import { StrictHttp } from '../strict-http.js';
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

const MAX_BODY_BYTES = 65_536;
const MAX_CONNECTIONS = 16;
const STALE_TIMEOUT_MS = 1000;
const PURPOSE = 'serve administrators';
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
  readonly #desk: Desk;
  readonly #http: StrictHttp;

  constructor({ desk, logger, closeTimeoutMs }: ControlOptions) {
    this.#desk = desk;
    this.#http = new StrictHttp({
      name: 'control',
      maxConnections: MAX_CONNECTIONS,
      serve: (request, response) => this.#serve(request, response),
      logger,
      closeTimeoutMs,
    });
  }

  async listenOnFd(fd: number): Promise<void> {
    try {
      await this.#http.listen({ fd });
    } catch (error) {
      throw listenFailed(PURPOSE, `descriptor ${fd.toString()}`, error);
    }
    this.addresses.push(`fd:${fd.toString()}`);
  }

  async listenOnPath(path: string): Promise<void> {
    try {
      if (await isStale(path)) unlinkSync(path);
      // The file is made during this call, and never has other permissions.
      const before = process.umask(UMASK);
      let listening: Promise<unknown>;
      try {
        listening = this.#http.listen({ path });
      } finally {
        process.umask(before);
      }
      await listening;
    } catch (error) {
      throw listenFailed(PURPOSE, path, error);
    }
    this.addresses.push(path);
  }

  close(): Promise<void> {
    return this.#http.close();
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    send(response, await this.#answer(request), this.#http.closing);
  }

  async #answer(request: IncomingMessage): Promise<ApiAnswer> {
    const body = await bodyOf(request);
    if (body === undefined) return refusal(413, 'CONTROL_REQUEST', `at most ${MAX_BODY_BYTES} bytes expected`);
    const target = request.url ?? '';
    const [path = '', query = ''] = target.split('?', 2);
    const asked = { method: request.method ?? '', path, query: new URLSearchParams(query), body };
    try {
      return await answer(this.#desk, asked);
    } catch (error) {
      this.#http.complain('answer', 'a request could not be answered', error);
      return refusal(500, 'INTERNAL', 'a fault of the gateway: the log has it');
    }
  }
}

/** Undefined: it is too long. What is too long is read to its end, and thrown away. */
async function bodyOf(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length <= MAX_BODY_BYTES) chunks.push(chunk);
    else chunks.length = 0;
  }
  return length <= MAX_BODY_BYTES ? Buffer.concat(chunks).toString() : undefined;
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
    socket.setTimeout(STALE_TIMEOUT_MS, () => {
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
