// SPDX-License-Identifier: MIT
// `npm run bench`: this gateway beside HAProxy, nginx and PgBouncer, and the direct way, in one run on one machine.

import { closeAll } from '../helpers/cleanup.js';
import { announced, understood } from '../helpers/options.js';
import { counted } from './cases.js';
import { chartOf } from './chart.js';
import { churn } from './churn.js';
import { connections } from './connections.js';
import { copy } from './copy.js';
import { idle } from './idle.js';
import { mixed } from './mixed.js';
import { oltp } from './oltp.js';
import type { Part } from './part.js';
import { peerVersion } from './peers.js';
import { print, Progress, say } from './progress.js';
import { hardware, keep, postgresVersion, revision, today } from './results.js';
import { distinct } from './samples.js';
import type { Sample } from './samples.js';
import { service } from './service.js';
import { HELP, settingsOf } from './settings.js';
import type { PartName, Settings } from './settings.js';
import { openStand } from './stand.js';
import { caseTable, LEGEND, overviewTable, routesOf } from './table.js';
import { targetLines, targetsOf } from './targets.js';
import { workers } from './workers.js';

const PARTS: Readonly<Record<PartName, Part>> = { oltp, copy, connections, mixed, workers, idle, churn, service };
const EXIT_FAILURE = 1;

async function bench(settings: Settings): Promise<void> {
  const parts = settings.parts.map((name) => PARTS[name]);
  const routes = settings.peers.length + 2;
  const seconds = parts.reduce((all, part) => all + part.seconds(settings, routes), 0);
  say(`${parts.map(({ name }) => name).join(', ')}: about ${announced(seconds)}`);
  const versions = await versionsOf(settings);
  say(Object.values(versions).join('; '));
  const progress = new Progress();
  const stand = await openStand(settings, progress);
  const samples: Sample[] = [];
  try {
    for (const part of parts) {
      await part.run({
        settings,
        stand,
        progress,
        record: (sample) => {
          samples.push(sample);
        },
        finished: (of, what) => {
          print(`\n${of.title}\n\n${caseTable(samples, of, what)}\n`);
        },
      });
    }
  } finally {
    // What has been measured is worth keeping, also when something after it did not work.
    if (samples.length > 0) await report(settings, parts, samples, versions);
    await stand.close();
  }
}

/** Shows the whole and keeps it. */
async function report(
  settings: Settings,
  parts: readonly Part[],
  samples: readonly Sample[],
  versions: Readonly<Record<string, string>>,
): Promise<void> {
  const machine = Object.values(versions).join('; ');
  const targets = targetsOf(samples, parts, routesOf(samples));
  const overview = overviewTable(samples, parts);
  const lines = targetLines(targets);
  const markdown = `${overview}\n\n(${roundsText(settings)} ${machine}.)\n`;
  print(`${LEGEND}\n`);
  if (settings.markdown) print(markdown);
  if (lines.length > 0) print(`Targets:\n  ${lines.join('\n  ')}\n`);
  const files = await keep(settings.tiny ? 'tiny' : 'perf', {
    json: `${JSON.stringify({ versions, settings, targets, samples }, undefined, 2)}\n`,
    svg: chartOf(samples, parts, machine),
    md: `${markdown}\n${lines.map((line) => `- ${line}`).join('\n')}\n`,
  });
  for (const file of files) print(file);
}

async function versionsOf(settings: Settings): Promise<Record<string, string>> {
  const peers = distinct(await Promise.all(settings.peers.map(peerVersion)));
  return {
    date: today(),
    machine: await hardware(),
    postgresql: await postgresVersion(),
    ...Object.fromEntries(peers.map((words) => [words.split(' ')[0]?.toLowerCase() ?? '', words])),
    gateway: `pg-gateway ${(await revision()) ?? 'of no commit'}`,
    node: `node ${process.version}`,
  };
}

function roundsText({ rounds, seconds }: Settings): string {
  const length = seconds === undefined ? '' : ` of ${seconds} s`;
  return `Medians of ${counted(rounds, 'round')}${length}, ratios are those within a round.`;
}

async function main(args: readonly string[]): Promise<number> {
  const settings = understood(args, settingsOf, HELP);
  if (typeof settings === 'number') return settings;
  const interruption = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      interruption.abort();
    });
  }
  try {
    await bench(settings);
    return 0;
  } catch (error) {
    // Who ends what runs makes it fail: only the end is meant then, and its status comes from cleanup.ts.
    if (!interruption.signal.aborted) console.error(error);
    return EXIT_FAILURE;
  } finally {
    await closeAll();
  }
}

process.exitCode = await main(process.argv.slice(2));
