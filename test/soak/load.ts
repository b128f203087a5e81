// SPDX-License-Identifier: MIT
// Everything at once for a long time: pgbench, COPY, LISTEN, sessions that come and go, resets; failovers and reloads
// meanwhile. Then all leave, and it is judged what they saw, what the gateway has counted, and what it still holds.

import { say } from '../bench/progress.js';
import type { Progress } from '../bench/progress.js';
import { quantile } from '../bench/statistics.js';
import { format } from '../bench/table.js';
import { temporaryFolder } from '../helpers/paths.js';
import { descriptorsOf } from '../helpers/processes.js';
import { eventually, observeFor } from '../helpers/wait.js';
import { count, equals } from './check.js';
import type { Check } from './check.js';
import { Churn } from './churn.js';
import { Door } from './door.js';
import { Listeners } from './listeners.js';
import type { Part, PartResult } from './part.js';
import { Copies, Pgbench, PGBENCH_LOADS } from './programs.js';
import { Readings } from './readings.js';
import type { Settings } from './settings.js';
import { FAILOVER_KINDS, Stand, WORKERS } from './stand.js';
import { Tally } from './tally.js';
import { floorsOf, trendOf } from './trend.js';
import type { Reading } from './trend.js';
import { checkTruth } from './truth.js';
import { Windows } from './windows.js';

const START_SECONDS = 12;
/** What comes once and stays, the pipes of the workers for one, comes with these. */
const FIRST_SESSIONS_MS = 1000;
/** Two ends of each pipe that a worker keeps (native/pipe_pool.h). */
const KEPT_PIPE_ENDS = 2 * 4 * WORKERS;
const STOP_DEADLINE_MS = 60_000;
/** Of memory the least of each such span counts. */
const FLOOR_SECONDS = 20;
/** A leak of one descriptor a failover would be 60 an hour, one of a byte a session 0.7 MB. */
const MAX_DESCRIPTORS_PER_HOUR = 30;
const MAX_MB_PER_HOUR = 24;
/** A slope is known but for its error: so many of those must lie between it and the bound. */
const ERRORS = 3;
/** With less than this nothing can be said of an hour. */
const LEAST_JUDGED_SECONDS = 120;

export const load: Part = {
  name: 'load',
  seconds: ({ loadSeconds }) => loadSeconds + START_SECONDS,
  run: async (settings, progress) => {
    const stand = await progress.during('load: PostgreSQL, its standby, the gateway', () => Stand.open());
    const folder = await temporaryFolder();
    const tally = new Tally(new Windows());
    const door = await Door.open(tally, stand.clients);
    try {
      return await run({ settings, progress, stand, tally, door, folder: folder.path });
    } finally {
      await progress.during('load: taking it away', async () => {
        await door.close();
        await stand.close();
        await folder.close();
      });
    }
  },
};

interface Course {
  readonly settings: Settings;
  readonly progress: Progress;
  readonly stand: Stand;
  readonly tally: Tally;
  readonly door: Door;
  readonly folder: string;
}

async function run(course: Course): Promise<PartResult> {
  const { settings, progress, stand, tally, door } = course;
  const { gateway } = stand;
  const atRest = await progress.during(
    'load: the first sessions',
    async () => {
      const first = new Churn(tally, stand.clients, settings.churnPerSecond);
      await observeFor(FIRST_SESSIONS_MS);
      await first.stop();
      return descriptorsAtRest(stand);
    },
    (descriptors) => `${descriptors} descriptors at rest`,
  );
  const copies = await Copies.start(tally, door.target, course.folder, settings.copyMegabytes);
  const readings = new Readings(gateway.pid, tally.windows);
  const endMs = performance.now() + settings.loadSeconds * 1000;
  const churn = new Churn(tally, stand.clients, settings.churnPerSecond);
  const listeners = new Listeners(tally, stand.clients, door.target, settings.listeners);
  const pgbenches = PGBENCH_LOADS.map((one) => new Pgbench(tally, door.target, one, endMs));
  const all = [churn, listeners, copies, ...pgbenches];
  const transactions = (): number => pgbenches.reduce((sum, one) => sum + one.transactions, 0);
  const status = (): string =>
    [
      `${count(churn.answered)} short sessions, ${count(transactions())} transactions, ${copies.done} COPYs both ways`,
      `${format((readings.memory.at(-1)?.value ?? 0) / 1e6, 1)} MB, ${readings.descriptors.at(-1)?.value ?? 0} descriptors`,
      `${tally.failed} failures`,
    ].join('; ');
  const failoversMs: number[] = [];
  try {
    await disturb(course, endMs, status, failoversMs);
  } finally {
    readings.stop();
    await progress.during('load: all leave', () => Promise.all(all.map((one) => one.stop())));
    await door.close();
  }
  const left = await progress.during('load: what is left', () => descriptorsAtRest(stand));
  for (const words of tally.failures) say(`failed: ${words}`);

  const samples = await gateway.samples();
  const errors = gateway.lines.filter(({ level }) => level === 'err').length;
  const checks: Check[] = [
    { what: 'failures that no failover explains', passed: tally.failed === 0, measured: count(tally.failed) },
    {
      what: 'every client has worked',
      passed: [churn.answered, copies.done, listeners.heard, ...pgbenches.map((one) => one.transactions)].every(
        (number) => number > 0,
      ),
      measured: `${status()}; ${count(listeners.heard)} notifications`,
    },
    equals('COPYs that came back changed', copies.different, 0),
    equals('failovers counted', samples.get('pg_gateway_failovers_total'), failoversMs.length),
    equals('reloads counted', samples.get('pg_gateway_config_reloads_total', { result: 'ok' }), stand.reloads),
    ...checkTruth(samples, tally.totals),
    equals('errors in the log', errors, 0),
    {
      what: 'descriptors at rest, as before the load',
      passed: left <= atRest + KEPT_PIPE_ENDS,
      measured: `${left} after, ${atRest} before`,
    },
    ...slopes(readings, settings),
  ];
  const explained = Object.fromEntries(tally.explained);
  return {
    checks,
    rows: rowsOf({
      settings,
      churned: churn.answered,
      transactions: transactions(),
      copies,
      failoversMs,
      checks,
      tally,
    }),
    figures: { failoversMs, explained, failures: tally.failures, totals: tally.totals, readings },
  };
}

