// SPDX-License-Identifier: MIT
// The addresses of one host name: looked up at each probe connection, and every 30 s
// while connections live. One for each name, shared by all that is probed by it.
//
// Invariants: never two look-ups at a time: getaddrinfo(3) cannot be stopped and keeps
// one of the few threads of libuv's pool until it ends (src/main.ts sees to it that
// there are enough). A look-up that fails leaves the addresses as they were. After
// close() nobody is told of any.

import { lookup as dnsLookup } from 'node:dns';
import { isIP } from 'node:net';

import { FAST_PAUSE_MS } from '../cadence.js';
import type { Timers } from '../timers.js';
import { abortable, abortError } from './deadline.js';
import { isAmong } from './dial.js';
import { ProbeFault } from './failure.js';
import type { ServerAddress } from './observation.js';

/** All addresses of a name, the preferred ones first (RFC 6724; getaddrinfo(3) sorts them). */
export type Lookup = (host: string) => Promise<readonly string[]>;

/** From one look-up to the next while there are connections. */
export const LOOK_UP_EVERY_MS = 30_000;

/** How long a connection waits for a look-up where it has addresses to go to. */
export const PATIENCE_MS = 200;

/** The system's: hosts file, DNS, whatever nsswitch.conf says. */
export const systemLookup: Lookup = (host) =>
  new Promise((resolve, reject) => {
    dnsLookup(host, { all: true, verbatim: true }, (error, found) => {
      if (error === null) resolve(found.map(({ address }) => address));
      else reject(new ProbeFault('dns', `${host}: ${error.code ?? error.message}`, { cause: error }));
    });
  });

export interface ResolverOptions {
  readonly host: string;
  readonly timers: Timers;
  /** Default: the system's. */
  readonly lookup?: Lookup;
  /** Each look-up that found something, before anybody who waits for it goes on. */
  readonly onFound?: (addresses: readonly string[]) => void;
  /** Each that did not, though one before did. */
  readonly onFailed?: (error: Error) => void;
}

export class Resolver {
  readonly #options: ResolverOptions;
  /** What the last look-up found; one that fails changes nothing. */
  #known: readonly string[] | undefined;
  #underWay: Promise<readonly string[]> | undefined;
  /** When the last look-up began or ended. */
  #lookedUpAt = -Infinity;
  /** Somebody has given up on the look-up under way. */
  #isLate = false;
  /** What it found then: the next one need not wait for another. */
  #late: readonly string[] | undefined;
  #closed = false;

  constructor(options: ResolverOptions) {
    this.#options = options;
  }

  /** The host is an address: there is nothing to look up, and it never moves. */
  get isAddress(): boolean {
    return isIP(this.#options.host) !== 0;
  }

  /** All that the last look-up found, each once; undefined: none has found any yet. */
  get known(): readonly string[] | undefined {
    return this.#known;
  }

  /** The name is known not to have this address any more. */
  hasLeft(address: ServerAddress): boolean {
    return this.#known !== undefined && !isAmong(this.#known, address);
  }

  /**
   * Looks up, for a connection: all addresses, however many. A resolver that is down, or slow, does not keep anybody from
   * the addresses that are known: whether the right server is there its answer tells.
   * @throws ProbeFault dns, or the signal's reason
   */
  async addresses(signal: AbortSignal): Promise<readonly string[]> {
    if (this.isAddress) return [this.#options.host];
    // Nobody would hear how a look-up ends that is begun now.
    if (signal.aborted) throw abortError(signal);
    const late = this.#late;
    this.#late = undefined;
    if (late !== undefined) return late;
    const found = this.#begin();
    const known = this.#known;
    return abortable<readonly string[]>(signal, (resolve, reject) => {
      const { timers } = this.#options;
      const cancel = known === undefined ? () => undefined : timers.after(PATIENCE_MS, () => resolve(known));
      const failed = known === undefined ? reject : () => resolve(known);
      found.then(resolve, failed).finally(cancel);
      return () => {
        cancel();
        this.#isLate = true;
      };
    });
  }

  /**
   * For a connection of which it is known where it goes all the same. Waits for nothing, never throws. Many addresses of
   * one name that are all connected to make no more look-ups than one, and those that a look-up has just found none: else
   * a slow resolver that gives others each time would be asked without end.
   */
  lookUp(): void {
    this.#lookUpAfter(FAST_PAUSE_MS);
  }

  /** While connections live: looks up if the last time is long enough ago. Waits for nothing, never throws. */
  lookUpIfDue(): void {
    this.#lookUpAfter(LOOK_UP_EVERY_MS);
  }

  /** Idempotent. */
  close(): void {
    this.#closed = true;
  }

  #lookUpAfter(pauseMs: number): void {
    if (this.isAddress || this.#closed) return;
    if (this.#options.timers.now() - this.#lookedUpAt >= pauseMs) void this.#begin();
  }

  /** The look-up under way, or a new one. Its failure need not be heard by anybody. */
  #begin(): Promise<readonly string[]> {
    if (this.#underWay !== undefined) return this.#underWay;
    const { host, timers, lookup = systemLookup } = this.#options;
    const ended = (): void => {
      this.#underWay = undefined;
      this.#lookedUpAt = timers.now();
    };
    this.#lookedUpAt = timers.now();
    const found = lookup(host).then(
      (all) => {
        ended();
        return this.#found([...new Set(all)]);
      },
      (error: unknown) => {
        ended();
        this.#isLate = false;
        throw this.#failed(error instanceof Error ? error : new Error(String(error)));
      },
    );
    this.#underWay = found;
    found.catch(() => undefined);
    return found;
  }

  #found(addresses: readonly string[]): readonly string[] {
    const isLate = this.#isLate;
    this.#isLate = false;
    if (addresses.length === 0) throw this.#failed(new ProbeFault('dns', `${this.#options.host}: no address`));
    if (this.#closed) return addresses;
    this.#known = addresses;
    this.#late = isLate ? addresses : undefined;
    this.#options.onFound?.(addresses);
    return addresses;
  }

  #failed(error: Error): Error {
    if (this.#known !== undefined && !this.#closed) this.#options.onFailed?.(error);
    return error;
  }
}
