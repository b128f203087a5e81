// SPDX-License-Identifier: MIT
// `npm run test:sanitize`: the C++ tests, and the integration tests with a data plane that has a sanitizer, once with
// AddressSanitizer and UndefinedBehaviorSanitizer, once with ThreadSanitizer.
//
//   npm run test:sanitize                      all of it
//   npm run test:sanitize -- --short           the C++ tests, and one integration test
//   npm run test:sanitize -- thread survival   ThreadSanitizer alone, the files whose path has this in it
//
// The last line is `N passed, N failed`. A report of a sanitizer is a failure, whatever the tests say; it is printed,
// and stays in build/sanitize/KIND/reports/.

import { execFileSync } from 'node:child_process';
import { copyFileSync, cpSync, mkdirSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import { closeAll } from '../helpers/cleanup.js';
import { countDoctest, matchesOneOf, Run, say, testFiles } from '../helpers/file-runner.js';
import type { TestFile } from '../helpers/file-runner.js';
import { PROJECT_ROOT, temporaryFolder, testFile } from '../helpers/paths.js';
import { TEMPLATE_VARIABLE } from '../helpers/postgres-install.js';

const KINDS = ['address', 'thread'] as const;
type Kind = (typeof KINDS)[number];

const CORE_DEADLINE_MS = 900_000;
const INTEGRATION_DEADLINE_MS = 900_000;
/** They judge times, memory or the whole program's story, and say nothing new of the data plane. */
const LEFT_OUT = ['integration/cost', 'integration/idle', 'integration/demo', 'integration/memory'];
const SHORT = ['native/', 'integration/sessions'];
/** Hundreds of forks, each of which copies the shadow memory: minutes. */
const LONG_CASES = ['*killed*', '*system call that fails costs*', '*damaged ledger*', '*strange messages*'];

const LIBRARIES: Readonly<Record<Kind, string>> = { address: 'libasan.so', thread: 'libtsan.so' };

function folderOf(kind: Kind): string {
  return join(PROJECT_ROOT, 'build/sanitize', kind);
}

function reportsOf(kind: Kind): string {
  return join(folderOf(kind), 'reports');
}

/** What the sanitizers are told. `node`: of a process of Node's, which frees nothing at its end. */
function options(kind: Kind, node: boolean): Readonly<Record<string, string>> {
  const reports = `log_path=${join(reportsOf(kind), node ? 'node' : 'core')}`;
  return {
    // V8 keeps pointers where LeakSanitizer does not look, and leaves its heap to the end of the process.
    ASAN_OPTIONS: `${reports}:detect_leaks=${node ? 0 : 1}:detect_stack_use_after_return=1:strict_string_checks=1`,
    UBSAN_OPTIONS: `${reports}:print_stacktrace=1`,
    // Tests fork while threads run; what the child does is looked at as well.
    TSAN_OPTIONS: `${reports}:die_after_fork=0:suppressions=${testFile('sanitize/thread.suppressions')}`,
  };
}

/** The compiled program once more, with the other data plane. */
function program(kind: Kind): string {
  const folder = join(folderOf(kind), 'dist');
  rmSync(folder, { recursive: true, force: true });
  cpSync(join(PROJECT_ROOT, 'dist'), folder, { recursive: true });
  // It says which version it is.
  copyFileSync(join(PROJECT_ROOT, 'package.json'), join(folderOf(kind), 'package.json'));
  copyFileSync(join(folderOf(kind), 'dataplane.node'), join(folder, 'dataplane.node'));
  return folder;
}

function library(kind: Kind): string {
  return realpathSync(execFileSync('g++', [`-print-file-name=${LIBRARIES[kind]}`], { encoding: 'utf8' }).trim());
}

function filesOf(kind: Kind, short: boolean): TestFile[] {
  // ThreadSanitizer wants its memory where nothing else is put by chance.
  const launcher = kind === 'thread' ? ['setarch', '-R'] : [];
  const core: TestFile = {
    name: 'native/core',
    command: [
      join(folderOf(kind), 'dataplane_test'),
      '--no-colors=true',
      ...(short ? [`-tce=${LONG_CASES.join(',')}`] : []),
    ],
    launcher,
    env: options(kind, false),
    deadlineMs: CORE_DEADLINE_MS,
    count: countDoctest,
  };
  const env = {
    ...options(kind, true),
    PG_GATEWAY_TEST_PROGRAM: program(kind),
    PG_GATEWAY_TEST_PRELOAD: library(kind),
  };
  const integration = testFiles('integration', INTEGRATION_DEADLINE_MS).filter(({ name }) => !LEFT_OUT.includes(name));
  return [core, ...integration.map((file) => ({ ...file, launcher, env }))];
}

function printReports(kind: Kind): number {
  const files = readdirSync(reportsOf(kind)).sort();
  for (const file of files) {
    say(`REPORT ${file}`);
    say(
      readFileSync(join(reportsOf(kind), file), 'utf8')
        .slice(0, 16_000)
        .replace(/^/gm, '    '),
    );
  }
  return files.length;
}

async function main(args: readonly string[]): Promise<number> {
  const kinds = KINDS.filter((kind) => args.includes(kind));
  const short = args.includes('--short');
  const words = args.filter((word) => word !== '--short' && !KINDS.some((kind) => kind === word));
  const wanted = matchesOneOf(short ? SHORT : words);
  let passed = 0;
  let failed = 0;
  for (const kind of kinds.length === 0 ? KINDS : kinds) {
    say(kind === 'address' ? 'AddressSanitizer and UndefinedBehaviorSanitizer' : 'ThreadSanitizer');
    rmSync(reportsOf(kind), { recursive: true, force: true });
    mkdirSync(reportsOf(kind), { recursive: true });
    const run = new Run({ [TEMPLATE_VARIABLE]: (await temporaryFolder()).path });
    // What is short judges no time: both at once.
    await run.group({ files: filesOf(kind, short).filter(wanted), atOnce: short ? 2 : 1 });
    await closeAll();
    const reports = printReports(kind);
    say(`${reports} reports`);
    passed += run.counts.passed;
    failed += run.counts.failed + reports;
  }
  if (passed === 0) failed += 1; // no test was wanted
  say(`${passed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
