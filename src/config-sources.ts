// SPDX-License-Identifier: MIT
// Where settings come from: which files there are, what the environment says,
// the systemd credential. What the values mean is decided elsewhere.
//
// Reads folders and small files, synchronously: it runs once at the start and
// once for each reload.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { unreadable } from './config-problems.js';
import type { Problem } from './config-problems.js';
import { SETTINGS } from './config-schema.js';

/** A value somebody gave to a setting, as it was written. */
export interface Given {
  readonly value: unknown;
  /** Who gave it, as it is named in errors and in the printed configuration. */
  readonly from: string;
}

/** What one source gives: key -> value. */
export type Layer = Map<string, Given>;

/** A value from the command line. */
export interface Override {
  /** Key of the setting, as in `listen.port`. */
  readonly key: string;
  readonly value: string;
  /** How it was given: `--listen-port`, or `<listen_port>`. */
  readonly option: string;
}

/** Name of the systemd credential that holds the probe password (LoadCredential=, systemd.exec(5)). */
export const PASSWORD_CREDENTIAL = 'pgpassword';

/** A file to read, and whether it may be missing. */
export interface ConfigFile {
  readonly path: string;
  readonly optional: boolean;
}

/**
 * The files to read, the weakest first: `file` alone if one is named, else the
 * main file and then conf.d/*.toml in the order of their bytes (the C locale's, the same on every machine).
 */
export function configFiles(file: string | undefined, directory: string, problems: Problem[]): ConfigFile[] {
  if (file !== undefined) return [{ path: file, optional: false }];
  const fragments = join(directory, 'conf.d');
  const names = fragmentNames(fragments, problems);
  return [join(directory, 'pg-gateway.toml'), ...names.map((name) => join(fragments, name))].map((path) => ({
    path,
    optional: true,
  }));
}

function fragmentNames(folder: string, problems: Problem[]): string[] {
  try {
    return (
      readdirSync(folder)
        // What a shell's *.toml would match: not editors' hidden files.
        .filter((name) => name.endsWith('.toml') && !name.startsWith('.'))
        .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    );
  } catch (error) {
    if (!isMissing(error)) problems.push(unreadable(folder, error));
    return [];
  }
}

/**
 * The settings that environment variables give. An empty variable counts as not set.
 * @param passwordFile what systemd would make the credential of, where it has not
 */
export function environmentLayer(env: NodeJS.ProcessEnv, problems: Problem[], passwordFile?: string): Layer {
  const layer: Layer = new Map();
  for (const { key, env: name } of SETTINGS) {
    const value = env[name];
    if (value !== undefined && value !== '') layer.set(key, { value, from: `environment ${name}` });
  }
  if (!layer.has('probe.password')) {
    const credential = credentialFile(env, passwordFile);
    const password = credential === undefined ? undefined : readPassword(credential.path, problems);
    if (credential !== undefined && password !== undefined) {
      layer.set('probe.password', { value: password, from: credential.from });
    }
  }
  return layer;
}

export function argumentLayer(overrides: readonly Override[]): Layer {
  return new Map(overrides.map(({ key, value, option }) => [key, { value, from: `argument ${option}` }]));
}

/** True if a system call failed; `code` is the name of its errno. */
export function isSystemError(error: unknown): error is Error & { readonly code: string } {
  return error instanceof Error && 'code' in error && 'syscall' in error && typeof error.code === 'string';
}

/** True if `error` says that there is no such file. */
export function isMissing(error: unknown): boolean {
  return isSystemError(error) && error.code === 'ENOENT';
}

function credentialFile(
  env: NodeJS.ProcessEnv,
  otherwise: string | undefined,
): { readonly path: string; readonly from: string } | undefined {
  const directory = env['CREDENTIALS_DIRECTORY'];
  if (directory !== undefined && directory !== '') {
    return { path: join(directory, PASSWORD_CREDENTIAL), from: `credential ${PASSWORD_CREDENTIAL}` };
  }
  return otherwise === undefined ? undefined : { path: otherwise, from: `${otherwise}, as the service would` };
}

/** One closing line feed is the editor's, not the password's. Nothing else is taken away. */
function readPassword(path: string, problems: Problem[]): string | undefined {
  try {
    const password = readFileSync(path, 'utf8').replace(/\r?\n$/, '');
    return password === '' ? undefined : password;
  } catch (error) {
    if (!isMissing(error)) problems.push(unreadable(path, error));
    return undefined;
  }
}
