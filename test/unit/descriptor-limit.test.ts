// SPDX-License-Identifier: MIT
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { sessionsThatFit } from '#src/descriptor-limit.js';
import { temporaryFolder } from '../helpers/paths.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('descriptor limit');

const TABLE: readonly (readonly [string, number | undefined])[] = [
  ['Max open files            524288               524288               files     ', 262_080],
  ['Max open files            1024                 524288               files     ', 448],
  ['Max open files            64                   64                   files     ', 0],
  ['Max open files            unlimited            unlimited            files     ', undefined],
  ['', undefined],
];
for (const [line, sessions] of TABLE) {
  test(`${line.trim() || 'nothing'}: ${String(sessions)} sessions`, async () => {
    const folder = await temporaryFolder();
    const path = join(folder.path, 'limits');
    writeFileSync(path, `Limit                     Soft Limit           Hard Limit           Units     \n${line}\n`);
    assert.is(sessionsThatFit(path), sessions);
    await folder.close();
  });
}

test('this process has a limit', () => {
  assert.ok((sessionsThatFit() ?? 1) > 0);
  assert.is(sessionsThatFit('/nowhere'), undefined);
});

test.run();
