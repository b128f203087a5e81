// SPDX-License-Identifier: MIT
// Sessions that come and go, so many a second: each logs in, asks a query and ends, in one of several ways.

import { message, queryMessage, startupMessage } from '../helpers/pg-session.js';
import type { Target } from '../helpers/psql.js';
import { Counted } from './counted.js';
import type { Tally } from './tally.js';

/** Of a hundred sessions, so many end like this. */
const ENDS = [
  ['leave', 40], // Terminate, and wait for the server's end
  ['close', 35], // FIN
  ['reset', 15], // RST after the answer
  ['reset-asking', 5], // RST instead of the second answer
  ['reset-early', 5], // RST before a word
] as const;
type End = (typeof ENDS)[number][0];

const TICK_MS = 50;
/** At most the sessions of so many seconds are there at once, when they take that long: no more come until some have gone. */
const MOST_AT_ONCE_SECONDS = 2;
/** Longer than the gateway lets a client wait. */
const DEADLINE_MS = 30_000;

const STARTUP = startupMessage({ application_name: 'churn' });
const QUERY = queryMessage('SELECT 1');
const TERMINATE = message('X', new Uint8Array());
/** ReadyForQuery, idle. */
const READY = Buffer.from('Z\0\0\0\x05I', 'latin1');

export class Churn {
  readonly #tally: Tally;
  readonly #gateway: Target;
  readonly #timer: NodeJS.Timeout;
  readonly #open = new Set<Promise<void>>();
  readonly #perSecond: number;
  readonly #startedMs = performance.now();
  #started = 0;
  #skipped = 0;
  #answered = 0;

  constructor(tally: Tally, gateway: Target, perSecond: number) {
    this.#tally = tally;
    this.#gateway = gateway;
    this.#perSecond = perSecond;
    this.#timer = setInterval(() => {
      this.#tick();
    }, TICK_MS);
  }

  /** Sessions that got their answer. */
  get answered(): number {
    return this.#answered;
  }

  /** No new ones; resolves when all have ended. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#open);
  }

  #tick(): void {
    const due = ((performance.now() - this.#startedMs) / 1000) * this.#perSecond - this.#started - this.#skipped;
    for (let number = 0; number < due; number += 1) {
      if (this.#open.size >= this.#perSecond * MOST_AT_ONCE_SECONDS) {
        this.#skipped += 1;
        continue;
      }
      this.#started += 1;
      const over = this.#session(endOf(this.#started));
      this.#open.add(over);
      void over.then(() => this.#open.delete(over));
    }
  }

  #session(end: End): Promise<void> {
    const counted = new Counted(this.#tally, 'a short session', this.#gateway);
    const { socket } = counted;
    const late = setTimeout(() => {
      counted.says('no answer');
      socket.destroy();
    }, DEADLINE_MS);
    let tail = Buffer.alloc(0);
    let answers = 0;
    let answerBytes = 0;
    socket.on('connect', () => {
      if (end === 'reset-early') counted.reset();
      else socket.write(STARTUP);
    });
    socket.on('data', (chunk: Buffer) => {
      answerBytes += chunk.length;
      tail = Buffer.concat([tail, chunk]).subarray(-READY.length);
      if (!tail.equals(READY)) {
        // An error of the server, if any, is in what it says before it ends.
        if (answers === 0 && chunk[0] === 'E'.charCodeAt(0)) counted.says(chunk.toString('latin1').replace(/\0/g, ' '));
        return;
      }
      answers += 1;
      if (answers === 1) {
        answerBytes = 0;
        socket.write(QUERY);
        return;
      }
      this.#answered += 1;
      finish(counted, end, answerBytes);
    });
    return counted.over.then(() => {
      clearTimeout(late);
    });
  }
}

function finish(counted: Counted, end: End, answerBytes: number): void {
  const { socket } = counted;
  switch (end) {
    case 'leave':
      counted.leaves('left');
      socket.write(TERMINATE);
      break;
    case 'close':
      counted.leaves('closed');
      socket.end();
      break;
    case 'reset-asking':
      socket.write(QUERY);
      counted.reset({ requestBytes: QUERY.length, answerBytes });
      break;
    case 'reset':
    case 'reset-early':
      counted.reset();
      break;
  }
}

/** In turn, well mixed: 37 has no factor in common with 100. */
function endOf(number: number): End {
  let place = (number * 37) % 100;
  for (const [end, share] of ENDS) {
    if (place < share) return end;
    place -= share;
  }
  return 'leave';
}
