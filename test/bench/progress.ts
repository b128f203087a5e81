// SPDX-License-Identifier: MIT
// What a benchmark tells while it goes: one line for each run, with a sign of life every two seconds.

const SIGN_OF_LIFE_MS = 2000;
const start = performance.now();

/** One line with the seconds since the start. */
export function say(text: string): void {
  console.log(`${clock()}  ${text}`);
}

function clock(): string {
  return `${((performance.now() - start) / 1000).toFixed(0).padStart(5)} s`;
}

export class Progress {
  /** Says what is done now, and what came of it when it is over. `brief` makes words of the result. */
  async during<T>(what: string, work: () => Promise<T>, brief: (result: T) => string = () => 'done'): Promise<T> {
    process.stdout.write(`${clock()}  ${what} ...`);
    const ticker = setInterval(() => {
      process.stdout.write('.');
    }, SIGN_OF_LIFE_MS);
    try {
      const result = await work();
      process.stdout.write(` ${brief(result)}\n`);
      return result;
    } catch (error) {
      process.stdout.write(' failed\n');
      throw error;
    } finally {
      clearInterval(ticker);
    }
  }
}
