// SPDX-License-Identifier: MIT
// How a configured host becomes listening sockets: the same rules for clients and
// for metrics. `::`, `*` and '' serve both families, falling back to IPv4 where IPv6
// is off; a name is bound on every address it has (as PostgreSQL's listen_addresses).

import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { getSystemErrorMap } from 'node:util';

import { formatHostPort } from './candidates.js';
import { GatewayError } from './errors.js';

/** `EADDRINUSE (address already in use)` for a system error, else its message. */
function errorText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const errno = 'errno' in error && typeof error.errno === 'number' ? getSystemErrorMap().get(error.errno) : undefined;
  return errno === undefined ? error.message : `${errno[0]} (${errno[1]})`;
}

/** Who holds the sockets. */
export interface Binder {
  /** Binds and listens on one numeric address; the port it got. Throws an error with Node's `code` and `errno`. */
  bind(address: string, port: number): number | Promise<number>;
  /** Lets go of all that is bound to the port, before anybody is served there. */
  release(port: number): void | Promise<void>;
}

/** A port that is free on one address may be taken on the next: how many are tried. */
const FREE_PORTS_TRIED = 10;

/**
 * Binds every address of `host`, as bindAddresses() does.
 * @param purpose for the message: `accept clients`, `serve metrics`
 * @returns what is listened on, as formatHostPort() texts
 * @throws GatewayError LISTEN_FAILED naming the address and what prevented it
 */
export async function bindHost(
  purpose: string,
  host: string,
  port: number,
  binder: Binder,
): Promise<readonly string[]> {
  const any = host === '' || host === '*' || host === '::';
  const addresses = any ? ['::', '0.0.0.0'] : await addressesOf(purpose, host);
  return bindAddresses(purpose, addresses, port, binder);
}

/** Binds all of them; with port 0 to one port that is free on each. For the rest see bindHost(). */
export async function bindAddresses(
  purpose: string,
  addresses: readonly string[],
  port: number,
  binder: Binder,
  tries = FREE_PORTS_TRIED,
): Promise<readonly string[]> {
  const bound: string[] = [];
  let actualPort = port;
  let missing: unknown;
  for (const address of addresses) {
    try {
      actualPort = await binder.bind(address, actualPort);
      bound.push(formatHostPort(address, actualPort));
      if (address === '::') break; // it serves IPv4 too
    } catch (error) {
      if (port === 0 && bound.length > 0 && tries > 1 && hasCode(error, 'EADDRINUSE')) {
        await binder.release(actualPort);
        return bindAddresses(purpose, addresses, port, binder, tries - 1);
      }
      // `localhost` is often ::1 as well where IPv6 is off. One address that works is enough.
      if (!isAddressMissing(error)) throw listenFailed(purpose, formatHostPort(address, actualPort), error);
      missing = listenFailed(purpose, formatHostPort(address, actualPort), error);
    }
  }
  if (bound.length === 0) throw missing;
  return bound;
}

async function addressesOf(purpose: string, host: string): Promise<readonly string[]> {
  if (isIP(host) !== 0) return [host];
  try {
    const found = await lookup(host, { all: true, verbatim: true });
    return [...new Set(found.map(({ address }) => address))];
  } catch (error) {
    throw listenFailed(purpose, `the name ${host}`, error);
  }
}

/** @param where an address, a name, a descriptor */
export function listenFailed(purpose: string, where: string, cause: unknown): GatewayError {
  return new GatewayError('LISTEN_FAILED', `cannot ${purpose} on ${where}: ${errorText(cause)}`, { cause });
}

/** The address family is off, or no interface has the address. */
function isAddressMissing(error: unknown): boolean {
  return hasCode(error, 'EAFNOSUPPORT') || hasCode(error, 'EADDRNOTAVAIL');
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
