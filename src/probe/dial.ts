// SPDX-License-Identifier: MIT
// From a candidate's name to a connected socket.
//
// Owns the look-up and the sockets of attempts that lost; the winner is the
// caller's. Everything ends with the signal.

import { lookup as dnsLookup } from 'node:dns';
import { isIP, Socket } from 'node:net';

import type { Timers } from '../timers.js';
import { abortable, abortError } from './deadline.js';
import { ProbeFault } from './failure.js';
import type { ServerAddress } from './observation.js';

/** All addresses of a name, the preferred ones first (RFC 6724; getaddrinfo(3) sorts them). */
export type Lookup = (host: string) => Promise<readonly string[]>;

/** More addresses of one name are not tried: all have to share one connect timeout. */
const MAX_ADDRESSES = 8;
/** How long one address is waited for before the next is tried beside it (RFC 8305, "Connection Attempt Delay"). */
const NEXT_ADDRESS_AFTER_MS = 100;

/** The system's: hosts file, DNS, whatever nsswitch.conf says. */
export const systemLookup: Lookup = (host) =>
  new Promise((resolve, reject) => {
    dnsLookup(host, { all: true, verbatim: true }, (error, found) => {
      if (error === null) resolve(found.map(({ address }) => address));
      else reject(new ProbeFault('dns', `${host}: ${error.code ?? error.message}`, { cause: error }));
    });
  });

/**
 * Looks one candidate's name up, never twice at a time: getaddrinfo(3) cannot be stopped and keeps one of the few
 * threads of libuv's pool until it ends. One that outlives its probe is taken over by the next.
 */
export class Resolver {
  readonly #host: string;
  readonly #lookup: Lookup;
  #pending: Promise<readonly string[]> | undefined;

  constructor(host: string, lookup: Lookup = systemLookup) {
    this.#host = host;
    this.#lookup = lookup;
  }

  /** The host is an address: there is nothing to look up, and it never moves. */
  get isAddress(): boolean {
    return isIP(this.#host) !== 0;
  }

  /**
   * All of them, however many.
   * @throws ProbeFault dns
   */
  async addresses(signal: AbortSignal): Promise<readonly string[]> {
    if (this.isAddress) return [this.#host];
    // Nobody would hear how a look-up ends that is begun now.
    if (signal.aborted) throw abortError(signal);
    const pending = (this.#pending ??= this.#lookup(this.#host));
    const found = await abortable<readonly string[]>(signal, (resolve, reject) => {
      pending.then(
        (addresses) => {
          this.#forget(pending, signal);
          resolve(addresses);
        },
        (error: unknown) => {
          this.#pending = undefined;
          reject(error instanceof Error ? error : new Error(String(error)));
        },
      );
      return () => undefined;
    });
    if (found.length === 0) throw new ProbeFault('dns', `${this.#host}: no address`);
    return [...new Set(found)];
  }

  /** An answer that came too late for its probe stays for the next one. */
  #forget(pending: Promise<readonly string[]>, signal: AbortSignal): void {
    if (!signal.aborted && this.#pending === pending) this.#pending = undefined;
  }
}

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
function unmapped(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address);
  return mapped?.[1] ?? address;
}

/** Whether a server's address is one of those of a look-up, which leaves out the zone of a link-local one. */
export function isAmong(addresses: readonly string[], { address }: ServerAddress): boolean {
  const comparable = (one: string): string => unmapped(one).replace(/%.*$/, '');
  return addresses.some((one) => comparable(one) === comparable(address));
}
