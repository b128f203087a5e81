// SPDX-License-Identifier: MIT
// A probe password that stands in a file which every user of the machine may read:
// worth a warning, not an error.

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';

import { oneLine } from './config-problems.js';
import { PASSWORD_CREDENTIAL } from './config-sources.js';

/** Where the units of the Debian package have their EnvironmentFile=, one for each gateway. */
export const ENVIRONMENT_FILES = '/etc/default';
const ENVIRONMENT_FILE_NAME = /^pg-gateway(?:[@.-].*)?$/;
/** Whatever its quotes; a comment begins with # or ; (systemd.exec(5), EnvironmentFile=). */
const GIVES_PASSWORD = /^[ \t]*PGPASSWORD[ \t]*=[ \t]*["']?[^"'\s]/m;

export interface ExposureInput {
  /** Configuration files that give probe.password, whether or not another source overrides it. */
  readonly configFiles: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** Folder of the environment files. */
  readonly environmentFiles: string;
}

/** One line that names the files and the way out, or none. */
export function passwordWarnings({ configFiles, env, environmentFiles }: ExposureInput): readonly string[] {
  const inEnvironment = (env['PGPASSWORD'] ?? '') === '' ? [] : filesWithPassword(environmentFiles);
  const files = [...configFiles, ...inEnvironment].filter(readableByAll);
  if (files.length === 0) return [];
  return [
    oneLine(
      `${files.join(', ')}: the password of the probes can be read by every user of this machine: ` +
        `move it into the systemd credential ${PASSWORD_CREDENTIAL} (LoadCredential=${PASSWORD_CREDENTIAL}:FILE; ` +
        'pg-gateway.service has /etc/pg-gateway/pgpassword) or, without systemd, into a password file ' +
        '(probe.passfile, PGPASSFILE) that nobody else may read',
    ),
  ];
}

/** systemd has read these as root: one that this user cannot read is as it should be. */
function filesWithPassword(folder: string): string[] {
  try {
    const names = readdirSync(folder).filter((name) => ENVIRONMENT_FILE_NAME.test(name));
    return names
      .sort()
      .map((name) => join(folder, name))
      .filter((path) => readableByAll(path) && GIVES_PASSWORD.test(readFileSync(path, 'utf8')));
  } catch {
    return []; // no such folder, or a file that went meanwhile
  }
}

/** Regular file, readable by others, in folders that others may pass through. */
export function readableByAll(path: string): boolean {
  try {
    const file = statSync(path);
    if (!file.isFile() || (file.mode & 0o004) === 0) return false;
    for (let folder = dirname(resolve(path)); ; folder = dirname(folder)) {
      if ((statSync(folder).mode & 0o001) === 0) return false;
      if (folder === dirname(folder)) return true;
    }
  } catch {
    return false;
  }
}
