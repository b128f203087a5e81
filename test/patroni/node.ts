// SPDX-License-Identifier: MIT
// One node of a Patroni cluster: its Patroni, its PostgreSQL, and what its REST interface says.

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { freePort } from '../helpers/ports.js';
import { postgresProgram, runAsOwner, SUPERUSER } from '../helpers/postgres-install.js';
import { isAlive, signal } from '../helpers/processes.js';
import { query } from '../helpers/psql.js';
import { eventually } from '../helpers/wait.js';
import { callJson } from './etcd.js';
import { Kept } from './kept.js';

/** What all nodes of a cluster have in common. */
export interface Surroundings {
  readonly folder: string;
  readonly etcdPort: number;
  /** Lines of pg_hba.conf ahead of those that let everybody in. */
  readonly hba: readonly string[];
}

/** Of `GET /patroni`; only what is used. */
export interface NodeStatus {
  readonly state?: string;
  readonly role?: string;
  readonly pause?: boolean;
  readonly sync_standby?: boolean;
  readonly timeline?: number;
  readonly replication?: readonly { readonly state?: string; readonly sync_state?: string }[];
}

export const SCOPE = 'failover';

const RESTART_DEADLINE_MS = 60_000;
const END_DEADLINE_MS = 15_000;

/** The shortest that Patroni allows: less waiting for its next look, nothing else is different. */
const DCS = { ttl: 20, loop_wait: 1, retry_timeout: 3 };

const PARAMETERS: Readonly<Record<string, string>> = {
  max_connections: '300',
  wal_level: 'replica',
  hot_standby: 'on',
  wal_log_hints: 'on',
  wal_keep_size: '256MB',
  wal_retrieve_retry_interval: '100ms',
  // The machine does not lose its power, only processes die.
  fsync: 'off',
  log_line_prefix: '%m [%p] ',
};

export class PatroniNode {
  readonly host = '127.0.0.1';
  readonly name: string;
  readonly port: number;
  readonly restPort: number;
  readonly #in: Surroundings;
  /** Patroni with its server, and servers that were started by hand. */
  #processes: readonly Kept[] = [];
  #earlierLog = '';

  private constructor(name: string, ports: { port: number; restPort: number }, surroundings: Surroundings) {
    this.name = name;
    this.port = ports.port;
    this.restPort = ports.restPort;
    this.#in = surroundings;
  }

