// SPDX-License-Identifier: MIT
// Sessions that LISTEN and do nothing else; now and then each of them must hear of a NOTIFY.

import { message, queryMessage, startupMessage } from '../helpers/pg-session.js';
import { query } from '../helpers/psql.js';
import type { Target } from '../helpers/psql.js';
import { eventually, observeFor } from '../helpers/wait.js';
import { Counted } from './counted.js';
import type { Tally } from './tally.js';

const CHANNEL = 'soak';
const STARTUP = startupMessage({ application_name: 'listener' });
const LISTEN = queryMessage(`LISTEN ${CHANNEL}`);
const TERMINATE = message('X', new Uint8Array());
/** ReadyForQuery, idle. */
const READY = Buffer.from('Z\0\0\0\x05I', 'latin1');
const NOTIFY_EVERY_MS = 5000;
const HEARD_WITHIN_MS = 5000;
const STEP_MS = 100;

export class Listeners {
  readonly #tally: Tally;
  readonly #gateway: Target;
  /** How programs reach the gateway. */
  readonly #door: Target;
  readonly #all: Listener[];
  readonly #work: Promise<void>;
  #stopping = false;
  #heard = 0;

  constructor(tally: Tally, gateway: Target, door: Target, count: number) {
    this.#tally = tally;
    this.#gateway = gateway;
    this.#door = door;
    this.#all = Array.from({ length: count }, () => new Listener(tally, gateway));
    this.#work = this.#run();
  }

  /** Notifications that came. */
  get heard(): number {
    return this.#heard;
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#work;
    await Promise.all(this.#all.map((listener) => listener.leave()));
  }

  async #run(): Promise<void> {
    for (let round = 1; !this.#stopping; round += 1) {
      await this.#pause();
      for (const [index, { gone }] of this.#all.entries()) {
        if (gone && this.#tally.windows.calm) this.#all[index] = new Listener(this.#tally, this.#gateway);
      }
      if (this.#tally.windows.calm) await this.#notify(round);
    }
  }

  async #notify(round: number): Promise<void> {
    const begun = performance.now();
    const listening = this.#all.filter(({ listens }) => listens);
    try {
      await query(this.#door, `NOTIFY ${CHANNEL}, '${round}'`);
      await eventually('all to hear of it', () => listening.every(({ last, gone }) => gone || last === round), {
        deadlineMs: HEARD_WITHIN_MS,
      });
    } catch (error) {
      this.#tally.failure('a NOTIFY', String(error), begun);
    }
    this.#heard += listening.filter(({ last }) => last === round).length;
  }

  async #pause(): Promise<void> {
    for (let waited = 0; waited < NOTIFY_EVERY_MS && !this.#stopping; waited += STEP_MS) await observeFor(STEP_MS);
  }
}

class Listener {
  readonly #counted: Counted;
  #ready = 0;
  #gone = false;
  #leaving = false;
  #tail = Buffer.alloc(0);
  #last = 0;

  constructor(tally: Tally, gateway: Target) {
    this.#counted = new Counted(tally, 'a session that listens', gateway);
    const { socket } = this.#counted;
    socket.on('connect', () => socket.write(STARTUP));
    socket.on('data', (chunk: Buffer) => {
      this.#take(chunk);
    });
    void this.#counted.over.then(() => (this.#gone = true));
  }

  get listens(): boolean {
    return this.#ready >= 2 && !this.#gone;
  }

  get gone(): boolean {
    return this.#gone;
  }

  /** The number that the last notification had. */
  get last(): number {
    return this.#last;
  }

  async leave(): Promise<void> {
    if (!this.#gone && !this.#leaving) {
      this.#leaving = true;
      this.#counted.leaves('left');
      this.#counted.socket.write(TERMINATE);
    }
    await this.#counted.over;
  }

  #take(chunk: Buffer): void {
    this.#tail = Buffer.concat([this.#tail, chunk]);
    if (this.#ready < 2) {
      if (!this.#tail.subarray(-READY.length).equals(READY)) return;
      this.#ready += 1;
      this.#tail = Buffer.alloc(0);
      if (this.#ready === 1) this.#counted.socket.write(LISTEN);
      else this.#counted.busy(false);
      return;
    }
    // NotificationResponse: its type, its length without the type.
    while (this.#tail.length >= 5 && this.#tail.length > this.#tail.readUInt32BE(1)) {
      const whole = this.#tail.subarray(0, this.#tail.readUInt32BE(1) + 1);
      this.#tail = this.#tail.subarray(whole.length);
      const text = whole.toString('latin1');
      if (text.startsWith('A')) this.#last = Number(text.split('\0').at(-2));
      else if (text.startsWith('E')) this.#counted.says(text.replace(/\0/g, ' '));
    }
  }
}
