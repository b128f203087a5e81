// SPDX-License-Identifier: MIT
// How the probes log in: user, password file and certificates, with the
// defaults of libpq, and the rules between these settings.
//
// Source of the rules: PostgreSQL manual, "34.16. The Password File" and
// "34.19. SSL Support".

import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';

import { invalid, systemReason } from './config-problems.js';
import type { Problem } from './config-problems.js';
import type { RawSettings } from './config-schema.js';
import type { Given } from './config-sources.js';
import type { ProbeTls, SslMode } from './config-types.js';

export interface Login {
  readonly user: string | undefined;
  readonly passfile: string | undefined;
  readonly tls: ProbeTls;
}

export interface Account {
  readonly name: string;
  /** Undefined: it has none. */
  readonly home: string | undefined;
}

/** What is known about the settings of a log-in before defaults are filled in. */
export interface LoginInput {
  readonly probe: RawSettings['probe'];
  /** Who gave a setting (by its key, as in `probe.sslcert`); undefined: nobody, it is the default. */
  readonly given: (key: string) => Given | undefined;
  readonly env: NodeJS.ProcessEnv;
  /** Who logs in, if it is not the user of this process. */
  readonly account?: Account | undefined;
  /** Whether to report breaches of the rules between settings; they mean nothing while one setting is wrong in itself. */
  readonly checkRules: boolean;
}

type FileKey = 'passfile' | 'sslrootcert' | 'sslcert' | 'sslkey';

/** libpq's word for the certificates of the operating system. */
const SYSTEM_ROOTS = 'system';

export function resolveLogin(input: LoginInput, problems: Problem[]): Login {
  const breaches: Problem[] = [];
  const login = {
    user: input.probe.user ?? (input.account ?? operatingSystemUser())?.name,
    passfile: resolvePassfile(input, problems),
    tls: resolveTls(input, problems, breaches),
  };
  if (input.checkRules) problems.push(...breaches);
  return login;
}

/** A password file that is named must be there. The default one is used if it can be. */
function resolvePassfile(input: LoginInput, problems: Problem[]): string | undefined {
  const named = namedFile(input, 'passfile', problems);
  if (named !== undefined) return named;
  const path = inHome(input, '.pgpass');
  return path !== undefined && readProblem(path) === undefined ? path : undefined;
}

function resolveTls(input: LoginInput, problems: Problem[], breaches: Problem[]): ProbeTls {
  const roots = input.probe.sslrootcert === SYSTEM_ROOTS ? SYSTEM_ROOTS : undefined;
  const mode = resolveMode(input, roots, breaches);
  const withDefaults = mode !== 'disable';
  const rootCert = roots ?? tlsFile(input, 'sslrootcert', 'root.crt', withDefaults, problems);
  const cert = tlsFile(input, 'sslcert', 'postgresql.crt', withDefaults, problems);
  const key = tlsFile(input, 'sslkey', 'postgresql.key', withDefaults && cert !== undefined, problems);

  if ((mode === 'verify-ca' || mode === 'verify-full') && rootCert === undefined) {
    const where = input.given('probe.sslmode')?.from ?? 'default';
    breaches.push(
      invalid(
        where,
        `probe.sslmode = "${mode}": expected a root certificate to verify with: set probe.sslrootcert (PGSSLROOTCERT) to a file or to "system"${orInHome(input, ', or', 'root.crt')}`,
      ),
    );
  }
  requirePair(input, cert, key, breaches);
  return {
    mode,
    ...(rootCert === undefined ? {} : { rootCert }),
    ...(cert === undefined || key === undefined ? {} : { cert, key }),
  };
}

/** With the roots of the operating system anything weaker than verify-full would trust every site of the world. */
function resolveMode(input: LoginInput, roots: string | undefined, breaches: Problem[]): SslMode {
  const mode = input.probe.sslmode;
  if (roots === undefined || mode === 'verify-full') return mode;
  const given = input.given('probe.sslmode');
  if (given === undefined) return 'verify-full';
  breaches.push(
    invalid(given.from, `probe.sslmode = "${mode}": expected "verify-full", as probe.sslrootcert is "system"`),
  );
  return mode;
}

