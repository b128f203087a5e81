// SPDX-License-Identifier: MIT
// Whoever waits for a script or a test run sees within two seconds that it still works.

import { join } from 'node:path';

import { Child } from '../helpers/child.js';
import { PROJECT_ROOT } from '../helpers/paths.js';
import { assert, suite } from '../helpers/suite.js';
import { within } from '../helpers/wait.js';

const WORK_S = 6;
/** Two seconds are promised; the machine may be busy. */
const SILENCE_MS = 4000;
const DEADLINE_MS = 30_000;

const test = suite('sign of life');

/** A program of the tests, as text. */
function program(module: string, body: string): string[] {
  const url = new URL(`../${module}`, import.meta.url).href;
  return [process.execPath, '--input-type=module', '-e', `import * as it from ${JSON.stringify(url)};\n${body}`];
}

const PAUSE = `await new Promise((resolve) => setTimeout(resolve, ${WORK_S * 1000}));`;

const PROGRAMS: Readonly<Record<string, { readonly command: readonly string[]; readonly output: RegExp }>> = {
  'a step of the scripts': {
    command: ['sh', '-c', `. ${join(PROJECT_ROOT, 'packaging/steps.sh')}; step Waiting sleep ${WORK_S}`],
    output: /^Waiting \.\.\. \.\.\.? done\n$/u,
  },
  'a benchmark, within what it has announced and without': {
    command: program(
      'bench/progress.js',
      `it.say('begun'); ${PAUSE} await new it.Progress().during('part', async () => { ${PAUSE} }); it.say('over');`,
    ),
    output: /^ +0 s {2}begun\n\.\.\.?\n +[6-9] s {2}part \.\.\.\.\.\.? done\n +1\d s {2}over\n$/u,
  },
  'a run of test files': {
    command: program(
      'helpers/file-runner.js',
      `const file = { name: 'slow', command: ['/bin/sleep', '${WORK_S}'], deadlineMs: 20000, count: () => undefined };
       it.say('begun'); await new it.Run({}).group({ files: [file], atOnce: 1 }); it.say('over');`,
    ),
    output: /^begun\n1 test file.*\n\.\.\.?\nFAIL slow: .*\n(?: .*\n)+over\n$/u,
  },
};

for (const [what, { command, output }] of Object.entries(PROGRAMS)) {
  test(what, async () => {
    const child = new Child(command, { input: '' });
    const { stdout, stderr } = await within(DEADLINE_MS, `the end of ${what}`, child.ended);
    assert.match(stdout + stderr, output);
    assert.ok(child.longestSilenceMs < SILENCE_MS, `silent for ${child.longestSilenceMs} ms`);
  });
}

test.run();
