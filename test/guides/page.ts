// SPDX-License-Identifier: MIT
// The literal blocks of pg-gateway-guides(7), as a reader copies them: the tests of
// this folder run what is printed there, and nothing that they have written themselves.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { PROJECT_ROOT } from '../helpers/paths.js';

const PAGE = join(PROJECT_ROOT, 'packaging/man/pg-gateway-guides.7');
const TAGGED_BLOCK = /^\.\\" block: (\S+)\n\.Bd -literal -offset indent\n(.*?)^\.Ed$/gmsu;

const source = readFileSync(PAGE, 'utf8');
const blocks = new Map([...source.matchAll(TAGGED_BLOCK)].map(([, name = '', text = '']) => [name, asPrinted(text)]));

/** The names of all blocks. */
export const BLOCK_NAMES: readonly string[] = [...blocks.keys()];

/** How many literal blocks the page has, those without a name too. */
export const LITERAL_BLOCKS = source.split('\n').filter((line) => line.startsWith('.Bd')).length;

/**
 * The text of a block. `changes` is what has to be another one where the test runs: each text must be there.
 * @throws Error if there is no such block, or if a text that is to be changed is not in it
 */
export function block(name: string, changes: Readonly<Record<string, string>> = {}): string {
  let text = blocks.get(name);
  if (text === undefined) throw new Error(`pg-gateway-guides(7) has no block ${name}`);
  for (const [from, to] of Object.entries(changes)) {
    if (!text.includes(from)) throw new Error(`the block ${name} has no ${from}`);
    text = text.replaceAll(from, to);
  }
  return text;
}

/** Lines without comments and without what is around them. */
export function linesOf(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
}

/** What mandoc(1) makes of the few escapes that a block may have. @throws Error for any other */
function asPrinted(text: string): string {
  return text.replaceAll(/\\(.)/gu, (whole, escape: string) => {
    if (escape === 'e') return '\\';
    if (escape === '&') return '';
    if (escape === '-') return '-';
    throw new Error(`pg-gateway-guides(7): ${whole} in a literal block`);
  });
}
