// SPDX-License-Identifier: MIT
// Clients that come, ask and go, over a failover too: so that there is something to see.

import { PgSession } from '../helpers/pg-session.js';

interface Target {
  readonly host: string;
  readonly port: number;
}

// It also sets the pace.
const QUERY = "SELECT repeat('x', 1000), pg_sleep(0.02)";

export class Load {
  readonly #target: Target;
  readonly #done: Promise<void>;
  #running = true;
  #served = 0;

  constructor(target: Target) {
    this.#target = target;
    this.#done = this.#run();
  }

  /** Clients that got their answer. */
  get served(): number {
    return this.#served;
  }

  async stop(): Promise<void> {
    this.#running = false;
    await this.#done;
  }

  /** One after the other: one at a time may have to wait. */
  async #run(): Promise<void> {
    while (this.#running) {
      try {
        const session = await PgSession.open(this.#target);
        await session.query(QUERY);
        session.close();
        this.#served += 1;
      } catch {
        // Its server has ended meanwhile.
      }
    }
  }
}
