// SPDX-License-Identifier: MIT
// The traffic of the last hour, in points of ten seconds. Bounded; on the monotonic
// clock; has no timer of its own: whoever looks at the data plane anyway tells it.

import type { DataPlaneStats } from '../dataplane-stats.js';

export type Traffic = Pick<DataPlaneStats, 'active' | 'held' | 'bytesClientToBackend' | 'bytesBackendToClient'>;

/** Ten seconds, or what has passed of them. */
export interface TrafficPoint {
  /** How long ago it began and ended, in seconds. */
  readonly from: number;
  readonly to: number;
  /** Sessions at its end. */
  readonly sessions: number;
  /** The most clients that were seen waiting. */
  readonly held: number;
  /** Bytes a second from clients to servers, and back. */
  readonly sent: number;
  readonly received: number;
}

interface Slot {
  /** Which ten seconds. */
  readonly number: number;
  sessions: number;
  held: number;
  sentBytes: number;
  receivedBytes: number;
  /** The time in which these were moved. */
  ms: number;
  endedAt: number;
}

export const POINT_MS = 10_000;
/** An hour. */
export const MAX_POINTS = 360;

export class TrafficRing {
  /** The oldest first. */
  readonly #slots: Slot[] = [];
  #last: { readonly at: number; readonly traffic: Traffic } | undefined;

  /** @param at monotonic milliseconds; never less than before */
  observe(at: number, { active, held, bytesClientToBackend, bytesBackendToClient }: Traffic): void {
    const slot = this.#slotOf(at);
    slot.sessions = active;
    slot.held = Math.max(slot.held, held);
    slot.endedAt = at;
    if (this.#last !== undefined) {
      const { traffic } = this.#last;
      slot.ms += at - this.#last.at;
      slot.sentBytes += Number(bytesClientToBackend - traffic.bytesClientToBackend);
      slot.receivedBytes += Number(bytesBackendToClient - traffic.bytesBackendToClient);
    }
    this.#last = { at, traffic: { active, held, bytesClientToBackend, bytesBackendToClient } };
  }

  /** The oldest first; ten seconds in which nobody looked are missing. */
  points(now: number): readonly TrafficPoint[] {
    const oldest = Math.floor(now / POINT_MS) - MAX_POINTS;
    const seconds = (at: number): number => Math.max(0, now - at) / 1000;
    return this.#slots
      .filter(({ number }) => number > oldest)
      .map(({ number, sessions, held, sentBytes, receivedBytes, ms, endedAt }) => ({
        from: seconds(number * POINT_MS),
        to: seconds(endedAt),
        sessions,
        held,
        sent: ms === 0 ? 0 : (sentBytes / ms) * 1000,
        received: ms === 0 ? 0 : (receivedBytes / ms) * 1000,
      }));
  }

  #slotOf(at: number): Slot {
    const number = Math.floor(at / POINT_MS);
    const last = this.#slots.at(-1);
    if (last?.number === number) return last;
    const slot: Slot = { number, sessions: 0, held: 0, sentBytes: 0, receivedBytes: 0, ms: 0, endedAt: at };
    this.#slots.push(slot);
    if (this.#slots.length > MAX_POINTS) this.#slots.shift();
    return slot;
  }
}