/** Reloads and failovers until it is over. */
async function disturb(
  { settings, progress, stand, tally }: Course,
  endMs: number,
  status: () => string,
  failoversMs: number[],
): Promise<void> {
  const every = settings.reloadEverySeconds * 1000;
  const perFailover = Math.max(1, Math.round(settings.failoverEverySeconds / settings.reloadEverySeconds));
  const begunMs = endMs - settings.loadSeconds * 1000;
  for (let number = 0; performance.now() < endMs - every / 2; number += 1) {
    const until = Math.min(endMs, Math.max(performance.now(), begunMs + (number + 1) * every));
    const kind = FAILOVER_KINDS[failoversMs.length % FAILOVER_KINDS.length] ?? 'switchover';
    const failsOver = number % perFailover === 1 % perFailover;
    const left = `${Math.round((endMs - performance.now()) / 1000)} s left`;
    await progress.during(
      `load, ${left}: reload${failsOver ? `, ${kind}` : ''}`,
      async () => {
        await stand.reload();
        if (failsOver) {
          failoversMs.push(await stand.failOver(kind, tally.windows));
          await stand.restoreStandby(kind);
        }
        await observeFor(Math.max(0, until - performance.now()));
      },
      () => `${failsOver ? `new primary after ${(failoversMs.at(-1) ?? 0).toFixed(0)} ms; ` : ''}${status()}`,
    );
  }
}

/** When no client is left: what is counted has been the same for a second. */
async function descriptorsAtRest({ gateway }: Stand): Promise<number> {
  for (const name of ['pg_gateway_connections_active', 'pg_gateway_clients_held']) {
    await gateway.metric(name, {}, (value) => value === 0, { deadlineMs: STOP_DEADLINE_MS, everyMs: 100 });
  }
  let last = -1;
  let same = 0;
  return eventually(
    'a steady number of descriptors',
    () => {
      const before = last;
      last = descriptorsOf(gateway.pid).length;
      same = before === last ? same + 1 : 0;
      return same === 5 ? last : undefined;
    },
    { everyMs: 200 },
  );
}

function slopes({ memory, descriptors }: Readings, { loadSeconds, warmUpSeconds }: Settings): Check[] {
  const warm = (readings: readonly Reading[]): Reading[] => readings.filter(({ at }) => at >= warmUpSeconds);
  const judged = loadSeconds - warmUpSeconds >= LEAST_JUDGED_SECONDS;
  const slope = (what: string, readings: readonly Reading[], unit: number, most: number, digits: number): Check => {
    const trend = trendOf(readings);
    if (trend === undefined) return { what, passed: !judged, measured: 'too few readings' };
    const [perHour, error] = [trend.perHour / unit, trend.errorPerHour / unit];
    const range = `${format(trend.first / unit, digits)} to ${format(trend.last / unit, digits)}`;
    const bound = judged ? `at most ${most}` : 'too short to be judged';
    return {
      what,
      passed: !judged || perHour - ERRORS * error <= most,
      measured: `${format(perHour, 1)} ± ${format(error, 1)} an hour (${bound}), ${range}`,
    };
  };
  return [
    slope('growth of descriptors', warm(descriptors), 1, MAX_DESCRIPTORS_PER_HOUR, 0),
    slope('growth of memory, MB', floorsOf(warm(memory), FLOOR_SECONDS), 1e6, MAX_MB_PER_HOUR, 1),
  ];
}

interface Outcome {
  readonly settings: Settings;
  readonly churned: number;
  readonly transactions: number;
  readonly copies: Copies;
  readonly failoversMs: readonly number[];
  readonly checks: readonly Check[];
  readonly tally: Tally;
}

function rowsOf({ settings, churned, transactions, copies, failoversMs, checks, tally }: Outcome): [string, string][] {
  const measured = (what: string): string => checks.find((check) => check.what === what)?.measured ?? '';
  const minutes = settings.loadSeconds / 60;
  const each = [...tally.explained].map(([kind, number]) => `${kind} ${count(number)}`).join(', ');
  const worst = failoversMs.length === 0 ? 0 : Math.max(...failoversMs);
  const median = failoversMs.length === 0 ? 0 : quantile(failoversMs, 0.5);
  return [
    [
      `${format(minutes, minutes < 1 ? 1 : 0)} minutes of load`,
      `${count(churned)} short sessions, ${count(transactions)} transactions, ${copies.done} COPYs of ${settings.copyMegabytes} MB each way, ${failoversMs.length} failovers`,
    ],
    ['failures that no failover explains', count(tally.failed)],
    ['failures in failovers', each === '' ? 'none' : each],
    ['failover, stop or kill to new primary', `${median.toFixed(0)} ms in the median, ${worst.toFixed(0)} ms at worst`],
    ['connections, as the metrics and as the clients count', measured('connections counted')],
    ['descriptors', `${measured('descriptors at rest, as before the load')}; ${measured('growth of descriptors')}`],
    ['memory, MB', measured('growth of memory, MB')],
  ];
}
