// SPDX-License-Identifier: MIT
// What `npm test` runs: the C++ tests of the data plane, the unit tests, the
// integration tests, those with a network of their own. Each file is a process of its own with a deadline.
//
//   npm test                    everything
//   npm test -- election tls    the files whose path has one of these in it
//
// Prints a line for each file as it ends, and a sign of life for those that take
// long; the output of a file only if it failed. The last line is always
// `N passed, N failed`, and the status is 0 only if nothing failed.

import { spawnSync } from 'node:child_process';
import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';

import { closeAll } from './helpers/cleanup.js';
import { countDoctest, matchesOneOf, Run, say, testFiles } from './helpers/file-runner.js';
import type { Group, TestFile } from './helpers/file-runner.js';
import { OWN_NETWORK } from './helpers/network.js';
import { PROJECT_ROOT, temporaryFolder } from './helpers/paths.js';
import { TEMPLATE_VARIABLE } from './helpers/postgres-install.js';

const NATIVE_TEST = join(PROJECT_ROOT, 'native/build/Release/dataplane_test');
const UNIT_DEADLINE_MS = 120_000;
const NATIVE_DEADLINE_MS = 300_000;
/** Each of its tests has a deadline too, and so a stuck one a name: this is for a file that is stuck outside of them. */
const INTEGRATION_DEADLINE_MS = 600_000;

function nativeTests(): TestFile[] {
  return [
    {
      name: 'native/core',
      command: [NATIVE_TEST, '--no-colors=true'],
      deadlineMs: NATIVE_DEADLINE_MS,
      count: countDoctest,
    },
  ];
}

/** Each in namespaces of its own, if the system has it: else they say that they cannot run. */
function networkTests(): TestFile[] {
  const files = testFiles('network', INTEGRATION_DEADLINE_MS);
  const namespaces = ['--net', '--mount'];
  if (spawnSync('unshare', [...namespaces, 'true']).status !== 0) return files;
  const launcher = ['unshare', ...namespaces];
  return files.map((file) => ({ ...file, launcher, env: { [OWN_NETWORK]: '1' } }));
}

/** Node 18.13 and older lack the first. */
function processors(): number {
  return typeof availableParallelism === 'function' ? availableParallelism() : cpus().length;
}

async function main(filters: readonly string[]): Promise<number> {
  const wanted = matchesOneOf(filters);
  const groups: Group[] = [
    // The first takes as long as all the others.
    {
      files: [...nativeTests(), ...testFiles('unit', UNIT_DEADLINE_MS)].filter(wanted),
      atOnce: Math.min(2, processors()),
    },
    // One at a time: they measure, and each has several servers.
    { files: testFiles('integration', INTEGRATION_DEADLINE_MS).filter(wanted), atOnce: 1 },
    { files: networkTests().filter(wanted), atOnce: 1 },
  ];
  if (groups.every(({ files }) => files.length === 0)) {
    say(`no test file matches ${filters.join(' ')}`);
    say('0 passed, 1 failed');
    return 1;
  }
  const run = new Run({ [TEMPLATE_VARIABLE]: (await temporaryFolder()).path });
  for (const group of groups) await run.group(group);
  await closeAll();
  const { passed, failed } = run.counts;
  say(`${passed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
