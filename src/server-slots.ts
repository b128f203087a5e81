// SPDX-License-Identifier: MIT
// Which slot of the data plane's counters belongs to which server, by name.
//
// Invariants: every current candidate has a slot, no two the same. A server that is
// no longer a candidate keeps its slot while sessions are on it.

import { MAX_SERVERS } from './dataplane.js';
import { GatewayError } from './errors.js';

export class ServerSlots {
  /** In the order of assignment. */
  readonly #slots: Map<string, number>;

  /** @param before assignments of an earlier process whose sessions go on */
  constructor(before: readonly (readonly [name: string, slot: number])[] = []) {
    this.#slots = new Map(before);
  }

  /** All assignments, in their order. */
  entries(): (readonly [name: string, slot: number])[] {
    return [...this.#slots];
  }

  /**
   * The candidates are these now.
   * @param names at most MAX_SERVERS, all different
   * @param hasSessions whether the data plane counts sessions in a slot
   */
  assign(names: readonly string[], hasSessions: (slot: number) => boolean): void {
    const current = new Set(names);
    const retired = [...this.#slots].filter(([name]) => !current.has(name));
    for (const [name, slot] of retired) {
      if (!hasSessions(slot)) this.#slots.delete(name);
    }
    // Out of slots: the longest retired ones give theirs up, and only lose their own numbers by it.
    const needed = names.filter((name) => !this.#slots.has(name));
    for (const [name] of retired) {
      if (this.#slots.size + needed.length <= MAX_SERVERS) break;
      this.#slots.delete(name);
    }
    const used = new Set(this.#slots.values());
    let next = 0;
    for (const name of needed) {
      while (used.has(next)) next += 1;
      used.add(next);
      this.#slots.set(name, next);
    }
  }

  /** @throws GatewayError INTERNAL for a server that never was a candidate */
  of(name: string): number {
    const slot = this.find(name);
    if (slot === undefined) throw new GatewayError('INTERNAL', `no slot for server ${name}`);
    return slot;
  }

  /** Undefined: it has none, or none any more. */
  find(name: string): number | undefined {
    return this.#slots.get(name);
  }

  /** The name that has the slot; undefined: nobody. */
  nameOf(slot: number): string | undefined {
    for (const [name, used] of this.#slots) {
      if (used === slot) return name;
    }
    return undefined;
  }
}
