// SPDX-License-Identifier: MIT
// A session of the frontend/backend protocol 3.0 (PostgreSQL chapter "Message
// Formats") over a raw client: cheap enough for hundreds of them, and every byte
// of it is counted. For servers that trust; the product's own client is not used,
// so that a fault of it cannot hide itself.

import { RawClient } from './raw-client.js';
import type { End } from './raw-client.js';
import type { WaitOptions } from './wait.js';

export interface Message {
  /** One letter. */
  readonly type: string;
  readonly body: Buffer;
}

/** Fields of an ErrorResponse by their letters: S severity, C SQLSTATE, M message. */
export type ErrorFields = ReadonlyMap<string, string>;

const SSL_REQUEST_CODE = 80877103;
const GSSENC_REQUEST_CODE = 80877104;
const CANCEL_REQUEST_CODE = 80877102;
const PROTOCOL_3_0 = 196608;

export function startupMessage(parameters: Readonly<Record<string, string>> = {}): Buffer {
  const all = { user: 'postgres', database: 'postgres', application_name: 'test', ...parameters };
  const text = Object.entries(all).map(([key, value]) => `${key}\0${value}\0`);
  return withLength(Buffer.concat([int32(PROTOCOL_3_0), Buffer.from(`${text.join('')}\0`)]));
}

export function sslRequest(): Buffer {
  return withLength(int32(SSL_REQUEST_CODE));
}

export function gssEncryptionRequest(): Buffer {
  return withLength(int32(GSSENC_REQUEST_CODE));
}

export function cancelRequest(processId: number, secret: number): Buffer {
  return withLength(Buffer.concat([int32(CANCEL_REQUEST_CODE), int32(processId), int32(secret)]));
}

export function message(type: string, body: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(type), withLength(body)]);
}

export function queryMessage(sql: string): Buffer {
  return message('Q', Buffer.from(`${sql}\0`));
}

/** Reads the next message. @throws Error when it does not come in time, or the connection ends before */
export async function readMessage(client: RawClient, options?: WaitOptions): Promise<Message> {
  const head = await client.read(5, options);
  const body = await client.read(head.readUInt32BE(1) - 4, options);
  return { type: head.toString('latin1', 0, 1), body };
}

/** Reads on until a message of this type; what came before is given up. @throws Error with the words of an error */
export async function readUntil(client: RawClient, type: string, options?: WaitOptions): Promise<Message> {
  for (;;) {
    const next = await readMessage(client, options);
    if (next.type === type) return next;
    if (next.type === 'E') throw new Error(`the server says: ${errorFields(next).get('M') ?? ''}`);
  }
}

export function errorFields({ type, body }: Message): ErrorFields {
  if (type !== 'E') throw new Error(`expected an ErrorResponse, got "${type}"`);
  const fields = body
    .toString('utf8')
    .split('\0')
    .filter((field) => field !== '');
  return new Map(fields.map((field) => [field.slice(0, 1), field.slice(1)]));
}

export class PgSession {
  readonly raw: RawClient;
  /** For a CancelRequest. */
  readonly processId: number;
  readonly secret: number;

  private constructor(raw: RawClient, key: Buffer) {
    this.raw = raw;
    this.processId = key.readInt32BE(0);
    this.secret = key.readInt32BE(4);
  }

  /** Connects and logs in. @throws Error with the server's words if it refuses */
  static async open(
    target: { readonly host: string; readonly port: number },
    options?: WaitOptions,
  ): Promise<PgSession> {
    const raw = await RawClient.connect(target);
    try {
      raw.send(startupMessage());
      const key = await readUntil(raw, 'K', options);
      await readUntil(raw, 'Z', options);
      return new PgSession(raw, key.body);
    } catch (error) {
      raw.close();
      throw error;
    }
  }

  /** The first column of the rows of a simple query. */
  async query(sql: string, options?: WaitOptions): Promise<string[]> {
    this.raw.send(queryMessage(sql));
    const rows: string[] = [];
    let problem: string | undefined;
    for (;;) {
      const next = await readMessage(this.raw, options);
      if (next.type === 'D') rows.push(firstColumn(next.body));
      if (next.type === 'E') problem = errorFields(next).get('M');
      if (next.type === 'Z') break;
    }
    if (problem !== undefined) throw new Error(`the server says: ${problem}`);
    return rows;
  }

  /** Waits until the connection has been ended from outside; how. */
  ended(options?: WaitOptions): Promise<End> {
    return this.raw.ended(options);
  }

  close(): void {
    this.raw.close();
  }
}

/** DataRow: Int16 number of columns, for each Int32 length (-1: NULL) and its bytes. */
function firstColumn(body: Buffer): string {
  const length = body.readInt32BE(2);
  return length < 0 ? '' : body.toString('utf8', 6, 6 + length);
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

/** The length counts itself. */
function withLength(body: Uint8Array): Buffer {
  return Buffer.concat([int32(body.length + 4), body]);
}
