// SPDX-License-Identifier: MIT
// What the demo prints: one line for each thing that happens, with the seconds
// since the start; never silent for more than two seconds. Colours only on a terminal.

import { SignOfLife } from '../helpers/sign-of-life.js';

const TIME_WIDTH = 7;

export class Narrator {
  readonly #start = performance.now();
  readonly #life = new SignOfLife(() => {
    this.say('...');
  });
  readonly #colours = process.stdout.isTTY && process.env['NO_COLOR'] === undefined;

  /** Seconds since the start, as in ` 12.34`. */
  seconds(at = performance.now()): string {
    return ((at - this.#start) / 1000).toFixed(2);
  }

  say(text: string): void {
    this.#print(`${this.#dim(`${this.seconds().padStart(TIME_WIDTH)} s`)}  ${text}`);
  }

  /** Belongs to the line before. */
  detail(text: string): void {
    this.#print(`${' '.repeat(TIME_WIDTH + 4)}${text}`);
  }

  title(text: string): void {
    this.#print(`\n${this.#style('1', text)}`);
  }

  /** Says what is being done. */
  async during<T>(text: string, work: Promise<T>): Promise<T> {
    this.say(text);
    return work;
  }

  /** The story is over: from now on silence is right. */
  close(): void {
    this.#life.close();
  }

  good(text: string): string {
    return this.#style('32', text);
  }

  bad(text: string): string {
    return this.#style('31', text);
  }

  #dim(text: string): string {
    return this.#style('2', text);
  }

  #style(code: string, text: string): string {
    return this.#colours ? `\u001b[${code}m${text}\u001b[0m` : text;
  }

  #print(line: string): void {
    this.#life.heard();
    process.stdout.write(`${line}\n`);
  }
}
