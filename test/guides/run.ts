// SPDX-License-Identifier: MIT
// What `npm run test:guides` runs: the files and commands of pg-gateway-guides(7).
//
//   npm run test:guides                all of them, some five minutes
//   npm run test:guides -- pgbouncer   the files whose path has this in it
//
// The last line is always `N passed, N failed`, and the status is 0 only if nothing failed.

import { spawnSync } from 'node:child_process';

import { closeAll } from '../helpers/cleanup.js';
import { matchesOneOf, Run, say, testFiles } from '../helpers/file-runner.js';
import type { TestFile } from '../helpers/file-runner.js';
import { OWN_NETWORK } from '../helpers/network.js';
import { temporaryFolder } from '../helpers/paths.js';
import { TEMPLATE_VARIABLE } from '../helpers/postgres-install.js';

const FILE_DEADLINE_MS = 1_800_000;
/** On 127.0.0.1, as its cluster is. */
const WITHOUT_OWN_NETWORK = ['guides/patroni', 'guides/page'];

/** Each in namespaces of its own, if the system has it: else they say that they cannot run. */
function guideTests(): TestFile[] {
  const namespaces = ['--net', '--mount'];
  const possible = spawnSync('unshare', [...namespaces, 'true']).status === 0;
  return testFiles('guides', FILE_DEADLINE_MS).map((file) =>
    possible && !WITHOUT_OWN_NETWORK.includes(file.name)
      ? { ...file, launcher: ['unshare', ...namespaces], env: { [OWN_NETWORK]: '1' } }
      : file,
  );
}

async function main(filters: readonly string[]): Promise<number> {
  const files = guideTests().filter(matchesOneOf(filters));
  if (files.length === 0) {
    say(`no test file matches ${filters.join(' ')}`);
    say('0 passed, 1 failed');
    return 1;
  }
  const run = new Run({ [TEMPLATE_VARIABLE]: (await temporaryFolder()).path });
  await run.group({ files, atOnce: 1 });
  await closeAll();
  const { passed, failed } = run.counts;
  say(`${passed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
