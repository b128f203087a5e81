// SPDX-License-Identifier: MIT
// Questions to the workers about single sessions, and orders to end some: each has a
// number, and is answered when every worker has answered, on the event loop.
//
// Invariants: every promise is settled within the deadline, whether a worker stands
// still or not; at most MAX_PENDING questions are with the workers at any time.

import { GatewayError } from './errors.js';
import type { Timers } from './timers.js';

/** Which sessions are asked for. What is left out means any. */
export interface SessionQuery {
  /** Numeric address, or `unix`: clients without one. */
  readonly client?: string;
  /** Port of the client, with `client`. */
  readonly clientPort?: number;
  /** Slot of the server. */
  readonly server?: number;
  /** Nothing came from the server or went to it for so long, milliseconds. */
  readonly idleMs?: number;
  /** Of the gateway's connection to the server: pg_stat_activity.client_port there. */
  readonly port?: number;
  /** The most that are told. */
  readonly limit: number;
}

/** Words of the control interface; keep them stable. */
export type SessionStage =
  | 'silent' // it has not said yet what it wants
  | 'held' // it waits for a server
  | 'starting' // it is being connected, or its server has not answered its startup message yet
  | 'open';

/** One session as its worker knows it; made by native/inquiry_object.cc. */
export interface SessionFacts {
  /** Never given twice, and kept over a restart as the session is. */
  readonly id: number;
  readonly state: SessionStage;
  /** Numeric; `unix` of an AF_UNIX client. */
  readonly clientAddress: string;
  readonly clientPort: number;
  /** Slot of the server; of one that is silent or held it says nothing. */
  readonly server: number;
  /** Of the gateway's connection to the server; 0: it has none. */
  readonly sourcePort: number;
  readonly worker: number;
  /** Since the client came. */
  readonly ageSeconds: number;
  /** Since a byte last came from the server or went to it; negative: not known. */
  readonly idleSeconds: number;
  /** Over the life of the connection to the server, in earlier processes too. */
  readonly bytesClientToBackend: number;
  readonly bytesBackendToClient: number;
}

export interface SessionListing {
  /** The oldest first; of more than were asked for the oldest. */
  readonly sessions: readonly SessionFacts[];
  /** How many there are, those that are left out too. */
  readonly matching: number;
}

/** What the addon takes and gives. */
export interface InquiryEngine {
  listSessions(
    number: number,
    query: Omit<SessionQuery, 'client'> & { readonly unix?: boolean; readonly client?: string },
  ): void;
  killSessions(number: number, ids: readonly number[]): void;
}

const MAX_PENDING = 8;
const DEADLINE_MS = 3000;

interface Pending {
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: GatewayError) => void;
  readonly cancel: () => void;
}

export class SessionInquiries {
  readonly #engine: InquiryEngine;
  readonly #timers: Timers;
  /** Undefined: nobody waits for it any more, but the workers have it still. */
  readonly #pending = new Map<number, Pending | undefined>();
  #last = 0;
  #closed = false;

  constructor(engine: InquiryEngine, timers: Timers) {
    this.#engine = engine;
    this.#timers = timers;
  }

  /** Rejects with GatewayError CONTROL_BUSY. */
  list({ client, ...query }: SessionQuery): Promise<SessionListing> {
    const who = client === undefined ? {} : client === 'unix' ? { unix: true } : { client };
    return this.#ask((number) => {
      this.#engine.listSessions(number, { ...query, ...who });
    });
  }

  /**
   * Ends these sessions, of those that there are.
   * @returns the ids of those that there were. Rejects with GatewayError CONTROL_BUSY.
   */
  kill(ids: readonly number[]): Promise<readonly number[]> {
    return this.#ask((number) => {
      this.#engine.killSessions(number, ids);
    });
  }

  /** What the addon calls. */
  answered(number: number, answer: unknown): void {
    const pending = this.#pending.get(number);
    this.#pending.delete(number);
    pending?.cancel();
    pending?.resolve(answer);
  }

  /** The workers have ended: nobody will answer. Idempotent. */
  close(): void {
    this.#closed = true;
    for (const pending of this.#pending.values()) {
      pending?.cancel();
      pending?.reject(busy('the gateway stops'));
    }
    this.#pending.clear();
  }

  #ask<T>(post: (number: number) => void): Promise<T> {
    if (this.#closed) return Promise.reject(busy('the gateway stops'));
    if (this.#pending.size >= MAX_PENDING) {
      return Promise.reject(busy('too many questions about sessions have not been answered yet'));
    }
    this.#last = (this.#last % 0xffff_ffff) + 1;
    const number = this.#last;
    return new Promise<T>((resolve, reject) => {
      const cancel = this.#timers.after(DEADLINE_MS, () => {
        this.#pending.set(number, undefined);
        reject(busy(`a worker thread has not answered for ${(DEADLINE_MS / 1000).toString()} seconds`));
      });
      // What the addon answers is of the type that was asked for.
      this.#pending.set(number, { resolve: resolve as (answer: unknown) => void, reject, cancel });
      try {
        post(number);
      } catch (error) {
        // The addon does not take it: nobody will answer, and its place is free.
        cancel();
        this.#pending.delete(number);
        throw error;
      }
    });
  }
}

function busy(why: string): GatewayError {
  return new GatewayError('CONTROL_BUSY', why);
}
