// SPDX-License-Identifier: MIT
// Real PostgreSQL servers, thrown away afterwards: start, stop, crash, freeze,
// promote, replicate. Each has its folder, its free port, on 127.0.0.1 or on a host of
// a network of the test's, and its own process, which is a child of the test.

import { appendFile, chown, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { Child } from './child.js';
import { atExit } from './cleanup.js';
import type { Host } from './network.js';
import { temporaryFolder } from './paths.js';
import type { TemporaryFolder } from './paths.js';
import { freePort } from './ports.js';
import {
  asServerOwner,
  becomingServerOwner,
  dataDirectory,
  foreignDataDirectory,
  makeOwned,
  plainEnvironment,
  postgresProgram,
  runAsOwner,
  serverIsInstalled,
  serverMajor,
  SUPERUSER,
} from './postgres-install.js';
import { descendantsOf, isAlive, signal } from './processes.js';
import { query } from './psql.js';
import { installServerCertificate } from './tls.js';
import { eventually, within } from './wait.js';

export interface ServerOptions {
  /** More of postgresql.conf. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Lines of pg_hba.conf for TCP. Default: everybody is trusted. */
  readonly hba?: readonly string[];
  /** A certificate for `localhost` and 127.0.0.1; its root is `server.rootCertificate`. */
  readonly tls?: boolean;
  /** A system identifier of its own. */
  readonly foreign?: boolean;
  /** Where it runs, if not here. */
  readonly on?: Host;
  /** Default: a free one. */
  readonly port?: number;
}

/** pg_ctl(1): smart waits for clients, fast ends them, immediate crashes. */
export type StopMode = 'smart' | 'fast' | 'immediate';

const STOP_SIGNALS = { smart: 'SIGTERM', fast: 'SIGINT', immediate: 'SIGQUIT' } as const;
const START_DEADLINE_MS = 30_000;
const STOP_DEADLINE_MS = 30_000;
const START_TRIES = 5;

const SETTINGS: Readonly<Record<string, string>> = {
  fsync: 'off',
  full_page_writes: 'off',
  shared_buffers: '16MB',
  max_connections: '400',
  wal_level: 'replica',
  max_wal_senders: '10',
  hot_standby: 'on',
  wal_receiver_status_interval: '1s',
  wal_retrieve_retry_interval: '100ms',
  log_line_prefix: '%m [%p] %u %r ',
  log_min_messages: 'warning',
};

export class PostgresServer {
  readonly host: string;
  readonly #folder: TemporaryFolder;
  readonly #options: ServerOptions;
  readonly #forget: () => void;
  #port = 0;
  #postmaster: Child | undefined;
  #frozen: readonly number[] = [];
  #log = '';

  private constructor(folder: TemporaryFolder, options: ServerOptions) {
    this.#folder = folder;
    this.#options = options;
    this.host = options.on?.address ?? '127.0.0.1';
    this.#forget = atExit({
      close: () => this.close(),
      closeNow: () => {
        this.#killAll();
      },
    });
  }

  /** A new server that accepts connections. */
  static async create(options: ServerOptions = {}): Promise<PostgresServer> {
    return PostgresServer.#make(options, async (server) => {
      await (options.foreign === true ? foreignDataDirectory : dataDirectory)(server.dataDir);
    });
  }

  /**
   * A server that streams from `primary` and accepts connections. All but its place is as the primary has it: on another
   * host its port too, so that both can be behind one name.
   */
  static async createStandby(primary: PostgresServer, on?: Host): Promise<PostgresServer> {
    const options = on === undefined ? primary.#options : { ...primary.#options, on, port: primary.port };
    return PostgresServer.#make(options, async (server) => {
      if (!serverIsInstalled()) {
        await server.#copy(primary);
        return;
      }
      await server.#backUp(primary);
    });
  }

  /** A server that accepts connections, on the data directory that `fill` makes. */
  static async createFrom(
    fill: (dataDir: string) => Promise<void>,
    options: ServerOptions = {},
  ): Promise<PostgresServer> {
    return PostgresServer.#make(options, ({ dataDir }) => fill(dataDir));
  }

  static async #make(options: ServerOptions, fill: (server: PostgresServer) => Promise<void>): Promise<PostgresServer> {
    const server = new PostgresServer(await temporaryFolder(), options);
    try {
      await makeOwned(server.#folder.path);
      await fill(server);
      if (options.tls === true) await installServerCertificate(server.#folder.path, server.dataDir);
      await server.#configure();
      await server.start();
    } catch (error) {
      await server.close();
      throw error;
    }
    return server;
  }

  get port(): number {
    return this.#port;
  }

  /** As the candidate list has it. */
  get candidate(): string {
    return `${this.host}:${this.port}`;
  }

  get dataDir(): string {
    return join(this.#folder.path, 'data');
  }

  /** PEM file of the certificate authority, with the option `tls`. */
  get rootCertificate(): string {
    return join(this.#folder.path, 'root.crt');
  }

  /** What the server has logged, over all its starts. */
  get log(): string {
    return this.#log + (this.#postmaster?.stderr ?? '');
  }

  get running(): boolean {
    return this.#postmaster !== undefined && this.#postmaster.result === undefined;
  }

  /** Process id of the postmaster. */
  get pid(): number {
    if (this.#postmaster === undefined) throw new Error('the server was never started');
    return this.#postmaster.pid;
  }

  /** Rows as lines, columns divided by `|`. */
  query(sql: string): Promise<string> {
    return query({ host: this.host, port: this.port }, sql);
  }

  /** Starts it, on the port it had before, and waits until it accepts connections. */
  async start(): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      if (this.#port === 0) this.#port = this.#options.port ?? (await freePort());
      const postmaster = this.#spawn();
      try {
        await this.#accepting(postmaster);
        return;
      } catch (error) {
        this.#killAll();
        await postmaster.ended;
        this.#log += postmaster.stderr;
        this.#postmaster = undefined;
        // Somebody else may have taken the port between the choice and the start; later it is part of the address.
        if (tries === START_TRIES || !postmaster.stderr.includes('could not bind')) throw error;
        this.#port = 0;
      }
    }
  }

  async stop(mode: StopMode = 'fast'): Promise<void> {
    const postmaster = this.#postmaster;
    if (postmaster === undefined) return;
    if (this.#frozen.length > 0) this.thaw();
    postmaster.kill(STOP_SIGNALS[mode]);
    await within(STOP_DEADLINE_MS, `the end of server ${this.candidate}; log: ${this.log}`, postmaster.ended);
    this.#log += postmaster.stderr;
    this.#postmaster = undefined;
  }

  async restart(mode: StopMode = 'fast'): Promise<void> {
    await this.stop(mode);
    await this.start();
  }

  /** As when the machine loses its power, seen from a client that still gets a FIN or RST: kill -9 on everything. */
  async crash(): Promise<void> {
    const postmaster = this.#postmaster;
    if (postmaster === undefined) return;
    const all = [postmaster.pid, ...descendantsOf(postmaster.pid)];
    this.#killAll();
    await postmaster.ended;
    await eventually(`the end of all processes of ${this.candidate}`, () => !all.some(isAlive));
    this.#log += postmaster.stderr;
    this.#postmaster = undefined;
  }

  /** Stops every process of the server without ending it: it still accepts TCP connections, and never answers. */
  freeze(): void {
    // The postmaster first, so that it starts no more; what it has started until then is found afterwards.
    signal(this.pid, 'SIGSTOP');
    const children = descendantsOf(this.pid);
    for (const pid of children) signal(pid, 'SIGSTOP');
    this.#frozen = [this.pid, ...children];
  }

  thaw(): void {
    for (const pid of [...this.#frozen].reverse()) signal(pid, 'SIGCONT');
    this.#frozen = [];
  }

  /** Makes a standby a primary, and waits until it is one. */
  async promote(): Promise<void> {
    await runAsOwner([postgresProgram('pg_ctl'), 'promote', '--wait', '-D', this.dataDir]);
    await eventually('the promotion', async () => (await this.query('SELECT pg_is_in_recovery()')) === 'f');
  }

  /** Lets a standby stream from another server. */
  async follow(primary: PostgresServer): Promise<void> {
    const source = `host=${primary.host} port=${primary.port} user=${SUPERUSER}`;
    await this.query(`ALTER SYSTEM SET primary_conninfo = '${source}'; SELECT pg_reload_conf();`);
  }

  /** The next start is one as a standby of `primary`. Not for a server that has gone its own way: it needs pg_rewind. */
  async becomeStandbyOf(primary: PostgresServer): Promise<void> {
    const source = `primary_conninfo = 'host=${primary.host} port=${primary.port} user=${SUPERUSER}'\n`;
    if (serverMajor() < 12) {
      const path = join(this.dataDir, 'recovery.conf');
      await writeFile(path, `standby_mode = 'on'\n${source}`);
      // The server opens it for writing when it is promoted.
      const { uid, gid } = asServerOwner();
      if (uid !== undefined && gid !== undefined) await chown(path, uid, gid);
      return;
    }
    await appendFile(join(this.dataDir, 'postgresql.auto.conf'), source);
    await writeFile(join(this.dataDir, 'standby.signal'), '');
  }

  /** Starts a stopped server as a standby of `primary`, whatever was written to it before: all of that is given up. */
  async restartAsCopyOf(primary: PostgresServer): Promise<void> {
    await rm(this.dataDir, { recursive: true });
    await this.#backUp(primary);
    await this.#configure();
    await this.start();
  }

  /** Waits until a standby has replayed everything that `primary` has written so far. */
  async caughtUp(primary: PostgresServer): Promise<void> {
    const position = await primary.query('SELECT pg_current_wal_lsn()');
    await eventually(`${this.candidate} to replay ${position}`, async () => {
      return (await this.query(`SELECT pg_last_wal_replay_lsn() >= '${position}'`)) === 't';
    });
  }

  /** Ends it and takes everything away. */
  async close(): Promise<void> {
    this.#killAll();
    await this.#postmaster?.ended;
    await this.#folder.close();
    this.#forget();
  }

  /** What `primary` has, with what makes a standby of it. */
  async #backUp(primary: PostgresServer): Promise<void> {
    const from = ['-h', primary.host, '-p', String(primary.port), '-U', SUPERUSER];
    const how = ['--checkpoint=fast', '--no-sync', '--wal-method=stream', '--write-recovery-conf'];
    await runAsOwner([postgresProgram('pg_basebackup'), ...from, ...how, '-D', this.dataDir]);
  }

  /** For a server of another version than the installed pg_basebackup: what `primary` has while it does not run. */
  async #copy(primary: PostgresServer): Promise<void> {
    await primary.stop();
    await runAsOwner(['cp', '-a', primary.dataDir, this.dataDir]);
    await primary.start();
    await this.becomeStandbyOf(primary);
  }

  #killAll(): void {
    if (!this.running) return;
    // SIGKILL works on the frozen, too. All at once: a child that outlives the postmaster would keep its memory segment.
    const { pid } = this;
    signal(pid, 'SIGSTOP');
    for (const child of descendantsOf(pid)) signal(child, 'SIGKILL');
    signal(pid, 'SIGKILL');
    this.#frozen = [];
  }

  #spawn(): Child {
    const { on } = this.#options;
    const program = [postgresProgram('postgres'), '-D', this.dataDir, '-p', String(this.#port)];
    // Only root can enter another host: it becomes the owner there.
    const command = on === undefined ? program : [...on.enter, ...becomingServerOwner(), ...program];
    const postmaster = new Child(command, {
      ...(on === undefined ? asServerOwner() : {}),
      env: plainEnvironment(),
      cwd: '/',
      input: '',
      endedByOwner: true,
    });
    this.#postmaster = postmaster;
    return postmaster;
  }

  async #accepting(postmaster: Child): Promise<void> {
    const what = `server ${this.candidate} to accept connections`;
    const seen = await eventually(
      what,
      async () => {
        if (postmaster.result !== undefined) return 'ended' as const;
        await this.query('SELECT 1');
        return 'accepting' as const;
      },
      { deadlineMs: START_DEADLINE_MS, everyMs: 50 },
    );
    if (seen === 'ended') throw new Error(`server did not start: ${postmaster.stderr}`);
  }

  async #configure(): Promise<void> {
    const { settings = {}, hba = ['host all all all trust', 'host replication all all trust'], tls } = this.#options;
    const all: Readonly<Record<string, string>> = {
      ...SETTINGS,
      ...(serverMajor() < 13 ? { wal_keep_segments: '16' } : { wal_keep_size: '256MB' }),
      listen_addresses: this.host,
      unix_socket_directories: this.#folder.path,
      ssl: tls === true ? 'on' : 'off',
      ...settings,
    };
    const lines = Object.entries(all).map(([key, value]) => `${key} = '${value.replace(/'/g, "''")}'\n`);
    // The last line for a key counts: for a copy of another server these come after that server's own.
    await appendFile(join(this.dataDir, 'postgresql.conf'), lines.join(''));
    await writeFile(join(this.dataDir, 'pg_hba.conf'), ['local all all trust', ...hba, ''].join('\n'));
  }
}

export interface Cluster {
  readonly primary: PostgresServer;
  readonly standbys: readonly PostgresServer[];
  /** The primary, then the standbys. */
  readonly servers: readonly PostgresServer[];
  close(): Promise<void>;
}

/** A primary with streaming standbys, all accepting connections. */
export async function createCluster(standbyCount: number, options: ServerOptions = {}): Promise<Cluster> {
  const primary = await PostgresServer.create(options);
  const servers = [primary];
  const close = async (): Promise<void> => {
    await Promise.all(servers.map((server) => server.close()));
  };
  try {
    for (let made = 0; made < standbyCount; made += 1) servers.push(await PostgresServer.createStandby(primary));
  } catch (error) {
    await close();
    throw error;
  }
  return { primary, standbys: servers.slice(1), servers, close };
}
