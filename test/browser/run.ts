// SPDX-License-Identifier: MIT
// What `npm run test:browser` runs: the status page in a real browser, with a real gateway.
//
//   npm run test:browser              all of it, less than a minute
//   npm run test:browser -- failover  the files whose path has this in it
//
// The last line is always `N passed, N failed`, and the status is 0 only if nothing failed.

import { closeAll } from '../helpers/cleanup.js';
import { matchesOneOf, Run, say, testFiles } from '../helpers/file-runner.js';

/** Each of its tests has a deadline too: this is for a file that is stuck outside of them. */
const FILE_DEADLINE_MS = 600_000;

async function main(filters: readonly string[]): Promise<number> {
  const files = testFiles('browser', FILE_DEADLINE_MS).filter(matchesOneOf(filters));
  if (files.length === 0) {
    say(`no test file matches ${filters.join(' ')}`);
    say('0 passed, 1 failed');
    return 1;
  }
  const run = new Run({});
  await run.group({ files, atOnce: 2 });
  await closeAll();
  const { passed, failed } = run.counts;
  say(`${passed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
