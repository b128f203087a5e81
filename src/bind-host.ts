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

/** Binds and listens on one numeric address; the port it got. Throws an error with Node's `code` and `errno`. */
export type Bind = (address: string, port: number) => number | Promise<number>;

/**
 * Binds every address of `host`; with port 0 all get the port that the first one was given.
 * @param purpose for the message: `accept clients`, `serve metrics`
 * @returns what is listened on, as formatHostPort() texts
 * @throws GatewayError LISTEN_FAILED naming the address and what prevented it
 */
export async function bindHost(purpose: string, host: string, port: number, bind: Bind): Promise<readonly string[]> {
  const bound: string[] = [];
  let actualPort = port;
  let missing: unknown;
  const any = host === '' || host === '*' || host === '::';
  for (const address of any ? ['::', '0.0.0.0'] : await addressesOf(purpose, host)) {
    try {
      actualPort = await bind(address, actualPort);
      bound.push(formatHostPort(address, actualPort));
      if (any) break; // `::` serves IPv4 too
    } catch (error) {
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
  return error instanceof Error && 'code' in error && (error.code === 'EAFNOSUPPORT' || error.code === 'EADDRNOTAVAIL');
}
