// SPDX-License-Identifier: MIT
// The truth about the clients, as they themselves counted it: sessions, how each ended, bytes. Of a session that a
// failover has broken, or that was reset in the middle of something, nobody knows how many of its bytes the gateway had
// moved: it counts as a range. Pure but for the clock of the windows.

import type { Windows } from './windows.js';

/** Who ended a session, as its client saw it. */
export const ENDINGS = [
  'left', // it said goodbye (Terminate) and waited: the server ended the connection
  'closed', // it closed the connection: FIN
  'either', // both at once, as libpq does
  'reset', // it broke the connection: RST
  'broken', // it had no part in it
] as const;
export type Ending = (typeof ENDINGS)[number];

export interface Range {
  readonly low: number;
  readonly high: number;
}

export interface SessionEnd {
  /** When it connected: milliseconds, of the clock of the windows. */
  readonly begunMs: number;
  readonly ending: Ending;
  /** Bytes that the gateway has moved for it. */
  readonly toServer: Range;
  readonly toClient: Range;
}

export interface Totals {
  readonly opened: number;
  /** `all` of them, and those `calm` ones that met no failover. */
  readonly endings: Readonly<Record<Ending, { readonly all: number; readonly calm: number }>>;
  readonly toServer: Range;
  readonly toClient: Range;
}

/** Words of so many failures are kept. */
const KEPT_FAILURES = 20;

export class Tally {
  readonly #windows: Windows;
  readonly #endings = Object.fromEntries(ENDINGS.map((ending) => [ending, { all: 0, calm: 0 }])) as Record<
    Ending,
    { all: number; calm: number }
  >;
  readonly #failures: string[] = [];
  readonly #explained = new Map<string, number>();
  #opened = 0;
  #failed = 0;
  #toServer: Range = { low: 0, high: 0 };
  #toClient: Range = { low: 0, high: 0 };

  constructor(windows: Windows) {
    this.#windows = windows;
  }

  get windows(): Windows {
    return this.#windows;
  }

  /** A connection to the gateway stands. */
  opened(): void {
    this.#opened += 1;
  }

  ended({ begunMs, ending, toServer, toClient }: SessionEnd): void {
    const counts = this.#endings[ending];
    counts.all += 1;
    if (!this.#windows.explains(begunMs)) counts.calm += 1;
    this.#toServer = plus(this.#toServer, toServer);
    this.#toClient = plus(this.#toClient, toClient);
  }

  /** What began at `sinceMs` has just failed. `kind`: few different words; `words` says more of this one. */
  failure(kind: string, words: string, sinceMs: number): void {
    if (this.#windows.explains(sinceMs)) {
      this.#explained.set(kind, (this.#explained.get(kind) ?? 0) + 1);
      return;
    }
    this.#failed += 1;
    if (this.#failures.length < KEPT_FAILURES) this.#failures.push(`${kind}: ${words}`);
  }

  /** Failures that no failover explains. */
  get failed(): number {
    return this.#failed;
  }

  /** What they were, the first of them. */
  get failures(): readonly string[] {
    return this.#failures;
  }

  /** How many of each kind a failover explains. */
  get explained(): ReadonlyMap<string, number> {
    return this.#explained;
  }

  get totals(): Totals {
    return { opened: this.#opened, endings: this.#endings, toServer: this.#toServer, toClient: this.#toClient };
  }
}

function plus(one: Range, other: Range): Range {
  return { low: one.low + other.low, high: one.high + other.high };
}
