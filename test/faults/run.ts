// SPDX-License-Identifier: MIT
// `npm run test:faults`: each system call of the data plane fails once, at each of the times that it is made, with each
// error that it can give (../native/fault_test.cc). `npm test` has each error of each call once.
//
// Prints what failed and how to repeat it, then the figures. The last line is `N passed, N failed`, of cases; the
// status is 0 only if nothing failed.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { beginDots, say } from '../helpers/file-runner.js';
import { PROJECT_ROOT } from '../helpers/paths.js';

const NATIVE_TEST = join(PROJECT_ROOT, 'native/build/Release/dataplane_test');
/** By the name of the test; it is the only one that reads the environment. */
const TEST_CASE = 'a system call that fails costs one session at most';
/** Each case has a deadline of its own, and so a name if it hangs. */
const DEADLINE_MS = 3_600_000;
const FIGURES = /^faults: (\d+) cases, \d+ struck, (\d+) passed;/;

async function main(): Promise<number> {
  const start = performance.now();
  const child = spawn(NATIVE_TEST, ['--no-colors=true', '--no-version=true', `-tc=${TEST_CASE}`], {
    env: { ...process.env, PG_GATEWAY_FAULTS: 'all' },
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: DEADLINE_MS,
    killSignal: 'SIGKILL',
  });
  const ended = once(child, 'close');
  const endDots = beginDots();
  let passed = 0;
  let failed = 0;
  let figures = '';
  for await (const line of createInterface(child.stdout)) {
    const found = FIGURES.exec(line);
    if (found === null) {
      say(line);
      continue;
    }
    figures = line;
    passed = Number(found[2]);
    failed = Number(found[1]) - passed;
  }
  await ended;
  endDots();
  // It crashed, it took too long, or the courses fail by themselves.
  if (failed === 0 && (child.exitCode !== 0 || passed === 0)) failed = 1;
  say(figures === '' ? 'faults: it ended without figures' : figures);
  say(`${((performance.now() - start) / 60_000).toFixed(1)} minutes`);
  say(`${passed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

process.exitCode = await main();
