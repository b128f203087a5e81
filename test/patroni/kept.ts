// SPDX-License-Identifier: MIT
// A program that leaves processes behind, with all of them: see keeper.py.

import { atExit } from '../helpers/cleanup.js';
import { Child } from '../helpers/child.js';
import { testFile } from '../helpers/paths.js';
import { asServerOwner, plainEnvironment } from '../helpers/postgres-install.js';
import { descendantsOf, isAlive, signal } from '../helpers/processes.js';
import { within } from '../helpers/wait.js';

const START_DEADLINE_MS = 15_000;
const END_DEADLINE_MS = 15_000;

/** Debian's: it has what Patroni and the clients import, whatever other Python comes first in PATH. */
export const PYTHON = '/usr/bin/python3';

export class Kept {
  /** Of the program itself. */
  readonly pid: number;
  readonly #keeper: Child;
  readonly #forget: () => void;

  private constructor(keeper: Child, pid: number) {
    this.#keeper = keeper;
    this.pid = pid;
    this.#forget = atExit({
      close: () => this.close(),
      closeNow: () => {
        for (const descendant of descendantsOf(keeper.pid)) signal(descendant, 'SIGKILL');
      },
    });
  }

  /** Runs it as the user that owns the servers. */
  static async start(command: readonly string[]): Promise<Kept> {
    const keeper = new Child([PYTHON, testFile('patroni/keeper.py'), ...command], {
      ...asServerOwner(),
      env: plainEnvironment({ PYTHONUNBUFFERED: '1' }),
      cwd: '/',
      endedByOwner: true,
    });
    const pid = await keeper.output('pid', (stdout) => /^pid (\d+)$/m.exec(stdout)?.[1], START_DEADLINE_MS);
    return new Kept(keeper, Number(pid));
  }

  /** What it has printed. */
  get log(): string {
    return this.#keeper.stderr;
  }

  /** Whether it and all that came of it has ended. */
  get hasEnded(): boolean {
    return this.#keeper.result !== undefined;
  }

  /** Waits for the end of the program itself. @throws Error with its output if its status is not 0 */
  async succeeded(deadlineMs: number): Promise<void> {
    const find = (stdout: string): string | undefined => /^status (-?\d+)$/m.exec(stdout)?.[1];
    const status = await this.#keeper.output(`the end of ${this.#keeper.command}`, find, deadlineMs);
    if (status !== '0') throw new Error(`${this.#keeper.command} failed (status ${status}): ${this.log}`);
  }

  /** Everything at once, as when its machine loses its power. Waits for the end. */
  async close(): Promise<void> {
    const all = descendantsOf(this.#keeper.pid);
    this.#keeper.endInput();
    await within(END_DEADLINE_MS, `the end of all of ${this.#keeper.command}`, this.#keeper.ended);
    const left = all.filter(isAlive);
    if (left.length > 0) throw new Error(`${this.#keeper.command} has left processes behind: ${left.join(' ')}`);
    this.#forget();
  }
}
