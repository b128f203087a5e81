// SPDX-License-Identifier: MIT
// The debug lines about single sessions: when one is opened, closed, or a client
// turned away. The workers record these only while the level is debug.
//
// Invariant: clients cannot cause more lines than the budget; what is left out is counted.

import { formatHostPort } from './candidates.js';
import type { CutReason, EndReason, RejectReason } from './dataplane-stats.js';
import type { LogFields, Logger } from './log.js';
import type { Timers } from './timers.js';

interface SessionFacts {
  /** Numeric; `unix` of an AF_UNIX client; empty: the connection broke before anybody asked. */
  readonly clientAddress: string;
  readonly clientPort: number;
}

interface ServedSession extends SessionFacts {
  /** Slot of the server. */
  readonly server: number;
  /** Of the gateway's connection to the server (pg_stat_activity.client_port); 0: it has none. */
  readonly sourcePort: number;
  /** opened: what connecting took; closed: since the connecting began. */
  readonly seconds: number;
  readonly bytesClientToBackend: number;
  readonly bytesBackendToClient: number;
}

/** What a worker recorded, made by native/session_events_object.cc. */
export type SessionEvent =
  | (ServedSession & { readonly kind: 'opened' })
  | (ServedSession & { readonly kind: 'closed'; readonly reason: EndReason | CutReason })
  | (SessionFacts & { readonly kind: 'turned_away'; readonly reason: RejectReason });

export interface SessionEvents {
  /** Each worker's are in their order. */
  readonly events: readonly SessionEvent[];
  /** Not recorded: a worker's ring was full. */
  readonly lost: number;
}

export interface SessionLogOptions {
  readonly logger: Logger;
  /** What was recorded since the last call. */
  readonly take: () => SessionEvents;
  /** Name of the server in a slot. */
  readonly serverName: (slot: number) => string | undefined;
  readonly timers: Timers;
}

const DRAIN_EVERY_MS = 200;
/** Together 8,000 in 30 s: below what journald takes from a service (journald.conf(5), RateLimitBurst=), so that it
 * drops neither these nor, with them, warnings. */
const BURST_LINES = 2000;
const LINES_PER_SECOND = 200;

export class SessionLog {
  readonly #options: SessionLogOptions;
  #cancel: (() => void) | undefined;
  #credit = BURST_LINES;
  #creditAt: number;
  #leftOut = 0;

  constructor(options: SessionLogOptions) {
    this.#options = options;
    this.#creditAt = options.timers.now();
  }

  /** Writes, from now on, what the workers record; or stops. Idempotent. */
  enable(on: boolean): void {
    if (on === (this.#cancel !== undefined)) return;
    if (on) {
      // What was recorded between the last drain and the moment the workers heard that it is over.
      this.#options.take();
      this.#leftOut = 0;
      this.#schedule();
    } else {
      this.drain();
      this.#cancel?.();
      this.#cancel = undefined;
    }
  }

  /** Writes what has been recorded so far. */
  drain(): void {
    if (this.#cancel === undefined) return;
    const { events, lost } = this.#options.take();
    this.#earn();
    this.#tellGap();
    for (const event of events) {
      if (this.#spend()) this.#write(event);
      else this.#leftOut += 1;
    }
    this.#leftOut += lost;
  }

  /** Writes the rest. Idempotent. */
  close(): void {
    this.enable(false);
    if (this.#leftOut > 0) this.#credit = Math.max(this.#credit, 1);
    this.#tellGap();
  }

  #schedule(): void {
    this.#cancel = this.#options.timers.after(DRAIN_EVERY_MS, () => {
      this.drain();
      this.#schedule();
    });
  }

  #earn(): void {
    const now = this.#options.timers.now();
    this.#credit = Math.min(BURST_LINES, this.#credit + ((now - this.#creditAt) / 1000) * LINES_PER_SECOND);
    this.#creditAt = now;
  }

  #spend(): boolean {
    if (this.#credit < 1) return false;
    this.#credit -= 1;
    return true;
  }

  #tellGap(): void {
    if (this.#leftOut === 0 || !this.#spend()) return;
    this.#options.logger.debug('session lines were left out: there were too many', { lines: this.#leftOut });
    this.#leftOut = 0;
  }

  #write(event: SessionEvent): void {
    const { logger } = this.#options;
    const client = clientName(event);
    if (event.kind === 'turned_away') {
      logger.debug('client turned away', { client, reason: event.reason });
    } else if (event.kind === 'opened') {
      const connect_ms = Math.round(event.seconds * 1e4) / 10;
      logger.debug('session opened', { client, ...this.#serverFields(event), connect_ms });
    } else {
      logger.debug('session closed', {
        client,
        ...this.#serverFields(event),
        age_s: Math.round(event.seconds * 1e3) / 1e3,
        bytes_client_to_backend: event.bytesClientToBackend,
        bytes_backend_to_client: event.bytesBackendToClient,
        reason: event.reason,
      });
    }
  }

  #serverFields({ server, sourcePort }: ServedSession): LogFields {
    return {
      server: this.#options.serverName(server) ?? server,
      source_port: sourcePort === 0 ? undefined : sourcePort,
    };
  }
}

function clientName({ clientAddress, clientPort }: SessionFacts): string {
  if (clientAddress === '') return 'unknown';
  return clientPort === 0 ? clientAddress : formatHostPort(clientAddress, clientPort);
}
