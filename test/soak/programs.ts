// SPDX-License-Identifier: MIT
// Programs that run over and over by way of the door: pgbench, and psql with one COPY each way whose checksum counts.

import { createHash, randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { run } from '../helpers/child.js';
import { plainEnvironment, postgresProgram, SUPERUSER } from '../helpers/postgres-install.js';
import { clientProgram } from '../helpers/psql.js';
import type { Target } from '../helpers/psql.js';
import { eventually, observeFor } from '../helpers/wait.js';
import type { Tally } from './tally.js';

const RUN_SECONDS = 10;
const GRACE_MS = 60_000;
const COPY_PAUSE_MS = 1000;
const LINE_BYTES = 8192;
/** A program notices the end of its sessions and tells of it within this time. */
const NOTICE_MS = 1000;

export interface PgbenchLoad {
  readonly name: string;
  readonly args: readonly string[];
}

/** A pace that leaves the machine to the others. */
export const PGBENCH_LOADS: readonly PgbenchLoad[] = [
  { name: 'pgbench, simple', args: ['-c', '4', '-j', '1', '-N', '-R', '60', '-M', 'simple'] },
  { name: 'pgbench, prepared', args: ['-c', '4', '-j', '1', '-S', '-R', '300', '-M', 'prepared'] },
];

/** What is done again and again until it is stopped. */
abstract class Repeated {
  protected readonly tally: Tally;
  #stopping = false;
  readonly #work: Promise<void>;

  constructor(tally: Tally) {
    this.tally = tally;
    // Not before the fields of the class have their values.
    this.#work = Promise.resolve().then(() => this.#run());
  }

  /** Resolves when the last run has ended. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#work;
  }

  protected mustStop(): boolean {
    return this.#stopping;
  }

  /** One run. */
  protected abstract once(): Promise<void>;

  async #run(): Promise<void> {
    while (!this.mustStop()) {
      // What begins in a failover could not be judged.
      await eventually('the end of the failover', () => this.tally.windows.calm || this.mustStop(), {
        deadlineMs: GRACE_MS,
      });
      if (this.mustStop()) return;
      try {
        await this.once();
      } catch (error) {
        this.tally.failure('a program', String(error), performance.now() - NOTICE_MS);
      }
    }
  }
}

export class Pgbench extends Repeated {
  readonly #door: Target;
  readonly #load: PgbenchLoad;
  readonly #endMs: number;
  #transactions = 0;

  /** `endMs`: no run goes on beyond that (performance.now()). */
  constructor(tally: Tally, door: Target, load: PgbenchLoad, endMs: number) {
    super(tally);
    this.#door = door;
    this.#load = load;
    this.#endMs = endMs;
  }

  get transactions(): number {
    return this.#transactions;
  }

  protected async once(): Promise<void> {
    const left = (this.#endMs - performance.now()) / 1000;
    const seconds = Math.max(1, Math.min(RUN_SECONDS, Math.floor(left)));
    const args = ['-n', '-T', String(seconds), ...this.#load.args];
    const { status, stdout, stderr } = await clientProgram(this.#door, 'pgbench', args, seconds * 1000 + GRACE_MS);
    this.#transactions += Number(/^number of transactions actually processed: (\d+)/m.exec(stdout)?.[1] ?? 0);
    const failed = Number(/^number of failed transactions: (\d+)/m.exec(stdout)?.[1] ?? 0);
    if (status !== 0 || failed > 0) {
      const words = `status ${String(status)}, ${failed} failed transactions: ${stderr.slice(0, 500)}`;
      this.tally.failure(this.#load.name, words, performance.now() - NOTICE_MS);
    }
  }
}

export class Copies extends Repeated {
  readonly #door: Target;
  readonly #file: string;
  readonly #checksum: string;
  #done = 0;
  #different = 0;

  private constructor(tally: Tally, door: Target, file: string, checksum: string) {
    super(tally);
    this.#door = door;
    this.#file = file;
    this.#checksum = checksum;
  }

  /** The lines of `megabytes` are kept in `folder`. */
  static async start(tally: Tally, door: Target, folder: string, megabytes: number): Promise<Copies> {
    const file = join(folder, 'lines');
    const lines = Array.from(
      { length: Math.ceil((megabytes * 1e6) / LINE_BYTES) },
      // Two digits for each byte, and the end of the line.
      () =>
        `${randomBytes(LINE_BYTES / 2)
          .toString('hex')
          .slice(1)}\n`,
    );
    const text = lines.join('');
    await writeFile(file, text);
    return new Copies(tally, door, file, createHash('sha256').update(text).digest('hex'));
  }

  /** COPYs in and out again whose checksum was right; those whose was not. */
  get done(): number {
    return this.#done;
  }

  get different(): number {
    return this.#different;
  }

  protected async once(): Promise<void> {
    const script = [
      `'${postgresProgram('psql')}' -Xq -v ON_ERROR_STOP=1 -c 'CREATE TEMP TABLE lines (line text)'`,
      `-c "COPY lines FROM STDIN" -c 'COPY lines TO STDOUT' <"$FILE"`,
    ].join(' ');
    const env = plainEnvironment({
      PGHOST: this.#door.host,
      PGPORT: String(this.#door.port),
      PGUSER: SUPERUSER,
      PGDATABASE: 'postgres',
      PGCONNECT_TIMEOUT: '30',
      FILE: this.#file,
    });
    // The status of psql, not of sha256sum, is the shell's.
    const command = `{ { ${script}; echo $? >&3; } | sha256sum; } 3>&1`;
    const { stdout, stderr } = await run(['sh', '-c', command], { env, deadlineMs: GRACE_MS });
    const status = /^\d+$/m.exec(stdout)?.[0];
    const checksum = /^([0-9a-f]{64}) /m.exec(stdout)?.[1];
    if (status !== '0') {
      this.tally.failure('a COPY', `status ${String(status)}: ${stderr}`, performance.now() - NOTICE_MS);
    } else if (checksum === this.#checksum) {
      this.#done += 1;
    } else {
      this.#different += 1;
    }
    for (let waited = 0; waited < COPY_PAUSE_MS && !this.mustStop(); waited += 100) await observeFor(100);
  }
}
