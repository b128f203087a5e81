// SPDX-License-Identifier: MIT
// What `npm run test:majors` runs: the probe and a failover with servers of each
// major version of PostgreSQL, the installed one and those that npm has.
//
//   npm run test:majors             PostgreSQL 10 to 18, and the installed one
//   npm run test:majors -- 10 15    these
//
// A version that cannot be had is skipped, with the reason. The last line is always
// `N passed, N failed`, and the status is 0 only if nothing failed.

import { closeAll } from '../helpers/cleanup.js';
import { Run, say, testFiles } from '../helpers/file-runner.js';
import type { TestFile } from '../helpers/file-runner.js';
import { SERVER_VARIABLE, serverMajor } from '../helpers/postgres-install.js';
import { availableVersions, serverPrograms } from './download.js';

/** What the probe's query is written for. */
const MAJORS = [10, 11, 12, 13, 14, 15, 16, 17, 18] as const;
const FILE_DEADLINE_MS = 300_000;
/** The tests that need a server; the others are run once. */
const SERVER_TESTS = 'majors/server';

/** What failed, and the first words of the program that did; npm goes on for a page. */
function reasonOf(error: unknown): string {
  const [what = '', why = ''] = (error instanceof Error ? error.message : String(error)).split('\n');
  return `${what} ${why}`.trim();
}

/** The tests with servers of this folder; undefined: with the installed ones. */
function serverTests(title: string, programs?: string): TestFile[] {
  return testFiles('majors', FILE_DEADLINE_MS)
    .filter(({ name }) => name === SERVER_TESTS)
    .map((file) => ({
      ...file,
      name: `PostgreSQL ${title}`,
      env: programs === undefined ? {} : { [SERVER_VARIABLE]: programs },
    }));
}

/** Major version -> version, or why there is none. */
async function findVersions(): Promise<(major: number) => string> {
  try {
    const versions = await availableVersions();
    return (major) => {
      const version = versions.get(major);
      if (version === undefined) throw new Error('npm has no package of it');
      return version;
    };
  } catch (error) {
    return () => {
      throw error;
    };
  }
}

async function main(words: readonly string[]): Promise<number> {
  const unknown = words.filter((word) => !MAJORS.some((major) => String(major) === word));
  if (unknown.length > 0) {
    say(`usage: npm run test:majors -- [${MAJORS.join('|')}]...`);
    say('0 passed, 1 failed');
    return 1;
  }
  const wanted = (major: number): boolean => words.length === 0 || words.includes(String(major));
  // The servers of this run are of many versions: each file makes its own data directory.
  const run = new Run({});
  const pure = testFiles('majors', FILE_DEADLINE_MS).filter(({ name }) => name !== SERVER_TESTS);
  await run.group({ files: pure, atOnce: 1 });
  const installed = serverMajor();
  if (wanted(installed)) await run.group({ files: serverTests(`${installed}, installed`), atOnce: 1 });
  let skipped = 0;
  const versionOf = await findVersions();
  for (const major of MAJORS.filter(wanted)) {
    let files: TestFile[];
    try {
      const version = versionOf(major);
      files = serverTests(version, await serverPrograms(version));
    } catch (error) {
      say(`SKIPPED PostgreSQL ${major} of npm: ${reasonOf(error)}`);
      skipped += 1;
      continue;
    }
    await run.group({ files, atOnce: 1 });
  }
  await closeAll();
  const { passed, failed } = run.counts;
  if (skipped > 0) say(`${skipped} versions DID NOT RUN`);
  say(`${passed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
