// SPDX-License-Identifier: MIT
// Servers that are no PostgreSQL: what a candidate list may point at by mistake or
// in an emergency.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';

export interface FakeServer {
  readonly port: number;
  /** As the candidate list has it. */
  readonly candidate: string;
  /** Connections that were accepted so far. */
  readonly accepted: number;
  close(): Promise<void>;
}

/** Accepts every connection and never says a word. */
export function silentServer(): Promise<FakeServer> {
  return listen(() => undefined);
}

/** Answers every connection with bytes that are no PostgreSQL protocol, and goes on for ever. */
export function garbageServer(): Promise<FakeServer> {
  const garbage = Buffer.from('HTTP/1.1 400 Bad Request\r\nServer: not PostgreSQL\r\n\r\n'.repeat(100));
  return listen((socket) => {
    const write = (): void => {
      while (socket.writable && socket.write(garbage));
    };
    socket.on('drain', write);
    write();
  });
}

/** Accepts every connection and closes it at once. */
export function slammingServer(): Promise<FakeServer> {
  return listen((socket) => socket.destroy());
}

export interface MovableAddress extends FakeServer {
  /** New connections go to this port. Of the old ones only the newest are kept; the others get a reset. */
  moveTo(port: number, options: { readonly keepNewest: number }): void;
  /** New connections are refused from now on, and something else may listen here; the old ones stay. */
  refuse(): void;
}

/** An address that can be moved to another server on 127.0.0.1 while connections stay where they are. */
export async function movableAddress(firstPort: number): Promise<MovableAddress> {
  let port = firstPort;
  let connections: Socket[] = [];
  const server = await listen((client) => {
    const backend = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    connections.push(client);
    client.pipe(backend).pipe(client);
    backend.on('error', () => client.destroy());
    client.on('close', () => {
      backend.destroy();
      connections = connections.filter((other) => other !== client);
    });
  });
  return {
    ...server,
    get accepted() {
      return server.accepted;
    },
    moveTo: (next, { keepNewest }) => {
      port = next;
      for (const client of connections.slice(0, connections.length - keepNewest)) client.resetAndDestroy();
    },
  };
}

async function listen(serve: (socket: Socket) => void): Promise<FakeServer & Pick<MovableAddress, 'refuse'>> {
  const sockets = new Set<Socket>();
  let accepted = 0;
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    accepted += 1;
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    serve(socket);
  });
  server.listen({ port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
  // A string would be a UNIX socket, null a server that does not listen.
  const { port } = server.address() as AddressInfo;
  return {
    port,
    candidate: `127.0.0.1:${port}`,
    get accepted() {
      return accepted;
    },
    // Node stops listening before it returns, and waits for the connections only with the event.
    refuse: () => void server.close(),
    close: async () => {
      for (const socket of sockets) socket.destroy();
      if (!server.listening) return;
      server.close();
      await once(server, 'close');
    },
  };
}
