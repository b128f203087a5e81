// SPDX-License-Identifier: MIT
// The times of the failovers: what fails in one of them is explained by it, all else is a failure. Pure but for the clock.

/** After the gateway has the new primary: what has been under way until then comes to its end. */
const GRACE_MS = 2000;

export class Windows {
  readonly #now: () => number;
  #count = 0;
  #open = false;
  #end = -Infinity;

  /** `now`: milliseconds, monotonic. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** How many there were. */
  get count(): number {
    return this.#count;
  }

  /** Call it before anything is done to a server. */
  open(): void {
    this.#open = true;
    this.#count += 1;
  }

  /** The gateway has the new primary. */
  close(): void {
    this.#open = false;
    this.#end = this.#now() + GRACE_MS;
  }

  /** Whether something that began then and ends now met a failover. */
  explains(begunMs: number): boolean {
    return this.#open || begunMs <= this.#end;
  }

  /** Nothing can be blamed on a failover now. */
  get calm(): boolean {
    return !this.explains(this.#now());
  }
}
