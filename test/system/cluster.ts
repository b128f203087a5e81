// SPDX-License-Identifier: MIT
// A primary and a streaming standby inside a machine, as Debian installs them: units
// postgresql@VERSION-NAME, managed by pg_ctlcluster.

import type { Ended } from '../helpers/child.js';
import { eventually } from '../helpers/wait.js';
import type { Machine } from './machine.js';

export const PROBE_PASSWORD = 'correct-horse-battery';

/** Where the gateway listens as shipped. */
const GATEWAY_PORT = 5432;

/** The probe user needs its password, everybody else is trusted. */
const PG_HBA = `
local all,replication all trust
host all probe all scram-sha-256
host all,replication all all trust
`;

// One cluster after the other: the standby is a copy of the primary with its own configuration.
const CREATE = `
cd /
version=$(ls /usr/lib/postgresql)
printf '%s' "$1" >/etc/pg_hba.conf
create() { pg_createcluster "$version" "$1" --port "$2" -o "hba_file=/etc/pg_hba.conf" -o fsync=off -o listen_addresses=* "\${@:3}"; }
create primary 5433 -- --no-sync --auth=trust >/dev/null
pg_ctlcluster "$version" primary start
psql -q -U postgres -p 5433 -c "CREATE ROLE probe LOGIN PASSWORD '$2'"
create standby 5434 -- --no-sync --auth=trust >/dev/null
data=/var/lib/postgresql/$version/standby
rm -rf "$data"
runuser -u postgres -- pg_basebackup -p 5433 -D "$data" -R --checkpoint=fast --no-sync
pg_ctlcluster "$version" standby start
`;

export class Cluster {
  readonly #machine: Machine;

  private constructor(machine: Machine) {
    this.#machine = machine;
  }

  /** Both servers up, the standby streaming. */
  static async create(machine: Machine): Promise<Cluster> {
    await machine.shell(CREATE, PG_HBA, PROBE_PASSWORD);
    const cluster = new Cluster(machine);
    await eventually(
      'the standby to stream',
      async () => (await cluster.query('SELECT state FROM pg_stat_replication', Cluster.primary)) === 'streaming',
    );
    return cluster;
  }

  static readonly primary = 5433;
  static readonly standby = 5434;

  /** For CANDIDATES. */
  static readonly candidates = ['127.0.0.1:5433', '127.0.0.1:5434'];

  /** By way of the gateway unless another port is given. Rows as lines, columns divided by `|`. */
  async query(sql: string, port = GATEWAY_PORT): Promise<string> {
    return (await this.#machine.succeed(psql(port), { input: sql })).trimEnd();
  }

  /** The same, for tests of failures. */
  tryQuery(sql: string, port = GATEWAY_PORT): Promise<Ended> {
    return this.#machine.run(psql(port), { input: sql });
  }

  /** The primary goes for good, and the standby takes its place. */
  async failOver(): Promise<void> {
    await this.#machine.shell(`
      version=$(ls /usr/lib/postgresql)
      pg_ctlcluster "$version" primary stop -m immediate
      pg_ctlcluster "$version" standby promote`);
  }
}

function psql(port: number): string[] {
  const to = ['-h', '127.0.0.1', '-p', String(port), '-U', 'postgres', '-d', 'postgres'];
  return ['psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', ...to, '-f', '-'];
}
