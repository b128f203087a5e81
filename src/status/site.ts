// SPDX-License-Identifier: MIT
// What the metrics listener serves at `/`. Owns the ring of the last hour. A page is made
// when one is asked for, and at most a few times a second, however many ask.

import { hostname } from 'node:os';

import type { Desk } from '../control/api.js';
import { readClock } from '../control/clock.js';
import type { Page } from '../http.js';
import type { Timers } from '../timers.js';
import { pageHeaders, statusPage } from './page.js';
import { TrafficRing } from './traffic-ring.js';
import type { Traffic } from './traffic-ring.js';

/** How long a page is good enough for who asks next. */
const MOMENT_MS = 250;

export class StatusSite {
  readonly #desk: Pick<Desk, 'status' | 'failovers'>;
  readonly #timers: Timers;
  readonly #ring = new TrafficRing();
  #headers: Page['headers'] | undefined;
  #last: { readonly at: number; readonly body: string } | undefined;

  constructor(desk: Pick<Desk, 'status' | 'failovers'>, timers: Timers) {
    this.#desk = desk;
    this.#timers = timers;
  }

  /** Every few seconds. */
  observe(traffic: Traffic): void {
    this.#ring.observe(this.#timers.now(), traffic);
  }

  page(): Page {
    const at = this.#timers.now();
    if (this.#last === undefined || at - this.#last.at >= MOMENT_MS) {
      const options = { host: hostname(), now: readClock(at).wall };
      const body = statusPage(this.#desk.status(), this.#ring.points(at), this.#desk.failovers(), options);
      this.#last = { at, body };
    }
    this.#headers ??= pageHeaders();
    return { body: this.#last.body, headers: this.#headers };
  }
}
