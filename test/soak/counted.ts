// SPDX-License-Identifier: MIT
// A connection to the gateway that tells the tally of its beginning, its end and its bytes. All clients of the load have
// one, those that are programs by way of a door (door.ts).

import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import type { Socket } from 'node:net';

import type { Target } from '../helpers/psql.js';
import type { Ending, Tally } from './tally.js';

/** What the kernel may hold of a direction of a broken session, where nobody counts it: all its buffers on the way. */
const IN_FLIGHT_BYTES = 2 * (kernelLimit('tcp_rmem') + kernelLimit('tcp_wmem'));

export class Counted {
  readonly socket: Socket;
  /** Resolves when it has ended, however that was. */
  readonly over: Promise<void>;
  readonly #tally: Tally;
  readonly #kind: string;
  readonly #begunMs = performance.now();
  #opened = false;
  #ending: Ending = 'broken';
  /** Of a reset in the middle of something: sent and maybe not moved; asked for and maybe moved. */
  #unsureToServer = 0;
  #unsureToClient = 0;
  /** Since when what it does now has been under way; undefined: it does nothing. */
  #busySinceMs: number | undefined;
  #words = 'the connection was ended';

  /** `kind`: for the words of a failure. */
  constructor(tally: Tally, kind: string, { host, port }: Target, { allowHalfOpen = false } = {}) {
    this.#tally = tally;
    this.#kind = kind;
    this.#busySinceMs = this.#begunMs;
    this.socket = connect({ host, port, noDelay: true, allowHalfOpen });
    this.socket.on('connect', () => {
      this.#opened = true;
      tally.opened();
    });
    this.socket.on('error', ({ message }) => {
      // A server that goes down may answer a goodbye by RST.
      if (this.#ending !== 'reset') this.#ending = 'broken';
      this.#words = message;
    });
    this.over = new Promise((resolve) => {
      this.socket.on('close', () => {
        this.#closed();
        resolve();
      });
    });
  }

  /** It has begun to do something, or (false) has done it. */
  busy(is: boolean): void {
    this.#busySinceMs = is ? performance.now() : undefined;
  }

  /** More than "it has ended", for its failure. */
  says(words: string): void {
    this.#words = words;
  }

  /** Its own part has been done, and its end is on its way: what happens now is no failure. */
  leaves(ending: Exclude<Ending, 'broken' | 'reset'>): void {
    this.#ending = ending;
    this.#busySinceMs = performance.now();
  }

  /** RST; of the last request so many bytes may not have been moved, and so many of its answer may have been. */
  reset({ requestBytes = 0, answerBytes = 0 } = {}): void {
    this.#ending = 'reset';
    this.#unsureToServer = requestBytes;
    this.#unsureToClient = answerBytes;
    this.socket.resetAndDestroy();
  }

  #closed(): void {
    const { bytesWritten: sent, bytesRead: received } = this.socket;
    if (this.#ending === 'broken') {
      this.#tally.failure(this.#kind, this.#words, this.#busySinceMs ?? performance.now());
    }
    if (!this.#opened) return;
    const broken = this.#ending === 'broken';
    this.#tally.ended({
      begunMs: this.#begunMs,
      ending: this.#ending,
      toServer: { low: broken ? 0 : sent - this.#unsureToServer, high: sent },
      toClient: { low: received, high: received + (broken ? IN_FLIGHT_BYTES : this.#unsureToClient) },
    });
  }
}

/** tcp(7): the largest of the three. */
function kernelLimit(name: string): number {
  return Number(readFileSync(`/proc/sys/net/ipv4/${name}`, 'utf8').trim().split(/\s+/)[2]);
}
