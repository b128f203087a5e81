// SPDX-License-Identifier: MIT
// Where client programs (pgbench, psql) connect to: hands each of their connections on to the gateway by one that is
// counted. It passes on an end of stream and a broken connection as what they are.

import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';

import { atExit } from '../helpers/cleanup.js';
import { message } from '../helpers/pg-session.js';
import type { Target } from '../helpers/psql.js';
import { Counted } from './counted.js';
import type { Tally } from './tally.js';

/** No message that is sent here in great numbers ends like this. */
const TERMINATE = message('X', new Uint8Array());

export class Door {
  readonly target: Target;
  readonly #server: Server;
  readonly #open: Set<Counted>;
  readonly #forget: () => void;

  private constructor(server: Server, open: Set<Counted>) {
    this.#server = server;
    this.#open = open;
    // A string would be a UNIX socket, null a server that does not listen.
    this.target = { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
    this.#forget = atExit({ close: () => this.close(), closeNow: () => undefined });
  }

  static async open(tally: Tally, gateway: Target): Promise<Door> {
    const open = new Set<Counted>();
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (program) => {
      const counted = new Counted(tally, 'a session of a program', gateway, { allowHalfOpen: true });
      open.add(counted);
      void counted.over.then(() => open.delete(counted));
      join(program, counted);
    });
    server.listen({ port: 0, host: '127.0.0.1' });
    await once(server, 'listening');
    return new Door(server, open);
  }

  /** Every program has left. */
  async close(): Promise<void> {
    if (!this.#server.listening) return;
    this.#server.close();
    for (const counted of this.#open) counted.socket.destroy();
    await Promise.all([...this.#open].map(({ over }) => over));
    this.#forget();
  }
}

function join(program: Socket, counted: Counted): void {
  const { socket } = counted;
  program.pipe(socket, { end: false });
  socket.pipe(program, { end: false });
  program.on('data', (chunk: Buffer) => {
    counted.busy(true);
    // The server's end may be here before the program's own.
    if (chunk.subarray(-TERMINATE.length).equals(TERMINATE)) counted.leaves('either');
  });
  socket.on('data', () => {
    counted.busy(false);
  });
  program.on('end', () => {
    // If the other end has come first, it was no goodbye.
    if (!socket.readableEnded) counted.leaves('either');
    socket.end();
  });
  program.on('error', () => socket.destroy());
  socket.on('end', () => program.end());
  socket.on('close', () => {
    // What the gateway has said to its end is still on its way to the program.
    if (socket.readableEnded) program.end();
    else program.destroy();
  });
}
