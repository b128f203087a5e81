// SPDX-License-Identifier: MIT
// The ways to the server that are compared: direct, each peer, this gateway.

import { Gateway } from '../helpers/gateway.js';
import { Peer } from './peers.js';
import { DIRECT, GATEWAY } from './samples.js';
import type { PeerName } from './settings.js';

export interface Route {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** Of what is in between; none for the direct way. */
  readonly pids: readonly number[];
  close(): Promise<void>;
}

export interface RouteOptions {
  readonly serverPort: number;
  readonly workers: number;
  readonly connections: number;
}

export function directRoute(serverPort: number): Route {
  return { name: DIRECT, host: '127.0.0.1', port: serverPort, pids: [], close: () => Promise.resolve() };
}

export async function peerRoute(peer: PeerName, options: RouteOptions): Promise<Route> {
  const started = await Peer.start(peer, options);
  return {
    name: started.title,
    host: started.host,
    port: started.port,
    pids: started.pids,
    close: () => started.close(),
  };
}

/** With the settings of the product, not the shorter ones of the tests. */
export async function gatewayRoute({ serverPort, workers }: RouteOptions): Promise<Route> {
  const candidate = `127.0.0.1:${serverPort}`;
  const gateway = await Gateway.start({
    candidates: [candidate],
    env: { CHECK_EVERY: undefined, HOLD_TIMEOUT_MS: undefined, NUM_THREADS: String(workers) },
  });
  try {
    await gateway.primaryIs(candidate);
  } catch (error) {
    await gateway.close();
    throw error;
  }
  const { host, port } = gateway.clients;
  return { name: GATEWAY, host, port, pids: [gateway.pid], close: () => gateway.close() };
}

/** Each work for each route, in every round in another order: none is always the first, or after the same one. */
export async function interleaved<T>(
  rounds: number,
  items: readonly T[],
  work: (item: T, round: number) => Promise<void>,
): Promise<void> {
  for (let round = 1; round <= rounds; round += 1) {
    const first = (round - 1) % Math.max(items.length, 1);
    const order = [...items.slice(first), ...items.slice(0, first)];
    for (const item of round % 2 === 0 ? order.reverse() : order) await work(item, round);
  }
}
