// SPDX-License-Identifier: MIT
// What of the control plane has run, by V8's own block coverage (the Profiler domain of
// node:inspector): no instrumented build, and the same on every Node.

import { Session } from 'node:inspector';

interface Range {
  readonly startOffset: number;
  readonly endOffset: number;
  readonly count: number;
}

interface Taken {
  readonly result: readonly { readonly url: string; readonly functions: readonly { readonly ranges: Range[] }[] }[];
}

/** Compiled modules of src/ whose names begin so. */
export class Coverage {
  readonly #session = new Session();
  readonly #modules: readonly string[];
  /** By module: 1 for each sign of its text that was ever run. */
  readonly #run = new Map<string, Uint8Array>();

  constructor(folder: string, modules: readonly string[]) {
    this.#modules = modules.map((name) => new URL(name, folder).href);
    this.#session.connect();
    this.#post('Profiler.enable');
    this.#post('Profiler.startPreciseCoverage', { callCount: false, detailed: true });
  }

  /** Whether anything ran since the last look that had never run before. It has, from then on, if it is to be noted. */
  grew(note: boolean): boolean {
    let grew = false;
    const { result } = this.#post('Profiler.takePreciseCoverage') as Taken;
    for (const { url, functions } of result) {
      if (!this.#modules.some((prefix) => url.startsWith(prefix))) continue;
      // A script's first function is all of it, if it is there at all.
      const end = Math.max(...functions.flatMap(({ ranges }) => ranges.map(({ endOffset }) => endOffset)));
      const now = new Uint8Array(end);
      // Inner ranges come after those around them, and speak for their part.
      for (const { ranges } of functions) {
        for (const { startOffset, endOffset, count } of ranges) now.fill(count > 0 ? 1 : 0, startOffset, endOffset);
      }
      grew = this.#compare(url, now, note) || grew;
    }
    return grew;
  }

  /** How many signs of the modules' text have run. */
  get covered(): number {
    let all = 0;
    for (const run of this.#run.values()) for (const each of run) all += each;
    return all;
  }

  close(): void {
    this.#session.disconnect();
  }

  #compare(url: string, now: Uint8Array, note: boolean): boolean {
    const before = this.#run.get(url) ?? new Uint8Array(0);
    const isNew = now.some((each, at) => each === 1 && before[at] !== 1);
    if (!isNew || !note) return isNew;
    const length = Math.max(before.length, now.length);
    this.#run.set(
      url,
      Uint8Array.from({ length }, (_, at) => (before[at] === 1 || now[at] === 1 ? 1 : 0)),
    );
    return true;
  }

  /** In the same thread the answer is there when the call returns. */
  #post(method: string, parameters: object = {}): unknown {
    let answer: unknown;
    this.#session.post(method, parameters, (error: Error | null, result) => {
      if (error !== null) throw error;
      answer = result;
    });
    return answer;
  }
}
