// SPDX-License-Identifier: MIT
// The servers of pg-gateway-guides(7), db1 the primary and db2 its standby, set up by the
// blocks of the page, on their own hosts at port 5432.

import { succeed } from '../helpers/child.js';
import type { Host } from '../helpers/network.js';
import { becomingServerOwner, plainEnvironment, postgresProgram } from '../helpers/postgres-install.js';
import { PostgresServer } from '../helpers/postgres.js';
import type { Lan } from './lan.js';
import { block, linesOf } from './page.js';

export const POSTGRES_PORT = 5432;

/** Ahead of the page's lines: the tests themselves are the superuser. */
export const OWN_HBA = ['host all postgres all trust'];
const BLOCK_DEADLINE_MS = 60_000;

export interface Servers {
  readonly db1: PostgresServer;
  readonly db2: PostgresServer;
  close(): Promise<void>;
}

/** Runs commands of the page on a host as the user postgres, with PostgreSQL's programs in PATH. @throws Error with their output */
export async function runAsPostgres(host: Host, commands: string): Promise<string> {
  const owner = becomingServerOwner();
  const path = `${postgresProgram('').replace(/\/$/u, '')}:${process.env['PATH'] ?? ''}`;
  return succeed([...host.enter, ...owner, 'sh', '-euc', commands], {
    // On the server itself psql finds the socket of Debian's server; here it is at the address.
    env: plainEnvironment({ PATH: path, HOME: '/var/lib/postgresql', PGHOST: host.address, PGUSER: 'postgres' }),
    cwd: '/',
    deadlineMs: BLOCK_DEADLINE_MS,
  });
}

/**
 * A primary and a standby as the guide to streaming replication makes them.
 * @param hba more lines of pg_hba.conf
 */
export async function startServers(lan: Lan, hba: readonly string[] = []): Promise<Servers> {
  const options = {
    port: POSTGRES_PORT,
    hba: [...OWN_HBA, ...linesOf(block('probe-pg_hba.conf')), ...linesOf(block('streaming-pg_hba.conf')), ...hba],
    // As it is by default: pg_rewind insists.
    settings: { full_page_writes: 'on', ...settingsOf(block('streaming-postgresql.conf')) },
  };
  const made: PostgresServer[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(made.map((server) => server.close()));
  };
  try {
    const db1 = await PostgresServer.create({ ...options, on: lan.host('db1') });
    made.push(db1);
    await db1.query(block('probe.sql') + block('streaming.sql'));
    const db2 = await PostgresServer.createFrom(
      async (dataDir) => {
        await runAsPostgres(lan.host('db2'), block('streaming-clone', { '/var/lib/postgresql/15/main': dataDir }));
      },
      { ...options, on: lan.host('db2') },
    );
    made.push(db2);
    await db2.caughtUp(db1);
    return { db1, db2, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Lines of postgresql.conf. */
export function settingsOf(text: string): Record<string, string> {
  return Object.fromEntries(
    linesOf(text).map((line) => {
      const [, key = '', value = ''] = /^(\w+) = '?(.*?)'?$/u.exec(line) ?? [];
      return [key, value];
    }),
  );
}
