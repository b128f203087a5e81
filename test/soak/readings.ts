// SPDX-License-Identifier: MIT
// What the process of the gateway holds, second by second.

import { descriptorsOf, isAlive, residentBytes } from '../helpers/processes.js';
import type { Reading } from './trend.js';
import type { Windows } from './windows.js';

const EVERY_MS = 1000;

export class Readings {
  readonly memory: Reading[] = [];
  readonly descriptors: Reading[] = [];
  readonly #timer: NodeJS.Timeout;
  readonly #begunMs = performance.now();

  /** Of descriptors only what is read outside of failovers counts: clients wait in those, some with one, some with two. */
  constructor(pid: number, windows: Windows) {
    this.#timer = setInterval(() => {
      // Whoever needs it will say so.
      if (!isAlive(pid)) return;
      const at = (performance.now() - this.#begunMs) / 1000;
      this.memory.push({ at, value: residentBytes(pid) });
      if (windows.calm) this.descriptors.push({ at, value: descriptorsOf(pid).length });
    }, EVERY_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
