// SPDX-License-Identifier: MIT
// What `npm run test:system` runs: the Debian package on real systemd machines.
//
//   npm run test:system                     on bookworm and on trixie
//   npm run test:system -- trixie upgrade   on trixie, the files whose path has this in it
//
// Needs root, cgroup2 and overlayfs; without them it fails. The last line is always
// `N passed, N failed`, and the status is 0 only if nothing failed.

import { spawn } from 'node:child_process';

import { atExit, closeAll } from '../helpers/cleanup.js';
import { succeed } from '../helpers/child.js';
import { matchesOneOf, Run, say, testFiles } from '../helpers/file-runner.js';
import type { TestFile } from '../helpers/file-runner.js';
import { testFile } from '../helpers/paths.js';
import { signal } from '../helpers/processes.js';
import { NEWER_PACKAGE_VARIABLE, PACKAGE_VARIABLE } from './gateway-package.js';
import { SUITE_VARIABLE } from './machine.js';

const SUITES = ['bookworm', 'trixie'] as const;
type Suite = (typeof SUITES)[number];

const FILE_DEADLINE_MS = 600_000;
/** A machine mostly waits, but a load in each of more than two would starve them. */
const AT_ONCE = 2;
/** It takes as long as several others: last, it would be alone at the end. */
const FIRST = 'system/survival';

/** The files with what they need of one release. @throws Error if that cannot be made */
async function filesOf(suite: Suite, wanted: (file: TestFile) => boolean): Promise<TestFile[]> {
  const files = testFiles('system', FILE_DEADLINE_MS).filter(wanted);
  if (files.length === 0) return [];
  await prepare('machine', 'base', suite);
  const [current = '', newer = ''] = (await prepare('packages', suite)).trim().split('\n');
  const env = { [SUITE_VARIABLE]: suite, [PACKAGE_VARIABLE]: current, [NEWER_PACKAGE_VARIABLE]: newer };
  const ordered = [...files.filter(({ name }) => name === FIRST), ...files.filter(({ name }) => name !== FIRST)];
  return ordered.map((file) => ({ ...file, name: `${suite} ${file.name}`, env }));
}

/** The standard output of a script of this folder, which shows its progress by itself. */
async function prepare(script: string, ...args: readonly string[]): Promise<string> {
  const child = spawn(testFile(`system/${script}`), args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const kill = (): void => {
    if (child.pid !== undefined && child.exitCode === null) signal(child.pid, 'SIGTERM');
  };
  const ended = new Promise((resolve, reject) => child.on('error', reject).on('close', resolve));
  const close = async (): Promise<void> => {
    kill();
    await ended;
  };
  const forget = atExit({ close, closeNow: kill });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const status = await ended;
  forget();
  if (status !== 0) throw new Error(`test/system/${script} ${args.join(' ')} ended with status ${String(status)}`);
  return output;
}

async function main(words: readonly string[]): Promise<number> {
  const named = SUITES.filter((suite) => words.includes(suite));
  const wanted = matchesOneOf(words.filter((word) => !SUITES.some((suite) => suite === word)));
  const run = new Run({});
  let broken = 0;
  const problem = (await succeed([testFile('system/machine'), 'check'])).trim();
  if (problem !== '') {
    say(`FAIL this host cannot boot machines: ${problem}`);
    broken += 1;
  }
  for (const suite of problem !== '' ? [] : named.length > 0 ? named : SUITES) {
    try {
      const files = await filesOf(suite, wanted);
      if (files.length === 0) throw new Error('no test file has this name');
      await run.group({ files, atOnce: AT_ONCE });
    } catch (error) {
      say(`FAIL ${suite}: ${error instanceof Error ? error.message : String(error)}`);
      broken += 1;
    }
  }
  await closeAll();
  const { passed, failed } = run.counts;
  say(`${passed} passed, ${failed + broken} failed`);
  return failed + broken === 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
