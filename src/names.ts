// SPDX-License-Identifier: MIT
// Which candidates there are to watch: those of the configuration, but for a name that
// has several addresses one for each of them.
//
// Why one for each: behind a name there may be several servers, of which one is the
// primary, or one server that is reached in two ways; only a probe of each tells. With a
// connection and a cadence of its own a dead address delays none of the others, and a
// standby on the first of them does not hide the primary on the second.
//
// A name with one address is watched under the configured name, wherever it leads. Before
// its first look-up, which is the first thing that its probe does, a name is watched as if
// it had one.
//
// Invariants: the order is that of the configuration, then of the addresses by number,
// so that a resolver which takes turns changes nothing; never more than MAX_CANDIDATES
// in all, at least one for each configured one. A name for whose addresses there is no
// room is watched as one, and the first of them that answers is used.

import { atAddress, MAX_CANDIDATES } from './candidates.js';
import type { Candidate } from './candidates.js';
import type { Logger } from './log.js';
import { RateLimit } from './log.js';
import { unmapped } from './probe/dial.js';
import { Resolver } from './probe/resolver.js';
import type { Lookup } from './probe/resolver.js';
import type { Timers } from './timers.js';

/** A name with more is no list of servers of one cluster any more. */
export const MAX_ADDRESSES = 8;

const LEFT_OUT_LOG_EVERY_MS = 3_600_000;

export interface NamesOptions {
  /** A look-up has ended well: other candidates may have to be watched. */
  readonly onFound: () => void;
  readonly logger: Logger;
  readonly timers: Timers;
  /** Default: the system's. */
  readonly lookup?: Lookup;
}

export class Names {
  readonly #options: NamesOptions;
  readonly #resolvers = new Map<string, Resolver>();
  /** Hosts whose last look-up failed, though one before did not. */
  readonly #failing = new Set<string>();
  readonly #leftOutLimit: RateLimit;

  constructor(options: NamesOptions) {
    this.#options = options;
    this.#leftOutLimit = new RateLimit(LEFT_OUT_LOG_EVERY_MS, { now: () => options.timers.now() });
  }

  /** The one of this host. */
  resolver(host: string): Resolver {
    const there = this.#resolvers.get(host);
    if (there !== undefined) return there;
    const { timers, lookup } = this.#options;
    const resolver = new Resolver({
      host,
      timers,
      onFound: () => {
        this.#tellFound(host);
        this.#options.onFound();
      },
      onFailed: ({ message }) => {
        this.#tellFailed(host, message);
      },
      ...(lookup === undefined ? {} : { lookup }),
    });
    this.#resolvers.set(host, resolver);
    return resolver;
  }

  /** Whom to watch where these are configured, by what is known of their names; what is known of others is forgotten. */
  candidates(configured: readonly Candidate[]): readonly Candidate[] {
    for (const [host, resolver] of this.#resolvers) {
      if (configured.some((candidate) => candidate.host === host)) continue;
      resolver.close();
      this.#resolvers.delete(host);
      this.#failing.delete(host);
    }
    const { candidates, leftOut } = expanded(configured, (host) => this.#resolvers.get(host)?.known ?? []);
    for (const { name, addresses } of leftOut) this.#tellLeftOut(name, addresses);
    return candidates;
  }

  /** No look-up means anything any more. Idempotent. */
  close(): void {
    for (const resolver of this.#resolvers.values()) resolver.close();
  }

  #tellFailed(host: string, error: string): void {
    if (this.#failing.has(host)) return;
    this.#failing.add(host);
    const addresses = this.#resolvers.get(host)?.known?.join(' ');
    const message = 'a name cannot be looked up: the addresses that it had are used';
    this.#options.logger.warning(message, { host, addresses, error });
  }

  #tellFound(host: string): void {
    if (this.#failing.delete(host)) this.#options.logger.notice('a name can be looked up again', { host });
  }

  #tellLeftOut(candidate: string, addresses: number): void {
    if (this.#leftOutLimit.admit(candidate) === undefined) return;
    this.#options.logger.warning('a name has more addresses than are watched', { candidate, left_out: addresses });
  }
}

export interface Expansion {
  readonly candidates: readonly Candidate[];
  /** How many addresses of which configured candidates have no candidate of their own. */
  readonly leftOut: readonly { readonly name: string; readonly addresses: number }[];
}

/** One for each address, where there are several. Pure. */
export function expanded(
  configured: readonly Candidate[],
  addressesOf: (host: string) => readonly string[],
): Expansion {
  const leftOut: { name: string; addresses: number }[] = [];
  let room = MAX_CANDIDATES - configured.length;
  const candidates = configured.flatMap((candidate) => {
    const addresses = inOrder(addressesOf(candidate.host));
    if (addresses.length < 2) return [candidate];
    const taken = Math.min(addresses.length, MAX_ADDRESSES, 1 + room);
    if (taken < addresses.length) leftOut.push({ name: candidate.name, addresses: addresses.length - taken });
    if (taken < 2) return [candidate];
    room -= taken - 1;
    return addresses.slice(0, taken).map((address) => atAddress(candidate, address));
  });
  return { candidates, leftOut };
}

/** Each once, IPv4 first, by number: not in the order of the resolver, which may be another one each time. */
function inOrder(addresses: readonly string[]): readonly string[] {
  const rank = (address: string): string =>
    address.includes(':')
      ? `6 ${address}`
      : `4 ${address
          .split('.')
          .map((part) => part.padStart(3, '0'))
          .join('.')}`;
  return [...new Set(addresses.map(unmapped))].sort((one, other) => (rank(one) < rank(other) ? -1 : 1));
}
