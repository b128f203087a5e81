// SPDX-License-Identifier: MIT
// A control socket whose answers the test decides: what a gateway says, a connection that
// breaks as when all of its connections are taken, or nothing as when it stands still.

import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { join } from 'node:path';

import { atExit } from './cleanup.js';
import { temporaryFolder } from './paths.js';
import type { TemporaryFolder } from './paths.js';

/** `gone`: nobody listens from now on, and the connection breaks. */
export type ControlReply = { readonly status?: number; readonly document: object } | 'break' | 'silence' | 'gone';

export class FakeControl {
  readonly socket: string;
  readonly #folder: TemporaryFolder;
  readonly #server: Server;
  readonly #reply: (asked: string) => ControlReply;
  readonly #forget: () => void;
  #unanswered = 0;

  private constructor(folder: TemporaryFolder, reply: (asked: string) => ControlReply) {
    this.#folder = folder;
    this.#reply = reply;
    this.socket = join(folder.path, 'control.sock');
    this.#server = createServer((request, response) => {
      this.#serve(request, response);
    });
    this.#forget = atExit({ close: () => this.close(), closeNow: () => undefined });
  }

  /** @param reply to what is asked, as in `GET /v1/status` */
  static async start(reply: (asked: string) => ControlReply): Promise<FakeControl> {
    const control = new FakeControl(await temporaryFolder(), reply);
    await new Promise<void>((resolve) => control.#server.listen(control.socket, resolve));
    return control;
  }

  /** Connections whose question is met with silence, and that are still open. */
  get unanswered(): number {
    return this.#unanswered;
  }

  async close(): Promise<void> {
    this.#forget();
    this.#end();
    await this.#folder.close();
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const reply = this.#reply(`${request.method ?? ''} ${request.url ?? ''}`);
    request.resume();
    if (reply === 'silence') {
      this.#unanswered += 1;
      request.socket.once('close', () => (this.#unanswered -= 1));
    } else if (reply === 'break') {
      request.socket.destroy();
    } else if (reply === 'gone') {
      this.#end();
    } else {
      response.writeHead(reply.status ?? 200, { 'Content-Type': 'application/json' });
      response.end(JSON.stringify(reply.document));
    }
  }

  #end(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}
