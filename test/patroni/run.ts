// SPDX-License-Identifier: MIT
// What `npm run test:patroni` runs: failovers of a real Patroni cluster with writers behind the gateway.
//
//   npm run test:patroni                       a few failovers of each kind
//   npm run test:patroni -- --rounds 20        20 of each
//   npm run test:patroni -- --rounds 5 kill    5 of the kinds whose name has this in it
//
// The last line is always `N passed, N failed`, and the status is 0 only if nothing failed.

import { parseArgs } from 'node:util';

import { closeAll } from '../helpers/cleanup.js';
import { Run, say, testFiles } from '../helpers/file-runner.js';
import { DEFAULT_ROUNDS, FAILOVER_KINDS, KINDS_VARIABLE, ROUNDS_VARIABLE } from './failovers.js';

/** What a round takes on a slow machine. */
const ROUND_DEADLINE_MS = 60_000;
const START_DEADLINE_MS = 180_000;

async function main(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: { rounds: { type: 'string', default: String(DEFAULT_ROUNDS) } },
    allowPositionals: true,
  });
  const rounds = Number(values.rounds);
  const kinds = FAILOVER_KINDS.filter(
    (kind) => positionals.length === 0 || positionals.some((word) => kind.includes(word)),
  );
  if (!Number.isInteger(rounds) || rounds < 1 || kinds.length === 0) {
    say(`usage: npm run test:patroni -- [--rounds N] [${FAILOVER_KINDS.join('|')}]`);
    say('0 passed, 1 failed');
    return 1;
  }
  const run = new Run({ [ROUNDS_VARIABLE]: String(rounds), [KINDS_VARIABLE]: kinds.join(' ') });
  const deadlineMs = START_DEADLINE_MS + rounds * kinds.length * ROUND_DEADLINE_MS;
  await run.group({ files: testFiles('patroni', deadlineMs), atOnce: 1 });
  await closeAll();
  const { passed, failed } = run.counts;
  say(`${passed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
