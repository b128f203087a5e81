// SPDX-License-Identifier: MIT
// The PostgreSQL of this machine: where its programs are, who runs them, and a
// fresh data directory. initdb runs once for each test run; the rest are copies.

import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { chown, mkdir, rename } from 'node:fs/promises';
import { delimiter, join } from 'node:path';

import { run, succeed } from './child.js';
import type { ChildOptions } from './child.js';
import { temporaryFolder } from './paths.js';

/** The superuser of every test server; it logs in without a password unless the test says otherwise. */
export const SUPERUSER = 'postgres';

/** The environment variable by which test/run.ts hands a folder for the template to all test files. */
export const TEMPLATE_VARIABLE = 'PG_GATEWAY_TEST_TEMPLATE';

/** The environment variable that names a folder with the server programs of another PostgreSQL: initdb, postgres, pg_ctl. */
export const SERVER_VARIABLE = 'PG_GATEWAY_TEST_SERVER';

const ADMIN_DEADLINE_MS = 60_000;

interface Installation {
  /** Folder of initdb, postgres, psql, pgbench. */
  readonly binDir: string;
  /** Where a program is looked for first; it need not have the clients. */
  readonly serverDir: string | undefined;
  /** Who runs the server: it refuses to run as root. Empty: who runs the test. */
  readonly owner: Pick<ChildOptions, 'uid' | 'gid'>;
}

let found: Installation | undefined;
let major: number | undefined;
let template: Promise<string> | undefined;

/** Path of one of PostgreSQL's programs. @throws Error if there is no PostgreSQL */
export function postgresProgram(name: string): string {
  const { binDir, serverDir } = installation();
  const given = join(serverDir ?? binDir, name);
  return existsSync(given) ? given : join(binDir, name);
}

/** The major version of the servers. */
export function serverMajor(): number {
  major ??= majorOf(execFileSync(postgresProgram('postgres'), ['--version'], { encoding: 'utf8' }));
  return major;
}

/** From the words of `postgres --version`. @throws Error if there is none in it */
export function majorOf(words: string): number {
  const match = /\(PostgreSQL\) (\d+)/.exec(words);
  if (match === null) throw new Error(`no version of PostgreSQL: ${words}`);
  return Number(match[1]);
}

/** Whether the servers are of the same installation as the clients, pg_basebackup among them. */
export function serverIsInstalled(): boolean {
  return installation().serverDir === undefined;
}

/** Options to run something as the user that owns the servers. */
export function asServerOwner(): Pick<ChildOptions, 'uid' | 'gid'> {
  return installation().owner;
}

/** The same as the first part of a command line, for root: what follows runs as that user, by exec. */
export function becomingServerOwner(): readonly string[] {
  const { uid, gid } = installation().owner;
  return uid === undefined || gid === undefined
    ? []
    : ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups'];
}

/** The environment of PostgreSQL's programs: nothing of the tester's own settings, messages in English. */
export function plainEnvironment(extra: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  return { PATH: process.env['PATH'], LC_ALL: 'C', TZ: 'UTC', HOME: '/nonexistent', ...extra };
}

/** Runs one of PostgreSQL's programs as the server's owner; its standard output. */
export function runAsOwner(command: readonly string[]): Promise<string> {
  return succeed(command, {
    ...asServerOwner(),
    env: plainEnvironment(),
    cwd: '/',
    deadlineMs: ADMIN_DEADLINE_MS,
  });
}

/** Makes a folder that only the server's owner can enter. */
export async function makeOwned(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  const { uid, gid } = asServerOwner();
  if (uid !== undefined && gid !== undefined) await chown(path, uid, gid);
}

/** Makes a new data directory. All of one test run have the same system identifier; see `foreignDataDirectory`. */
export async function dataDirectory(path: string): Promise<void> {
  template ??= sharedTemplate();
  await runAsOwner(['cp', '-a', await template, path]);
}

/** Makes a data directory with a system identifier of its own: a server of another cluster. */
export async function foreignDataDirectory(path: string): Promise<void> {
  await initdb(path);
}

/** What `dataDirectory` copies, made by whoever comes first. */
async function sharedTemplate(): Promise<string> {
  const given = process.env[TEMPLATE_VARIABLE];
  const folder = given ?? (await temporaryFolder()).path;
  const path = join(folder, 'template');
  if (existsSync(path)) return path;
  const { uid, gid } = asServerOwner();
  if (uid !== undefined && gid !== undefined) await chown(folder, uid, gid);
  const making = `${path}.${process.pid}`;
  await initdb(making);
  try {
    await rename(making, path);
  } catch (error) {
    // Another process was faster: its template is as good.
    if (!existsSync(path)) throw error;
    return making;
  }
  return path;
}

async function initdb(path: string): Promise<void> {
  const options = ['--auth=trust', '--no-sync', '--encoding=UTF8', '--locale=C', `--username=${SUPERUSER}`];
  await runAsOwner([postgresProgram('initdb'), ...options, '-D', path]);
}

function installation(): Installation {
  found ??= { binDir: findBinDir(), serverDir: process.env[SERVER_VARIABLE], owner: findOwner() };
  return found;
}

/** The newest of Debian's, else what is in PATH. Debian's /usr/bin/psql is a slow wrapper. */
function findBinDir(): string {
  const debian = '/usr/lib/postgresql';
  const versions = existsSync(debian) ? readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : [];
  const folders = [
    ...versions.map((version) => join(debian, version, 'bin')),
    ...(process.env['PATH'] ?? '').split(delimiter),
  ];
  const folder = folders.find((path) => ['initdb', 'postgres', 'psql'].every((name) => existsSync(join(path, name))));
  if (folder === undefined) throw new Error('no PostgreSQL server found: run packaging/provision test');
  return folder;
}

function findOwner(): Installation['owner'] {
  if (process.getuid?.() !== 0) return {};
  const id = (option: string): number => Number(execFileSync('id', [option, 'postgres'], { encoding: 'utf8' }));
  return { uid: id('-u'), gid: id('-g') };
}

/** Whether the machine can do IPv6 on its loopback interface. */
export async function hasIpv6(): Promise<boolean> {
  const { stdout } = await run(['cat', '/proc/net/if_inet6']);
  return stdout.includes('00000000000000000000000000000001');
}
