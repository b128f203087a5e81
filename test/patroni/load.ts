// SPDX-License-Identifier: MIT
// Clients that write all the time by one or more routes, and what became of each row and each connection: load.py.

import { chown, open, writeFile } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';

import { temporaryFolder, testFile } from '../helpers/paths.js';
import type { TemporaryFolder } from '../helpers/paths.js';
import { asServerOwner, makeOwned, SUPERUSER } from '../helpers/postgres-install.js';
import { eventually } from '../helpers/wait.js';
import { Kept, PYTHON } from './kept.js';

/** Where rows go, with what the server itself says of each: its port, its timeline, its clock. */
export const WRITTEN_TABLE = `CREATE TABLE written (
  writer text, n bigint,
  port int NOT NULL DEFAULT inet_server_port(),
  timeline int NOT NULL DEFAULT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (writer, n))`;

/** Times are seconds since 1970, of the one clock of the machine. */
interface At {
  readonly at: number;
}

interface OfWriter extends At {
  /** `ROUTE/KIND`. */
  readonly writer: string;
}

/** Acknowledged. Its number is unique for its writer. */
export interface Row extends OfWriter {
  readonly event: 'row';
  readonly n: number;
  readonly port: number;
  readonly timeline: number;
  /** By the server's own clock. */
  readonly written: number;
}

/** A connection attempt that failed, at whatever stage before the first statement. */
export interface Refused extends OfWriter {
  readonly event: 'refused';
  readonly begun: number;
  readonly error: string;
}

/** A statement that failed: with its session, or (`rejected`) by an error of the server alone. */
export interface Failed extends OfWriter {
  readonly event: 'broken' | 'rejected';
  readonly n: number;
  /** SQLSTATE. */
  readonly code: string | null;
  readonly error: string;
}

/** What a server says of itself on a connection that nothing stands in between of. */
export interface ServerChange extends At {
  readonly event: 'state';
  readonly port: number;
  readonly state: 'primary' | 'standby' | 'down';
}

export type LoadEvent = Row | Refused | Failed | ServerChange;

export interface Route {
  /** Without a slash. */
  readonly name: string;
  /** In the words of libpq: several hosts and ports are lists. */
  readonly host: string;
  readonly port: string;
  readonly options?: Readonly<Record<string, string>>;
}

/** Each route has one of each: a session that lasts, and connections for a row each, in clear and by TLS. */
export const WRITERS = ['session', 'fresh', 'fresh-tls'] as const;

/** Between two rows of one writer. Its own work comes on top; together they must leave the machine room to breathe. */
const PAUSE_S: Readonly<Record<(typeof WRITERS)[number], number>> = { session: 0.01, fresh: 0.04, 'fresh-tls': 0.04 };
const RUNNING_DEADLINE_MS = 30_000;

export function routeOf({ writer }: { readonly writer: string }): string {
  return writer.split('/')[0] ?? '';
}

export class Load {
  readonly #process: Kept;
  readonly #folder: TemporaryFolder;
  readonly #file: FileHandle;
  readonly #events: LoadEvent[] = [];
  #unfinished = '';

  private constructor(process: Kept, folder: TemporaryFolder, file: FileHandle) {
    this.#process = process;
    this.#folder = folder;
    this.#file = file;
  }

  /** `ports`: of all servers. Every writer has written when this returns. */
  static async start(routes: readonly Route[], ports: readonly number[]): Promise<Load> {
    const folder = await temporaryFolder();
    await makeOwned(folder.path);
    const { uid, gid } = asServerOwner();
    if (uid !== undefined && gid !== undefined) await chown(folder.path, uid, gid);
    const path = join(folder.path, 'events');
    await writeFile(path, '');
    if (uid !== undefined && gid !== undefined) await chown(path, uid, gid);
    const file = await open(path, 'r');
    const specification = JSON.stringify({ writers: routes.flatMap(writersOf), watchers: ports.map(watcherOf) });
    const process = await Kept.start([PYTHON, testFile('patroni/load.py'), specification, path]);
    const load = new Load(process, folder, file);
    try {
      await load.allWrite(routes);
      return load;
    } catch (error) {
      await load.close();
      throw error;
    }
  }

  /** All so far, in the order in which they were told. */
  async events(): Promise<readonly LoadEvent[]> {
    if (this.#process.hasEnded) throw new Error(`the clients have ended: ${this.#process.log}`);
    const text = this.#unfinished + (await readOn(this.#file));
    const lines = text.split('\n');
    this.#unfinished = lines.pop() ?? '';
    for (const line of lines) this.#events.push(JSON.parse(line) as LoadEvent);
    return this.#events;
  }

  /** Waits until every writer has written to the server at `port`, whichever that is, from now on. */
  async allWrite(routes: readonly Route[], port?: number): Promise<void> {
    const from = (await this.events()).length;
    const missing = new Set(routes.flatMap(writersOf).map(({ name }) => name));
    const look = async (): Promise<boolean> => {
      for (const event of (await this.events()).slice(from)) {
        if (event.event === 'row' && (port === undefined || event.port === port)) missing.delete(event.writer);
      }
      return missing.size === 0;
    };
    await eventually('every writer to write', look, { deadlineMs: RUNNING_DEADLINE_MS, everyMs: 50 }).catch(
      (error: unknown) => {
        const last = this.#events.filter(({ event }) => event !== 'row').slice(-5);
        throw new Error(`${[...missing].join(', ')}: ${String(error)}; last: ${JSON.stringify(last)}`);
      },
    );
  }

  /** Ends all of it. Idempotent. */
  async close(): Promise<void> {
    await this.#process.close();
    await this.#file.close();
    await this.#folder.close();
  }
}

function writersOf({
  name,
  host,
  port,
  options,
}: Route): { name: string; dsn: string; fresh: boolean; pause: number }[] {
  return WRITERS.map((kind) => {
    const sslmode = kind === 'fresh-tls' ? 'require' : 'disable';
    const dsn = dsnOf({ host, port, sslmode, ...options });
    return { name: `${name}/${kind}`, dsn, fresh: kind !== 'session', pause: PAUSE_S[kind] };
  });
}

function watcherOf(port: number): { port: number; dsn: string } {
  return { port, dsn: dsnOf({ host: '127.0.0.1', port: String(port), sslmode: 'disable' }) };
}

function dsnOf(settings: Readonly<Record<string, string>>): string {
  const all = { user: SUPERUSER, dbname: 'postgres', application_name: 'load', gssencmode: 'disable', ...settings };
  return Object.entries(all)
    .map(([key, value]) => `${key}='${value}'`)
    .join(' ');
}

async function readOn(file: FileHandle): Promise<string> {
  const chunk = Buffer.alloc(256 * 1024);
  let text = '';
  for (;;) {
    const { bytesRead } = await file.read(chunk, 0, chunk.length);
    if (bytesRead === 0) return text;
    // Only ASCII: json.dumps escapes the rest.
    text += chunk.toString('latin1', 0, bytesRead);
  }
}
