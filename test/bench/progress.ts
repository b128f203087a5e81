// SPDX-License-Identifier: MIT
// What a benchmark tells while it goes: one line for each run, with a sign of life every two seconds.

import { SignOfLife } from '../helpers/sign-of-life.js';

const start = performance.now();
let life: SignOfLife | undefined;
/** Whether the last line still goes on. */
let unfinished = false;

/** One line with the seconds since the start. */
export function say(text: string): void {
  print(`${clock()}  ${text}`);
}

/** Lines as they are. */
export function print(text: string): void {
  write(unfinished ? `\n${text}\n` : `${text}\n`);
  unfinished = false;
}

function clock(): string {
  return `${((performance.now() - start) / 1000).toFixed(0).padStart(5)} s`;
}

function write(text: string): void {
  life ??= new SignOfLife(() => {
    process.stdout.write('.');
    unfinished = true;
  });
  life.heard();
  process.stdout.write(text);
}

export class Progress {
  /** Says what is done now, and what came of it when it is over. `brief` makes words of the result. */
  async during<T>(what: string, work: () => Promise<T>, brief: (result: T) => string = () => 'done'): Promise<T> {
    write(`${unfinished ? '\n' : ''}${clock()}  ${what} ...`);
    unfinished = true;
    try {
      const result = await work();
      write(` ${brief(result)}\n`);
      return result;
    } catch (error) {
      write(' failed\n');
      throw error;
    } finally {
      unfinished = false;
    }
  }
}
