// SPDX-License-Identifier: MIT
// The README must not drift from the program: it names every error code, every exit
// status and every metric. (Of settings: config-docs.test.ts.)

import { readFileSync } from 'node:fs';

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

test('every metric is named', async () => {
  const names = [...(await exposition()).matchAll(/^# HELP pg_gateway_(\w+) /gmu)].map((match) => match[1]);
  assert.ok(names.length > 20);
  for (const name of names) assert.ok(readme.includes(`\`${String(name)}\``), `README does not name ${String(name)}`);
});

test.run();
