// SPDX-License-Identifier: MIT
// When to tell systemd "alive" (WatchdogSec= of systemd.service(5)).
//
// The rule: WATCHDOG=1 is sent only when, since the last one, the JS loop has
// turned (this code ran) AND every native worker has answered a heartbeat. A
// process of which one thread hangs is killed and restarted, as one whose main
// thread hangs.
//
// Each tick, at a third of the interval: compare the counts of answered
// heartbeats with those at the last send; all advanced -> send. Then ask for the
// next heartbeats. So a worker has a third of the interval to answer, and a
// second try, before systemd acts.

import type { Logger } from './log.js';
import { systemTimers, type Timers } from './timers.js';

export interface WatchdogOptions {
  /** WATCHDOG_USEC in milliseconds; 0: start() does nothing. */
  readonly intervalMs: number;
  /** Heartbeats answered so far, one count per worker; the place is the worker's number. */
  readonly beats: () => readonly bigint[];
  /** Asks every worker for a heartbeat; must not wait. Asked again when one is still unanswered. */
  readonly ping: () => void;
  /** Sends WATCHDOG=1. */
  readonly send: () => void;
  readonly logger: Logger;
  readonly timers?: Timers;
}

export class Watchdog {
  readonly #options: WatchdogOptions;
  readonly #timers: Timers;
  #sentBeats: readonly bigint[] = [];
  /** The silent workers last logged, so that each change makes one line. */
  #loggedSilent = '';
  #cancelTimer: (() => void) | undefined;
  #running = false;

  constructor(options: WatchdogOptions) {
    this.#options = options;
    this.#timers = options.timers ?? systemTimers;
  }

  /** Call it when the workers run. The first ping goes out a third of the interval later. */
  start(): void {
    if (this.#running || this.#options.intervalMs <= 0) return;
    this.#running = true;
    this.#guarded(() => {
      this.#sentBeats = this.#options.beats();
      this.#options.ping();
    });
    this.#schedule();
  }

  /** Idempotent. systemd gets no more pings: close it last. */
  close(): void {
    this.#running = false;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  #schedule(): void {
    this.#cancelTimer = this.#timers.after(Math.max(1, Math.floor(this.#options.intervalMs / 3)), () => {
      this.#guarded(() => {
        this.#tick();
      });
      if (this.#running) this.#schedule();
    });
  }

  #tick(): void {
    const beats = this.#options.beats();
    const silent = silentWorkers(this.#sentBeats, beats);
    if (beats.length > 0 && silent.length === 0) {
      this.#sentBeats = beats;
      this.#options.send();
    }
    this.#logSilent(beats.length > 0 ? silent.join(',') : 'all');
    this.#options.ping();
  }

  #logSilent(workers: string): void {
    if (workers === this.#loggedSilent) return;
    const { logger } = this.#options;
    if (workers === '') logger.notice('every worker answers its heartbeat again', { workers: this.#loggedSilent });
    else logger.err('no heartbeat from a worker, so systemd gets no watchdog ping', { workers });
    this.#loggedSilent = workers;
  }

  /** A data plane that throws is one that is not proven alive: no ping, and no crash before systemd decides. */
  #guarded(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.#options.logger.err('watchdog check failed', {
        reason: error instanceof Error ? error.message : String(error),
      });
    }
  }
}

/** The numbers of the workers whose count did not grow from `before` to `after`. Pure. */
export function silentWorkers(before: readonly bigint[], after: readonly bigint[]): number[] {
  return after.flatMap((beat, worker) => (beat > (before[worker] ?? 0n) ? [] : [worker]));
}
