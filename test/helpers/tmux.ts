// SPDX-License-Identifier: MIT
// A terminal of a known size, and what is on its screen: tmux(1), a server of its own.

import { join } from 'node:path';

import { atExit } from './cleanup.js';
import { run, succeed } from './child.js';
import { temporaryFolder } from './paths.js';
import type { TemporaryFolder } from './paths.js';
import { eventually } from './wait.js';

export class Tmux {
  readonly #folder: TemporaryFolder;
  readonly #forget: () => void;

  private constructor(folder: TemporaryFolder) {
    this.#folder = folder;
    this.#forget = atExit({ close: () => this.close(), closeNow: () => undefined });
  }

  /** Runs a shell's command line in 80 columns and 24 rows. */
  static async start(command: string): Promise<Tmux> {
    const tmux = new Tmux(await temporaryFolder());
    await tmux.#tmux(['-f', '/dev/null', 'new-session', '-d', '-s', 't', '-x', '80', '-y', '24', command]);
    return tmux;
  }

  /** What is on the screen now, lines without trailing blanks. */
  async screen(): Promise<readonly string[]> {
    return (await this.#tmux(['capture-pane', '-p', '-t', 't'])).split('\n').slice(0, -1);
  }

  /** Waits for a screen for which `accept` holds. */
  async shows(what: string, accept: (lines: readonly string[]) => boolean): Promise<readonly string[]> {
    let last: readonly string[] = [];
    try {
      return await eventually(what, async () => {
        last = await this.screen();
        return accept(last) ? last : undefined;
      });
    } catch (error) {
      throw new Error(`${String(error)}; the last screen was:\n${last.join('\n')}`);
    }
  }

  /** What tmux knows of the terminal, as in `#{alternate_on} #{cursor_flag}`. */
  async state(format: string): Promise<string> {
    return (await this.#tmux(['display-message', '-p', '-t', 't', format])).trim();
  }

  async keys(...keys: readonly string[]): Promise<void> {
    await this.#tmux(['send-keys', '-t', 't', ...keys]);
  }

  async resize(columns: number, rows: number): Promise<void> {
    await this.#tmux(['resize-window', '-t', 't', '-x', String(columns), '-y', String(rows)]);
  }

  async close(): Promise<void> {
    this.#forget();
    await run(this.#command(['kill-server']), { env: this.#env() });
    await this.#folder.close();
  }

  #tmux(args: readonly string[]): Promise<string> {
    return succeed(this.#command(args), { env: this.#env() });
  }

  #command(args: readonly string[]): string[] {
    return ['tmux', '-S', join(this.#folder.path, 'tmux'), ...args];
  }

  #env(): NodeJS.ProcessEnv {
    return { PATH: process.env['PATH'], HOME: this.#folder.path, TERM: 'xterm', LC_ALL: 'C.UTF-8', SHELL: '/bin/sh' };
  }
}
