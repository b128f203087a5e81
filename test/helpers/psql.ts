// SPDX-License-Identifier: MIT
// psql as a user has it: libpq is the client whose behaviour counts.

import { Child, run } from './child.js';
import type { Ended } from './child.js';
import { plainEnvironment, postgresProgram, SUPERUSER } from './postgres-install.js';

/** Where to connect, and more of libpq's environment: PGSSLMODE, PGSSLROOTCERT, PGGSSENCMODE, PGCONNECT_TIMEOUT. */
export interface Target {
  /** Name, address, or folder of a UNIX socket. */
  readonly host: string;
  readonly port: number;
  readonly env?: Readonly<Record<string, string>>;
}

/** Rows as lines, columns divided by `|`. @throws Error with psql's words if it fails */
export async function query(target: Target, sql: string): Promise<string> {
  const { status, stdout, stderr } = await psql(target, sql);
  if (status !== 0) throw new Error(`psql failed with status ${String(status)} on ${JSON.stringify(sql)}: ${stderr}`);
  return stdout.trimEnd();
}

/** The same, for tests of failures: status 2 is "could not connect" or "connection lost", 3 an SQL error. */
export function psql(target: Target, sql: string, deadlineMs = 30_000): Promise<Ended> {
  return run(command(), { env: clientEnvironment(target), input: sql, deadlineMs });
}

/** A psql that goes on: reads what is written to it, prints its answers. */
export function startPsql(target: Target, input?: string): Child {
  return new Child(command(), { env: clientEnvironment(target), ...(input === undefined ? {} : { input }) });
}

/** Any other of PostgreSQL's client programs. */
export function clientProgram(
  target: Target,
  name: string,
  args: readonly string[],
  deadlineMs = 60_000,
): Promise<Ended> {
  return run([postgresProgram(name), ...args], { env: clientEnvironment(target), deadlineMs });
}

function command(): string[] {
  return [postgresProgram('psql'), '-XAtq', '-v', 'ON_ERROR_STOP=1', '-f', '-'];
}

/** What PostgreSQL's programs need to know of a server. */
export function clientEnvironment({ host, port, env }: Target): NodeJS.ProcessEnv {
  return plainEnvironment({
    PGHOST: host,
    PGPORT: String(port),
    PGUSER: SUPERUSER,
    PGDATABASE: 'postgres',
    PGAPPNAME: 'test',
    PGCONNECT_TIMEOUT: '10',
    ...env,
  });
}
