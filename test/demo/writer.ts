// SPDX-License-Identifier: MIT
// A client as there are many: one connection, one row after the other, and a new
// connection when the old one has failed. Remembers what it saw.

import { setTimeout as pause } from 'node:timers/promises';

import { PgSession } from '../helpers/pg-session.js';
import type { Target } from '../helpers/psql.js';

export interface Write {
  /** performance.now() when the answer came. */
  readonly at: number;
  /** undefined: the server has acknowledged it. */
  readonly error: string | undefined;
}

const PAUSE_MS = 10;
const RECONNECT_MS = 50;
const ANSWER_DEADLINE_MS = 10_000;

export class Writer {
  readonly #target: Target;
  readonly #writes: Write[] = [];
  #session: PgSession | undefined;
  #stopping = false;
  #running: Promise<void> | undefined;

  /** Needs the table `written (n bigint)`. */
  constructor(target: Target) {
    this.#target = target;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Every attempt, in order. */
  get writes(): readonly Write[] {
    return this.#writes;
  }

  get acknowledged(): number {
    return this.#writes.filter(({ error }) => error === undefined).length;
  }

  get failed(): number {
    return this.#writes.length - this.acknowledged;
  }

  /** Ends after the attempt that is under way. Idempotent. */
  async close(): Promise<void> {
    this.#stopping = true;
    await this.#running;
    this.#session?.close();
    this.#session = undefined;
  }

  async #run(): Promise<void> {
    while (!this.#stopping) {
      const error = await this.#write(this.acknowledged + 1);
      this.#writes.push({ at: performance.now(), error });
      await pause(error === undefined ? PAUSE_MS : RECONNECT_MS);
    }
  }

  async #write(n: number): Promise<string | undefined> {
    try {
      this.#session ??= await PgSession.open(this.#target, { deadlineMs: ANSWER_DEADLINE_MS });
      await this.#session.query(`INSERT INTO written VALUES (${n})`, { deadlineMs: ANSWER_DEADLINE_MS });
      return undefined;
    } catch (error) {
      this.#session?.close();
      this.#session = undefined;
      return error instanceof Error ? error.message : String(error);
    }
  }
}
