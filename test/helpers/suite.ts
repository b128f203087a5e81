// SPDX-License-Identifier: MIT
// The only importer of uvu: what every test file runs on. Adds to it what a
// suite with real servers needs: a deadline for each test, a word to the runner
// on what is going on, and hooks whose failure is seen (uvu swallows it).

import { suite as uvuSuite } from 'uvu';
import type { Callback, Test } from 'uvu';

import { closeAll } from './cleanup.js';

export * as assert from 'uvu/assert';

/** What a test file tells test/run.ts, if that is what started it. */
export type ProgressMessage = { readonly doing: string } | { readonly note: string };

/** Far above what a test takes on a slow machine: it is there so that a stuck test is a failed one with a name. */
const TEST_DEADLINE_MS = 120_000;

/** `deadlineMs`: for each of its tests, if they take longer than others. */
export function suite<T = Record<string, unknown>>(
  name: string,
  context?: T,
  deadlineMs: number = TEST_DEADLINE_MS,
): Test<T> {
  const test = uvuSuite<T>(name, context);
  const guard =
    (what: string, callback: Callback<T>): Callback<T> =>
    async (given) => {
      send({ doing: `${name}: ${what}` });
      await withinDeadline(what, deadlineMs, callback(given));
    };
  const hook =
    (what: string, register: (callback: Callback<T>) => void) =>
    (callback: Callback<T>): void =>
      register(async (given) => {
        try {
          await guard(what, callback)(given);
        } catch (error) {
          console.error(`${name}: the hook "${what}" failed:`, error);
          throw error;
        }
      });
  return Object.assign((title: string, callback: Callback<T>) => test(title, guard(title, callback)), {
    only: (title: string, callback: Callback<T>) => test.only(title, guard(title, callback)),
    skip: (title?: string, callback?: Callback<T>) => test.skip(title, callback),
    before: Object.assign(hook('before', test.before), { each: hook('before each', (run) => test.before.each(run)) }),
    after: Object.assign(hook('after', test.after), { each: hook('after each', (run) => test.after.each(run)) }),
    run: () => {
      // What a test that failed has left open would keep the process from its end.
      test.after(closeAll);
      test.run();
    },
  });
}

/** A figure that the runner shows though nothing has failed. */
export function note(text: string): void {
  send({ note: text });
  console.log(text);
}

function send(message: ProgressMessage): void {
  process.send?.(message);
}

async function withinDeadline(what: string, deadlineMs: number, work: Promise<void> | void): Promise<void> {
  if (work === undefined) return;
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`"${what}" did not end within ${deadlineMs / 1000} s`));
    }, deadlineMs);
  });
  try {
    await Promise.race([work, deadline]);
  } finally {
    clearTimeout(timer);
  }
}
