// SPDX-License-Identifier: MIT
// No guide may be left untried: every literal block of pg-gateway-guides(7) has a name
// and is used by a test.

import { readdirSync, readFileSync } from 'node:fs';

import { testFile } from '../helpers/paths.js';
import { assert, suite } from '../helpers/suite.js';
import { block, BLOCK_NAMES, LITERAL_BLOCKS } from './page.js';

const test = suite('guides');

test('every literal block has a name of its own', () => {
  assert.ok(BLOCK_NAMES.length > 15);
  assert.is(BLOCK_NAMES.length, LITERAL_BLOCKS);
});

test('every block is used by a test', () => {
  const folder = testFile('guides');
  const sources = readdirSync(folder)
    .filter((file) => file.endsWith('.ts') && file !== 'page.test.ts')
    .map((file) => readFileSync(`${folder}/${file}`, 'utf8'))
    .join('\n');
  assert.equal(
    BLOCK_NAMES.filter((name) => !sources.includes(`'${name}'`)),
    [],
  );
});

test('a block is what is printed, and a change of what it does not have is an error', () => {
  assert.match(block('streaming-clone'), / \\\n {2}-d 'host=/u);
  assert.throws(() => block('streaming-clone', { '10.9.9.9': '127.0.0.1' }), /has no 10\.9\.9\.9/u);
  assert.throws(() => block('none'), /has no block none/u);
});

test.run();
