// SPDX-License-Identifier: MIT
// From addresses to a connected socket.
//
// Owns the sockets of attempts that lost; the winner is the caller's. Everything ends
// with the signal.

import { Socket } from 'node:net';

import type { Timers } from '../timers.js';
import { abortable } from './deadline.js';
import { ProbeFault } from './failure.js';
import type { ServerAddress } from './observation.js';

/** More addresses of one name are not tried: all have to share one connect timeout. */
const MAX_ADDRESSES = 8;
/** How long one address is waited for before the next is tried beside it (RFC 8305, "Connection Attempt Delay"). */
const NEXT_ADDRESS_AFTER_MS = 100;

export interface Dialled {
  readonly socket: Socket;
  /** The peer of this very socket. */
  readonly address: ServerAddress;
}

/**
 * Connects to the first address that accepts. They are tried in turn, the next one when one fails or is slow.
 * @throws the error of the first address, when all have failed
 */
export function dial(
  addresses: readonly string[],
  port: number,
  signal: AbortSignal,
  timers: Timers,
): Promise<Dialled> {
  return abortable(signal, (resolve, reject) => {
    const attempts = new Set<Socket>();
    const untried = addresses.slice(0, MAX_ADDRESSES);
    let firstError: Error | undefined;
    let cancelNext = (): void => undefined;
    let over = false;
    const finish = (winner?: Socket): void => {
      over = true;
      cancelNext();
      for (const socket of attempts) {
        if (socket !== winner) socket.destroy();
      }
    };
    const fail = (socket: Socket, error: Error): void => {
      attempts.delete(socket);
      socket.destroy();
      if (over) return;
      firstError ??= error;
      tryNext();
    };
    function tryNext(): void {
      cancelNext();
      const address = untried.shift();
      if (address === undefined) {
        if (attempts.size > 0) return;
        finish();
        reject(firstError ?? new ProbeFault('dns', 'no address to connect to'));
        return;
      }
      const socket = new Socket();
      attempts.add(socket);
      // Stays for the socket's life: an error nobody listens to would end the process.
      socket.on('error', (error) => fail(socket, error));
      socket.once('connect', () => {
        const peer = peerOf(socket);
        if (peer === undefined) {
          fail(socket, new ProbeFault('refused', `${address}: nothing listens there`));
          return;
        }
        finish(socket);
        resolve({ socket, address: peer });
      });
      socket.connect({ host: address, port, noDelay: true });
      if (untried.length > 0) cancelNext = timers.after(NEXT_ADDRESS_AFTER_MS, tryNext);
    }
    tryNext();
    return finish;
  });
}

/**
 * Undefined: the connection is over already, or it is one with itself. The latter happens when a port of the
 * ephemeral range on this host has no listener and the kernel happens to choose it as the source port too; it would
 * keep the real server from binding its port.
 */
function peerOf({ remoteAddress, remotePort, localAddress, localPort }: Socket): ServerAddress | undefined {
  if (remoteAddress === undefined || remotePort === undefined) return undefined;
  if (remoteAddress === localAddress && remotePort === localPort) return undefined;
  return { address: unmapped(remoteAddress), port: remotePort };
}

/** An IPv4 peer of a dual-stack socket; the data plane connects by IPv4 then. */
export function unmapped(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address);
  return mapped?.[1] ?? address;
}

/** Whether a server's address is one of those of a look-up, which leaves out the zone of a link-local one. */
export function isAmong(addresses: readonly string[], { address }: Pick<ServerAddress, 'address'>): boolean {
  const comparable = (one: string): string => unmapped(one).replace(/%.*$/, '');
  return addresses.some((one) => comparable(one) === comparable(address));
}
