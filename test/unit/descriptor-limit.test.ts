// SPDX-License-Identifier: MIT
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { descriptorShare, maxConnectionsOf, warnOfTooMany } from '#src/descriptor-limit.js';
import { createLogger } from '#src/log.js';
import { temporaryFolder } from '../helpers/paths.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('descriptor limit');
const NO_BOUND = 2 ** 31 - 1;
const ANY: readonly [number, number, number] = [1_000_000, NO_BOUND, NO_BOUND];

/** The limit; how many clients fit, and the bounds of what they and the whole data plane may take. */
const TABLE: readonly (readonly [string, readonly [number, number, number]])[] = [
  ['Max open files            524288               524288               files     ', [261_952, 524_032, 524_160]],
  ['Max open files            20000                20000                files     ', [9808, 19_744, 19_872]],
  ['Max open files            1024                 524288               files     ', [320, 768, 896]],
  ['Max open files            256                  256                  files     ', [80, 192, 224]],
  ['Max open files            64                   64                   files     ', [20, 48, 56]],
  ['Max open files            1                    1                    files     ', [1, 1, 1]],
  [
    'Max open files            4294967296           4294967296           files     ',
    [1_000_000, 2147483391, 2147483519],
  ],
  ['Max open files            unlimited            unlimited            files     ', ANY],
  ['', ANY],
];
for (const [line, [clients, forClients, all]] of TABLE) {
  test(`${line.trim() || 'nothing'}: ${String(clients)} clients`, async () => {
    const folder = await temporaryFolder();
    const path = join(folder.path, 'limits');
    writeFileSync(path, `Limit                     Soft Limit           Hard Limit           Units     \n${line}\n`);
    assert.equal(descriptorShare(path), { clients, bounds: { clients: forClients, all } });
    await folder.close();
  });
}

test('without /proc nothing is known of a limit', () => {
  assert.is(descriptorShare('/nowhere').clients, 1_000_000);
});

test('what is configured counts, and what does not fit is told', () => {
  const lines: string[] = [];
  const logger = createLogger({ level: 'warning', journal: true, write: (line) => lines.push(line) });
  const { clients } = descriptorShare();
  for (const [maxConnections, expected] of [
    [undefined, clients],
    [clients, clients],
    [1, 1],
  ] as const) {
    assert.is(maxConnectionsOf({ maxConnections }), expected);
    warnOfTooMany({ maxConnections }, logger);
  }
  assert.equal(lines, []);
  warnOfTooMany({ maxConnections: clients + 1 }, logger);
  assert.match(lines.join(), `max_connections=${String(clients + 1)} that_fit=${String(clients)}`);
});

test.run();
