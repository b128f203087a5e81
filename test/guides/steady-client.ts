// SPDX-License-Identifier: MIT
// A client as there are many: one session, one query after the other, and a new session
// when the old one has failed. It sets no time limit of its own: what ends a session is TCP.

import { setTimeout as pause } from 'node:timers/promises';

import { PgSession } from '../helpers/pg-session.js';
import type { Target } from '../helpers/psql.js';

const PAUSE_MS = 20;
const ANSWER_DEADLINE_MS = 30_000;

interface Answer {
  /** performance.now() when the session was asked for, and when the answer came. */
  readonly sessionFrom: number;
  readonly at: number;
}

export class SteadyClient {
  readonly #target: Target;
  readonly #running: Promise<void>;
  #session: { readonly open: PgSession; readonly from: number } | undefined;
  #sessions = 0;
  #last: Answer | undefined;
  #firstOfSession: Answer | undefined;
  #stopping = false;

  constructor(target: Target) {
    this.#target = target;
    this.#running = this.#run();
  }

  /** How many sessions it has had. */
  get sessions(): number {
    return this.#sessions;
  }

  /** Whether a query that ended after this moment was answered. */
  answeredSince(moment: number): boolean {
    return this.#last !== undefined && this.#last.at > moment;
  }

  /** Milliseconds from this moment to the first answer in a session that began after it; undefined: there was none yet. */
  recoveredWithin(moment: number): number | undefined {
    const first = this.#firstOfSession;
    return first !== undefined && first.sessionFrom >= moment ? first.at - moment : undefined;
  }

  /** Ends after the query that is under way. */
  async close(): Promise<void> {
    this.#stopping = true;
    this.#session?.open.close();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#stopping) {
      const from = performance.now();
      try {
        this.#session ??= await this.#open(from);
        await this.#session.open.query('SELECT 1', { deadlineMs: ANSWER_DEADLINE_MS });
        const answer = { sessionFrom: this.#session.from, at: performance.now() };
        this.#last = answer;
        if (this.#firstOfSession?.sessionFrom !== answer.sessionFrom) this.#firstOfSession = answer;
      } catch {
        this.#session?.open.close();
        this.#session = undefined;
      }
      await pause(PAUSE_MS);
    }
    this.#session?.open.close();
  }

  async #open(from: number): Promise<{ open: PgSession; from: number }> {
    const open = await PgSession.open(this.#target, { deadlineMs: ANSWER_DEADLINE_MS });
    this.#sessions += 1;
    return { open, from };
  }
}
