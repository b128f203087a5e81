// SPDX-License-Identifier: MIT
// Where things lie, and temporary folders that are always taken away.

import { rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { atExit } from './cleanup.js';

/** This module runs as build/test/helpers/paths.js. */
export const PROJECT_ROOT = fileURLToPath(new URL('../../..', import.meta.url));

/** The program under test. */
export const MAIN = join(PROJECT_ROOT, 'dist/main.js');

/** Its data plane. */
export const ADDON = join(PROJECT_ROOT, 'dist/dataplane.node');

/** A file that is not compiled, by its path below test/. */
export function testFile(path: string): string {
  return join(PROJECT_ROOT, 'test', path);
}

export interface TemporaryFolder {
  readonly path: string;
  close(): Promise<void>;
}

/** The name is short: the path of a UNIX socket has at most 107 bytes (unix(7)). */
export async function temporaryFolder(): Promise<TemporaryFolder> {
  const path = await mkdtemp(join(tmpdir(), 'pggw-'));
  const options = { recursive: true, force: true, maxRetries: 5 };
  const close = async (): Promise<void> => {
    await rm(path, options);
    forget();
  };
  const forget = atExit({
    close,
    closeNow: () => {
      try {
        rmSync(path, options);
      } catch {
        // A process that is being killed may still write to it.
      }
    },
  });
  return { path, close };
}
