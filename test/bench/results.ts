// SPDX-License-Identifier: MIT
// What is kept of a benchmark, where, and on which machine it was.

import { mkdir, writeFile } from 'node:fs/promises';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';

import { succeed } from '../helpers/child.js';
import { PROJECT_ROOT } from '../helpers/paths.js';
import { postgresProgram } from '../helpers/postgres-install.js';

const RESULTS = join(PROJECT_ROOT, 'build');

/** Kernel, processors, memory. */
export async function hardware(): Promise<string> {
  const processors = cpus();
  const kernel = await firstLine('uname', '-sr');
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`;
  return `${processors.length} x ${processors[0]?.model.trim() ?? '?'}, ${memory}; ${kernel}`;
}

export async function postgresVersion(): Promise<string> {
  const words = await firstLine(postgresProgram('postgres'), '--version');
  return `PostgreSQL ${/\d[\w.]*/.exec(words)?.[0] ?? '?'}`;
}

export async function firstLine(...command: readonly string[]): Promise<string> {
  return (await succeed(command)).trim().split('\n')[0] ?? '';
}

/** The commit of the checkout, `+` if files were changed since; undefined where it is none. */
export async function revision(): Promise<string | undefined> {
  const git = (...args: readonly string[]): Promise<string> =>
    succeed(['git', '-c', 'safe.directory=*', '-C', PROJECT_ROOT, ...args]);
  try {
    const commit = (await git('rev-parse', '--short=12', 'HEAD')).trim();
    const changed = (await git('status', '--porcelain', '--untracked-files=no')).trim() !== '';
    return `${commit}${changed ? '+' : ''}`;
  } catch {
    return undefined;
  }
}

export function today(): string {
  return new Date().toISOString().slice(0, 10);
}

/** Keeps the texts, by their endings, as files of one name in that folder of `build`; the paths. */
export async function keep(
  name: string,
  texts: Readonly<Record<string, string>>,
  folder: 'bench' | 'soak' = 'bench',
): Promise<string[]> {
  await mkdir(join(RESULTS, folder), { recursive: true });
  const stamp = new Date().toISOString().slice(0, 19).replace(/[:T]/g, '-');
  const files = Object.entries(texts).map(([ending, text]) => ({
    path: join(RESULTS, folder, `${name}-${stamp}.${ending}`),
    text,
  }));
  for (const { path, text } of files) await writeFile(path, text);
  return files.map(({ path }) => path);
}
