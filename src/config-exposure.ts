// SPDX-License-Identifier: MIT
// Whether the password of the probes stands where every user of the machine can
// read it. Reads the mode of a file, synchronously.

import { readFileSync, statSync } from 'node:fs';

import type { EffectiveSetting } from './config-types.js';

/** Where a Debian service has its environment from (EnvironmentFile= of pg-gateway.service). */
export const ENVIRONMENT_FILE = '/etc/default/pg-gateway';

/** The file that tells everybody the password in use, or undefined if there is none. Throws nothing. */
export function exposedPasswordFile(
  settings: readonly EffectiveSetting[],
  environmentFile = ENVIRONMENT_FILE,
): string | undefined {
  const from = settings.find(({ key }) => key === 'probe.password')?.from;
  // A source that is a file is named by its path.
  if (from?.startsWith('/') === true) return isReadableByAll(from) ? from : undefined;
  if (from !== 'environment PGPASSWORD') return undefined;
  return isReadableByAll(environmentFile) && setsPassword(environmentFile) ? environmentFile : undefined;
}

function isReadableByAll(path: string): boolean {
  try {
    return (statSync(path).mode & 0o004) !== 0;
  } catch {
    return false;
  }
}

function setsPassword(path: string): boolean {
  try {
    return /^\s*PGPASSWORD\s*=\s*\S/m.test(readFileSync(path, 'utf8'));
  } catch {
    return false;
  }
}