function requirePair(input: LoginInput, cert: string | undefined, key: string | undefined, breaches: Problem[]): void {
  if (cert !== undefined && key === undefined) {
    const where = input.given('probe.sslcert')?.from ?? 'default';
    breaches.push(
      invalid(
        where,
        `probe.sslcert = ${JSON.stringify(cert)}: expected its private key too: set probe.sslkey (PGSSLKEY)${orInHome(input, ' or', 'postgresql.key')}`,
      ),
    );
  }
  const keyGiven = input.given('probe.sslkey');
  if (cert === undefined && key !== undefined && keyGiven !== undefined) {
    breaches.push(
      invalid(
        keyGiven.from,
        `probe.sslkey = ${JSON.stringify(key)}: expected its certificate too: set probe.sslcert (PGSSLCERT)${orInHome(input, ' or', 'postgresql.crt')}`,
      ),
    );
  }
}

/** The file that is named, or else libpq's default one if it is there. A file that is there must be readable. */
function tlsFile(
  input: LoginInput,
  key: FileKey,
  defaultName: string,
  withDefault: boolean,
  problems: Problem[],
): string | undefined {
  const named = namedFile(input, key, problems);
  if (named !== undefined || !withDefault) return named;
  const path = inHome(input, join('.postgresql', defaultName));
  if (path === undefined || !existsSync(path)) return undefined;
  reportUnreadable('default', key, path, problems);
  return path;
}

/** The path that is named, also if it is wrong: then the problem has been reported. */
function namedFile(input: LoginInput, key: FileKey, problems: Problem[]): string | undefined {
  const path = input.probe[key];
  if (path === null) return undefined;
  reportUnreadable(input.given(`probe.${key}`)?.from ?? 'default', key, path, problems);
  return path;
}

function reportUnreadable(where: string, key: FileKey, path: string, problems: Problem[]): void {
  const reason = readProblem(path);
  if (reason === undefined) return;
  problems.push(invalid(where, `probe.${key} = ${JSON.stringify(path)}: expected a readable file: ${reason}`));
}

/** Why `path` is not a readable file, or undefined if it is one. It is not opened: a device could wait. */
function readProblem(path: string): string | undefined {
  try {
    const stat = statSync(path);
    if (stat.isDirectory()) return 'EISDIR: it is a directory';
    if (stat.isFIFO() || stat.isSocket()) return 'it is no file, but something that other programs write to';
    accessSync(path, constants.R_OK);
    return undefined;
  } catch (error) {
    return systemReason(error);
  }
}

/** A path below the home directory, if there is one. */
function inHome({ env, account }: LoginInput, name: string): string | undefined {
  const home = account === undefined ? homeDirectory(env) : account.home;
  return home === undefined ? undefined : join(home, name);
}

/** The remedy that only who has a home directory has. */
function orInHome({ account }: LoginInput, or: string, name: string): string {
  return account !== undefined && account.home === undefined ? '' : `${or} provide ~/.postgresql/${name}`;
}

/** `$HOME`, else the one of the user data base, as libpq 16 looks for it. */
function homeDirectory(env: NodeJS.ProcessEnv): string | undefined {
  const variable = env['HOME'];
  return variable !== undefined && variable !== '' ? variable : operatingSystemUser()?.home;
}

/** Libpq's own files of this process's user that are there, by the settings that they would stand for. */
export function filesOfOwnHome(env: NodeJS.ProcessEnv): ReadonlyMap<string, string> {
  const home = homeDirectory(env);
  const files = [
    ['probe.passfile', '.pgpass'],
    ['probe.sslrootcert', '.postgresql/root.crt'],
    ['probe.sslcert', '.postgresql/postgresql.crt'],
  ] as const;
  const paths = files.map(([key, name]) => [key, join(home ?? '', name)] as const);
  return new Map(home === undefined ? [] : paths.filter(([, path]) => readProblem(path) === undefined));
}

function operatingSystemUser(): { readonly name: string; readonly home: string } | undefined {
  try {
    const { username, homedir } = userInfo();
    return { name: username, home: homedir };
  } catch {
    // A numeric user without an entry in the user data base, as in a container.
    return undefined;
  }
}
