// SPDX-License-Identifier: MIT
// A TCP client that does exactly what it is told, and counts: for half-closes,
// resets, clients that stop reading, and messages as they are on the wire.

import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';

import { atExit } from './cleanup.js';
import { eventually } from './wait.js';
import type { WaitOptions } from './wait.js';

/** How a connection came to its end, as this side saw it. */
export type End = 'open' | 'fin' | 'reset' | 'closed';

/** Received bytes that are kept to be read; beyond, they are only counted. */
const KEEP_BYTES = 8 * 1024 * 1024;

export class RawClient {
  readonly #socket: Socket;
  readonly #forget: () => void;
  #buffer = Buffer.alloc(0);
  #received = 0;
  #sent = 0;
  #end: End = 'open';
  #discarding = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#forget = atExit({
      close: () => {
        this.close();
        return Promise.resolve();
      },
      closeNow: () => {
        this.close();
      },
    });
    socket.on('data', (chunk: Buffer) => {
      this.#received += chunk.length;
      if (!this.#discarding && this.#buffer.length < KEEP_BYTES) this.#buffer = Buffer.concat([this.#buffer, chunk]);
    });
    socket.on('end', () => {
      if (this.#end === 'open') this.#end = 'fin';
    });
    socket.on('error', () => {
      this.#end = 'reset';
    });
    socket.on('close', () => {
      if (this.#end === 'open') this.#end = 'closed';
      this.#forget();
    });
  }

  /**
   * A FIN from the other side does not end this side: that is up to the test.
   * @param from the address that the client has; left out: what the kernel chooses
   */
  static async connect(
    { host, port }: { readonly host: string; readonly port: number },
    from?: string,
  ): Promise<RawClient> {
    const local = from === undefined ? {} : { localAddress: from };
    const target = host.startsWith('/') ? { path: `${host}/.s.PGSQL.${port}` } : { host, port, ...local };
    const socket = connect({ ...target, allowHalfOpen: true });
    socket.setNoDelay(true);
    await once(socket, 'connect');
    return new RawClient(socket);
  }

  /** Bytes that came, read or not. */
  get received(): number {
    return this.#received;
  }

  /** Bytes that were written. */
  get sent(): number {
    return this.#sent;
  }

  get end(): End {
    return this.#end;
  }

  /** What came and was not read yet. */
  get pending(): Buffer {
    return this.#buffer;
  }

  send(data: Uint8Array): void {
    this.#sent += data.length;
    this.#socket.write(data);
  }

  /** Sends, and resolves when the kernel has taken all of it. */
  async sendAll(data: Uint8Array): Promise<void> {
    this.#sent += data.length;
    if (!this.#socket.write(data)) await once(this.#socket, 'drain');
  }

  /** The next `count` bytes. @throws Error when they do not come in time, or the connection ends before */
  async read(count: number, options?: WaitOptions): Promise<Buffer> {
    await eventually(`${count} bytes`, () => this.#buffer.length >= count || this.#end !== 'open', {
      everyMs: 2,
      ...options,
    });
    if (this.#buffer.length < count) {
      throw new Error(`the connection ended (${this.#end}) after ${this.#buffer.length} of ${count} bytes`);
    }
    const bytes = this.#buffer.subarray(0, count);
    this.#buffer = this.#buffer.subarray(count);
    return bytes;
  }

  /** From now on bytes are counted only. */
  discard(): void {
    this.#discarding = true;
    this.#buffer = Buffer.alloc(0);
  }

  /** No more bytes are taken from the kernel. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** FIN: nothing more will be sent; what comes is still received. */
  halfClose(): void {
    this.#socket.end();
  }

  /** RST. */
  reset(): void {
    this.#socket.resetAndDestroy();
  }

  /** Waits until the other side has ended the connection; how it did. */
  ended(options?: WaitOptions): Promise<End> {
    return eventually('the end of the connection', () => (this.#end === 'open' ? undefined : this.#end), options);
  }

  close(): void {
    this.#socket.destroy();
    this.#forget();
  }
}
