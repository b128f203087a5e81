// SPDX-License-Identifier: MIT
// Free ports for servers that must be told theirs and keep it over a restart.

import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';

const TRIES = 100;

/**
 * A port that is free on 127.0.0.1 (and ::1) now, from the range that the kernel does not use for outgoing
 * connections: none of those can take it while its server is down.
 */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < TRIES; tries += 1) {
    const port = randomInt(10_000, Math.max(firstEphemeralPort(), 20_000));
    if ((await isFree(port, '127.0.0.1')) && (await isFree(port, '::1'))) return port;
  }
  throw new Error(`no free port found in ${TRIES} tries`);
}

/** ip(7): ip_local_port_range. */
function firstEphemeralPort(): number {
  return Number(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').split(/\s+/)[0]);
}

async function isFree(port: number, host: string): Promise<boolean> {
  const server = createServer();
  try {
    server.listen({ port, host, exclusive: true });
    await once(server, 'listening');
    return true;
  } catch (error) {
    // Where there is no IPv6 nothing else can have the port there.
    return error instanceof Error && 'code' in error && ['EADDRNOTAVAIL', 'EAFNOSUPPORT'].includes(String(error.code));
  } finally {
    server.close();
  }
}
