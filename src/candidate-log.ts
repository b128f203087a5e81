// SPDX-License-Identifier: MIT
// The log lines about single candidates: one when a candidate's state is not what
// the log said last, however often it is probed.
//
// Invariant: a candidate that flaps gets a bounded number of lines; what the log
// says of it in the end is true, because the comparison is with the last line.

import type { Logger } from './log.js';
import type { Observation } from './probe/observation.js';
import type { Timers } from './timers.js';

/** A failover is three or four states of one server; more in a short time is flapping. */
const BURST_LINES = 6;
const LINE_EVERY_MS = 2000;

interface Told {
  readonly state: string;
  readonly up: boolean;
  readonly at: number;
  /** Lines that may still be written at `at`. */
  readonly credit: number;
}

export class CandidateLog {
  readonly #logger: Logger;
  readonly #timers: Timers;
  readonly #told = new Map<string, Told>();

  constructor(logger: Logger, timers: Timers) {
    this.#logger = logger;
    this.#timers = timers;
  }

  observed(seen: Observation): void {
    const { name } = seen.candidate;
    const state = stateOf(seen);
    const told = this.#told.get(name);
    if (told?.state === state) return;
    const at = this.#timers.now();
    const credit =
      told === undefined ? BURST_LINES : Math.min(BURST_LINES, told.credit + (at - told.at) / LINE_EVERY_MS);
    if (credit < 1) return;
    const up = seen.kind === 'answered';
    this.#told.set(name, { state, up, at, credit: credit - 1 });
    const tookMs = Math.round(seen.tookMs * 10) / 10;
    if (up) {
      const { address, port } = seen.address;
      const fields = { candidate: name, state, address, port, took_ms: tookMs };
      // At the start all are new, and STATE CHANGE tells of them; later it is news.
      if (told === undefined) this.#logger.info('candidate answers', fields);
      else this.#logger.notice('candidate answers', fields);
      return;
    }
    const fields = { candidate: name, reason: seen.reason, detail: seen.detail, took_ms: tookMs };
    if (told?.up === false) this.#logger.info('candidate still does not answer', fields);
    else this.#logger.warning('candidate does not answer', fields);
  }

  /** Only these are candidates now. */
  retain(names: ReadonlySet<string>): void {
    for (const name of this.#told.keys()) {
      if (!names.has(name)) this.#told.delete(name);
    }
  }
}

function stateOf(seen: Observation): string {
  if (seen.kind === 'failed') return seen.reason;
  const { inRecovery, readOnly, timeline } = seen.state;
  const role = inRecovery ? 'standby' : readOnly ? 'read-only' : 'primary';
  return `${role}/tl${timeline}`;
}
