// SPDX-License-Identifier: MIT
// The README must not drift from the program: it names every error code, every exit
// status and every metric; and manual pages print what stands in them. (Of settings: config-docs.test.ts.)

import { readdirSync, readFileSync } from 'node:fs';

import { CTL_CRITICAL, CTL_EXIT, CTL_WARNING } from '#src/ctl/exit.js';
import { ERROR_CODES, EXIT } from '#src/errors.js';
import { exposition } from '../helpers/exposition.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('docs');
const readme = readFileSync(new URL('../../../README.md', import.meta.url), 'utf8');

test('every error code stands beside an exit status', () => {
  for (const code of Object.keys(ERROR_CODES)) assert.match(readme, new RegExp(`^\\| \\d+ \\|.*\`${code}\``, 'mu'));
  for (const name of ['OK', 'FAILURE', 'USAGE', 'UNAVAILABLE', 'SOFTWARE', 'CONFIG'] as const) {
    assert.match(readme, new RegExp(`^\\| ${EXIT[name].toString()} \\|`, 'mu'));
  }
});

/** Commands of pg-gatewayctl that end so. */
const ENDS: readonly (readonly [status: number, commands: readonly string[]])[] = [
  [CTL_WARNING, ['pg-gatewayctl status', 'pg-gatewayctl kill', 'drain', 'reload']],
  [CTL_CRITICAL, ['pg-gatewayctl status']],
];

test('so does each way in which pg-gatewayctl ends', () => {
  const rowOf = (status: number): string => new RegExp(`^\\| ${status} \\|.*$`, 'mu').exec(readme)?.[0] ?? '';
  for (const [status] of CTL_EXIT) assert.is.not(rowOf(status), '');
  for (const [status, commands] of ENDS) {
    for (const command of commands) assert.match(rowOf(status), `\`${command}\``, String(status));
  }
});

test('every metric is named', async () => {
  const names = [...(await exposition()).matchAll(/^# HELP pg_gateway_(\w+) /gmu)].map((match) => match[1]);
  assert.ok(names.length > 20);
  for (const name of names) assert.ok(readme.includes(`\`${String(name)}\``), `README does not name ${String(name)}`);
});

// ---- what mdoc(7) takes for something else, without a word -----------------------

const MANUALS = new URL('../../../packaging/man/', import.meta.url);

const SWALLOWED: readonly (readonly [what: string, line: RegExp])[] = [
  ['a quotation mark at the beginning of a word, which is not printed', /^\.\S.* "[^"]*"[^ ]/u],
  ['a word of a command, taken for punctuation', /^\.Dl .* [.,:;()](?: |$)/u],
  ['words behind what is quoted, which are quoted too', /^\..*\bQl .* (?:No|,) \S/u],
  ['a word of a heading that is the name of a macro', /^\.(?:Ss|.*\bSx) (?:An|Ap|Ar|At|Do|Em|In|Li|No|Of|Op|Or|So)\b/u],
];

test('the manual pages say what is written in them', () => {
  const names = readdirSync(MANUALS);
  assert.ok(names.length > 3);
  for (const name of names) {
    for (const [index, line] of readFileSync(new URL(name, MANUALS), 'utf8').split('\n').entries()) {
      for (const [what, pattern] of SWALLOWED) {
        assert.not.match(line, pattern, `${name}:${index + 1}: ${what}`);
      }
    }
  }
});

test.run();
