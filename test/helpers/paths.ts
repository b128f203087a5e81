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

/** The compiled program; test/sanitize has another one, whose data plane has a sanitizer. */
const PROGRAM = process.env['PG_GATEWAY_TEST_PROGRAM'] ?? join(PROJECT_ROOT, 'dist');

/** The program under test. */
export const MAIN = join(PROGRAM, 'main.js');

/** Its data plane. */
export const ADDON = join(PROGRAM, 'dataplane.node');

/** What has to be loaded ahead of it, and what else its environment needs for that: nothing, without a sanitizer. */
export const PRELOAD = process.env['PG_GATEWAY_TEST_PRELOAD'];
export const PROGRAM_ENV: Readonly<Record<string, string | undefined>> =
  PRELOAD === undefined
    ? {}
    : {
        LD_PRELOAD: PRELOAD,
        ASAN_OPTIONS: process.env['ASAN_OPTIONS'],
        TSAN_OPTIONS: process.env['TSAN_OPTIONS'],
        UBSAN_OPTIONS: process.env['UBSAN_OPTIONS'],
        // It is several times as slow.
        CONNECT_TIMEOUT_MS: '8000',
        QUERY_TIMEOUT_MS: '8000',
      };

/** A wrapper's command line, whose last word is the program: the wrapper itself gets nothing preloaded. */
export function preloading(launcher: readonly string[]): readonly string[] {
  if (PRELOAD === undefined || launcher.some((word) => word.startsWith('LD_PRELOAD='))) return launcher;
  return [...launcher.slice(0, -1), '/usr/bin/env', `LD_PRELOAD=${PRELOAD}`, ...launcher.slice(-1)];
}

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
