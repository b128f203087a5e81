// SPDX-License-Identifier: MIT
// `pg-gatewayctl top`: looks again and again, and draws. Owns the terminal while it runs.
//
// Invariant: however it ends, the terminal is as it was: by a key, a signal, an error, or
// a fault of its own.

import type { SessionsDocument, StatusDocument } from '../control/documents.js';
import { GatewayError } from '../errors.js';
import { systemTimers } from '../timers.js';
import type { Client } from './client.js';
import { CTL_OK } from './exit.js';
import type { Paint } from './text.js';
import { nextSort, screenLines } from './top-screen.js';
import type { Look, Sort } from './top-screen.js';

export interface TopOptions {
  readonly client: Client;
  readonly everyMs: number;
  readonly paint: Paint;
}

/** Alternate screen, no cursor, no wrapping at the last column; and back. xterm's control sequences. */
const ENTER = '\x1b[?1049h\x1b[?25l\x1b[?7l';
const LEAVE = '\x1b[?7h\x1b[?25h\x1b[?1049l';
const HOME = '\x1b[H';
const CLEAR_REST_OF_LINE = '\x1b[K';
const CLEAR_BELOW = '\x1b[J';
const CTRL_C = '\x03';
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;

/**
 * Runs until it is told to end; the exit status.
 * @throws GatewayError USAGE: there is no terminal; CONTROL_UNREACHABLE: not even the first look succeeds
 */
export async function runTop(options: TopOptions): Promise<number> {
  if (!process.stdout.isTTY || !process.stdin.isTTY) {
    throw new GatewayError('USAGE', 'top: needs a terminal; "status" and "sessions" do not');
  }
  const first = await lookAt(options.client, new AbortController());
  return new Screen(options, first).run();
}

/** @param looking gives it up; and when one half fails, the other */
async function lookAt(client: Client, looking: AbortController): Promise<Look> {
  try {
    const [status, sessions] = await Promise.all([
      client.get<StatusDocument>('/v1/status', looking.signal),
      client.get<SessionsDocument>('/v1/sessions', looking.signal),
    ]);
    return { at: systemTimers.now(), status, sessions };
  } finally {
    looking.abort();
  }
}

class Screen {
  readonly #options: TopOptions;
  #look: Look;
  #before: Look | undefined;
  #sort: Sort = 'rate';
  #trouble: string | undefined;
  /** The look that is under way. */
  #looking: AbortController | undefined;
  /** The terminal is no longer its own: nothing is drawn, or begun. */
  #ended = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: TopOptions, first: Look) {
    this.#options = options;
    this.#look = first;
  }

  run(): Promise<number> {
    const { stdin, stdout } = process;
    return new Promise((resolve) => {
      const restore = (): void => {
        process.removeListener('exit', restore);
        stdin.setRawMode(false);
        stdout.write(LEAVE);
      };
      const end = (): void => {
        if (this.#ended) return;
        this.#ended = true;
        clearTimeout(this.#timer);
        this.#looking?.abort();
        restore();
        stdin.pause();
        resolve(CTL_OK);
      };
      // An exit that nobody has planned, too.
      process.once('exit', restore);
      for (const name of SIGNALS) process.once(name, end);
      stdout.on('resize', () => {
        this.#draw();
      });
      stdout.write(ENTER);
      stdin.setRawMode(true);
      stdin.setEncoding('utf8');
      stdin.on('data', (keys: string) => {
        for (const key of keys) {
          if (this.#pressed(key)) continue;
          end();
          return;
        }
      });
      stdin.once('end', end);
      this.#draw();
      this.#schedule();
    });
  }

  /** False: it shall end. */
  #pressed(key: string): boolean {
    if (key === 'q' || key === 'Q' || key === CTRL_C) return false;
    if (key === 's') {
      this.#sort = nextSort(this.#sort);
      this.#draw();
    } else if (key === ' ') {
      void this.#refresh();
    }
    return true;
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      void this.#refresh();
    }, this.#options.everyMs);
  }

  async #refresh(): Promise<void> {
    if (this.#looking !== undefined) return;
    const looking = new AbortController();
    this.#looking = looking;
    try {
      const look = await lookAt(this.#options.client, looking);
      // Of another process the numbers are others.
      this.#before = look.status.pid === this.#look.status.pid ? this.#look : undefined;
      this.#look = look;
      this.#trouble = undefined;
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error;
      this.#trouble = error.message;
    } finally {
      this.#looking = undefined;
    }
    if (this.#ended) return;
    this.#draw();
    this.#schedule();
  }

  #draw(): void {
    if (this.#ended) return;
    const { columns, rows } = process.stdout;
    const lines = screenLines({
      look: this.#look,
      before: this.#before,
      sort: this.#sort,
      size: { columns, rows },
      trouble: this.#trouble,
      style: { paint: this.#options.paint, nowMs: new Date().getTime() },
    });
    process.stdout.write(HOME + lines.map((line) => line + CLEAR_REST_OF_LINE).join('\r\n') + CLEAR_BELOW);
  }
}
