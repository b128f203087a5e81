// SPDX-License-Identifier: MIT
// `npm run soak`: the gateway under load for a long time, with thousands of idle sessions, and with clients that mean
// no good. Everything is on free ports of 127.0.0.1, and taken away at the end.

import { Progress, say } from '../bench/progress.js';
import { hardware, keep, postgresVersion, revision, today } from '../bench/results.js';
import { closeAll } from '../helpers/cleanup.js';
import { announced, understood } from '../helpers/options.js';
import { crowd } from './crowd.js';
import { hostile } from './hostile.js';
import { load } from './load.js';
import type { Part, PartResult } from './part.js';
import { checkLines, countsOf, markdownOf } from './report.js';
import { HELP, settingsOf } from './settings.js';
import type { PartName, Settings } from './settings.js';

const PARTS: Readonly<Record<PartName, Part>> = { load, crowd, hostile };
const EXIT_FAILURE = 1;
/** Whatever hangs: a multiple of what all of it takes. */
const DEADLINE_FACTOR = 2;
const DEADLINE_GRACE_MS = 300_000;

async function soak(settings: Settings): Promise<{ passed: number; failed: number }> {
  const parts = settings.parts.map((name) => PARTS[name]);
  const seconds = parts.reduce((all, part) => all + part.seconds(settings), 0);
  say(`${settings.parts.join(', ')}: about ${announced(seconds)}`);
  const machine = [
    today(),
    await hardware(),
    await postgresVersion(),
    `pg-gateway ${(await revision()) ?? 'of no commit'}`,
    `node ${process.version}`,
  ].join('; ');
  say(machine);
  stopAfter(seconds * 1000 * DEADLINE_FACTOR + DEADLINE_GRACE_MS);
  const progress = new Progress();
  const results: PartResult[] = [];
  let broken = 0;
  for (const part of parts) {
    try {
      results.push(await part.run(settings, progress));
    } catch (error) {
      // The others can still be judged.
      broken += 1;
      console.error(error);
    }
  }
  await report(settings, results, machine);
  const { passed, failed } = countsOf(results);
  return { passed, failed: failed + broken };
}

/** Shows the whole and keeps it. */
async function report(settings: Settings, results: readonly PartResult[], machine: string): Promise<void> {
  const lines = checkLines(results);
  const markdown = markdownOf(results, machine);
  console.log(`\n${lines.join('\n')}\n`);
  if (settings.markdown) console.log(`${markdown}\n`);
  const files = await keep(
    settings.tiny ? 'tiny' : 'soak',
    {
      json: `${JSON.stringify({ machine, settings, results }, undefined, 2)}\n`,
      md: `${markdown}\n\n${lines.map((line) => `- ${line}`).join('\n')}\n`,
    },
    'soak',
  );
  for (const file of files) console.log(file);
}

/** What is stuck must not run for ever: SIGTERM is taken as from outside, and everything is taken away. */
function stopAfter(ms: number): void {
  setTimeout(() => {
    say('it takes far too long: stopping');
    process.kill(process.pid, 'SIGTERM');
  }, ms).unref();
}

async function main(args: readonly string[]): Promise<number> {
  const settings = understood(args, settingsOf, HELP);
  if (typeof settings === 'number') return settings;
  try {
    const { passed, failed } = await soak(settings);
    await closeAll();
    console.log(`${passed} passed, ${failed} failed`);
    return failed === 0 ? 0 : EXIT_FAILURE;
  } finally {
    await closeAll();
  }
}

process.exitCode = await main(process.argv.slice(2));
