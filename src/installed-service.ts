// SPDX-License-Identifier: MIT
// What the units of the package give a gateway that a shell does not: a user, the file with
// its password, a state directory, and no home directory. A check by root is meant for it.

import { existsSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';

import { CONFIG_DIRECTORY, STATE_DIRECTORY } from './config-schema.js';

export interface InstalledService {
  readonly unit: string;
  /** User=, which exists while the service runs. */
  readonly user: string;
  /** LoadCredential=: the password of the probes. */
  readonly passwordFile: string;
  readonly stateDirectory: string;
  /** The units that listen for it; null: it listens by itself. */
  readonly sockets: { readonly clients: string; readonly metrics: string | null };
}

/** The file under systemd's folders; that of an instance is a template. */
const UNIT_FILE = 'pg-gateway.service';
const INSTANCE_FILE = 'pg-gateway@.service';
const MAIN_FILE = 'pg-gateway.toml';
const ENDING = '.toml';

const UNIT_FOLDERS = [
  '/etc/systemd/system',
  '/run/systemd/system',
  '/usr/local/lib/systemd/system',
  '/usr/lib/systemd/system',
  '/lib/systemd/system',
];

/**
 * The service whose configuration it is, by names alone: systemd/*.service have the same.
 * @param file `--config`; undefined: the standard files
 */
export function serviceOf(file: string | undefined): InstalledService | undefined {
  const instance = file === undefined ? '' : instanceOf(resolve(file));
  if (instance === undefined) return undefined;
  const isMain = instance === '';
  return {
    unit: isMain ? UNIT_FILE : INSTANCE_FILE.replace('@', `@${instance}`),
    user: 'pg-gateway',
    passwordFile: join(CONFIG_DIRECTORY, isMain ? 'pgpassword' : `${instance}.pgpassword`),
    stateDirectory: isMain ? STATE_DIRECTORY : `${STATE_DIRECTORY}-${instance}`,
    sockets: isMain
      ? { clients: 'pg-gateway.socket', metrics: 'pg-gateway-metrics.socket' }
      : { clients: `pg-gateway@${instance}.socket`, metrics: null },
  };
}

/**
 * The unit that should have handed over the sockets for clients, where this is a process of the service that has none:
 * the unit could not open its address, or is masked.
 */
export function missingSocket(
  file: string | undefined,
  env: NodeJS.ProcessEnv,
  clients: readonly number[],
): string | undefined {
  const service = serviceOf(file);
  const isService = (env['NOTIFY_SOCKET'] ?? '') !== '' && env['STATE_DIRECTORY'] === service?.stateDirectory;
  return isService && clients.length === 0 ? service?.sockets.clients : undefined;
}

/** Empty: the main file, which is no instance's. */
function instanceOf(path: string): string | undefined {
  const name = basename(path);
  if (dirname(path) !== CONFIG_DIRECTORY || !name.endsWith(ENDING) || name === ENDING) return undefined;
  return name === MAIN_FILE ? '' : name.slice(0, -ENDING.length);
}

/**
 * The service that root asks about. For everybody else, and where it is not installed, a check is one for who asks.
 * @param folders where units are
 */
export function serviceToJudgeFor(
  file: string | undefined,
  uid = process.getuid?.(),
  folders: readonly string[] = UNIT_FOLDERS,
): InstalledService | undefined {
  const service = uid === 0 ? serviceOf(file) : undefined;
  if (service === undefined) return undefined;
  const name = service.unit === UNIT_FILE ? UNIT_FILE : INSTANCE_FILE;
  return folders.some((folder) => existsSync(join(folder, name))) ? service : undefined;
}