  /** Its files; nothing runs yet. `ssl` needs server.crt and server.key in the folder. */
  static async create(name: string, surroundings: Surroundings): Promise<PatroniNode> {
    const node = new PatroniNode(name, { port: await freePort(), restPort: await freePort() }, surroundings);
    // JSON is YAML.
    await writeFile(node.configFile, JSON.stringify(node.#configuration(), undefined, 2));
    return node;
  }

  /** As the candidate list has it. */
  get candidate(): string {
    return `${this.host}:${this.port}`;
  }

  /** Of Patroni. */
  get configFile(): string {
    return join(this.#in.folder, `${this.name}.yml`);
  }

  get dataDir(): string {
    return join(this.#in.folder, this.name);
  }

  /** What Patroni and PostgreSQL have logged. */
  get log(): string {
    return this.#earlierLog + this.#processes.map(({ log }) => log).join('');
  }

  /** Starts Patroni, which starts the server as what it has to be. */
  async start(): Promise<void> {
    this.#processes = [...this.#processes, await Kept.start(['patroni', this.configFile])];
  }

  query(sql: string): Promise<string> {
    return query({ host: this.host, port: this.port }, sql);
  }

  async status(): Promise<NodeStatus> {
    const { body } = await callJson(this.restPort, 'GET', '/patroni');
    return JSON.parse(body) as NodeStatus;
  }

  /** Whether Patroni says that it is the primary and holds the lock. */
  async leads(): Promise<boolean> {
    try {
      return (await callJson(this.restPort, 'GET', '/primary')).status === 200;
    } catch {
      return false;
    }
  }

  async call(method: string, path: string, body: unknown): Promise<void> {
    const answer = await callJson(this.restPort, method, path, body);
    if (answer.status !== 200) throw new Error(`${method} ${path} of ${this.name}: ${answer.status} ${answer.body}`);
  }

  /** kill -9 of Patroni and of the postmaster. The server's other processes notice by themselves, as in real life. */
  async kill(): Promise<void> {
    const postmaster = await this.#postmaster();
    for (const { pid, hasEnded } of this.#processes) if (!hasEnded) signal(pid, 'SIGKILL');
    signal(postmaster, 'SIGKILL');
    await eventually(`the end of ${this.name}`, () => !isAlive(postmaster), { deadlineMs: END_DEADLINE_MS });
    await this.close();
  }

  /** Restarts the server as a standby, by hand. Patroni has to be paused. */
  async restartAsStandby(): Promise<void> {
    // Patroni writes it too: it must be the owner's.
    await runAsOwner(['touch', join(this.dataDir, 'standby.signal')]);
    const command = [postgresProgram('pg_ctl'), 'restart', '--wait', '--mode=fast', '-D', this.dataDir];
    const restart = await Kept.start(command);
    this.#processes = [...this.#processes, restart];
    await restart.succeeded(RESTART_DEADLINE_MS);
  }

  /**
   * By hand. Patroni has to be paused. A server that has been the primary before still has the standby of that time in
   * synchronous_standby_names: its first commits would wait until Patroni has looked. `settlePromotion` undoes this.
   */
  async promote(): Promise<void> {
    await this.query("ALTER SYSTEM SET synchronous_standby_names = ''");
    await this.query('SELECT pg_reload_conf()');
    await eventually(`${this.name} to forget its standby`, async () => {
      return (await this.query('SHOW synchronous_standby_names')) === '';
    });
    await this.query('SELECT pg_promote(wait => false)');
  }

  /** From now on the setting is Patroni's again. */
  async settlePromotion(): Promise<void> {
    await this.query('ALTER SYSTEM RESET synchronous_standby_names');
    await this.query('SELECT pg_reload_conf()');
  }

  /** Everything, by force. Idempotent. */
  async close(): Promise<void> {
    const processes = this.#processes;
    await Promise.all(processes.map((process) => process.close()));
    this.#earlierLog = this.log;
    this.#processes = [];
  }

  async #postmaster(): Promise<number> {
    return Number((await readFile(join(this.dataDir, 'postmaster.pid'), 'utf8')).split('\n')[0]);
  }

  #configuration(): unknown {
    const { folder, etcdPort, hba } = this.#in;
    const rest = `127.0.0.1:${this.restPort}`;
    const user = (username: string): unknown => ({ username, password: username });
    return {
      scope: SCOPE,
      name: this.name,
      restapi: { listen: rest, connect_address: rest },
      etcd3: { host: `127.0.0.1:${etcdPort}` },
      bootstrap: {
        // A row is acknowledged when the standby that may take over has it: then none may be missing afterwards.
        dcs: { ...DCS, synchronous_mode: true, postgresql: { use_pg_rewind: true, parameters: PARAMETERS } },
        initdb: [{ encoding: 'UTF8' }, { locale: 'C' }, 'no-sync'],
      },
      postgresql: {
        listen: this.candidate,
        connect_address: this.candidate,
        data_dir: this.dataDir,
        bin_dir: postgresProgram('').replace(/\/$/, ''),
        pgpass: join(folder, `${this.name}.pgpass`),
        authentication: { superuser: user(SUPERUSER), replication: user('replicator'), rewind: user('rewinder') },
        parameters: {
          unix_socket_directories: folder,
          ssl: 'on',
          ssl_cert_file: join(folder, 'server.crt'),
          ssl_key_file: join(folder, 'server.key'),
        },
        pg_hba: [
          ...hba,
          'local all all trust',
          'host all all 127.0.0.1/32 trust',
          'host replication all 127.0.0.1/32 trust',
        ],
      },
    };
  }
}
