// SPDX-License-Identifier: MIT
// How the benchmark gets figures from what it sees: statistics, comparisons, pgbench's words, options.

import { p99, parseLog, parseProgress, parseSummary, steady } from '../bench/pgbench-output.js';
import { bestPeer, ratio, valuesOf } from '../bench/samples.js';
import type { Sample } from '../bench/samples.js';
import { PART_NAMES, settingsOf } from '../bench/settings.js';
import { quantile, spreadOf, summaryOf } from '../bench/statistics.js';
import { cpuBetween } from '../bench/costs.js';
import { UsageError } from '../helpers/options.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('bench: figures');

test('a quantile lies between its neighbours, in any order', () => {
  assert.is(quantile([3, 1, 2], 0.5), 2);
  assert.is(quantile([4, 1, 2, 3], 0.5), 2.5);
  assert.is(quantile([10, 20], 0.25), 12.5);
  assert.is(quantile([7], 0.99), 7);
  assert.throws(() => quantile([], 0.5), /no values/);
});

test('the spread is half of the range, as a part of the median', () => {
  assert.is(summaryOf([]), undefined);
  const summary = summaryOf([90, 100, 130]);
  assert.equal(summary, { count: 3, median: 100, min: 90, max: 130 });
  assert.is(spreadOf(summary ?? { count: 0, median: 0, min: 0, max: 0 }), 0.2);
  assert.is(spreadOf({ count: 2, median: 0, min: 0, max: 0 }), 0);
});

function sample(route: string, round: number, tps: number): Sample {
  return { part: 'oltp', case: '8 clients', route, round, figures: { tps } };
}

const KEY = { part: 'oltp', case: '8 clients', metric: 'tps' };

test('routes are compared round by round', () => {
  // The machine was at half its speed in the second round: no figure of one route alone shows that the two are equal.
  const samples = [sample('a', 1, 100), sample('b', 1, 100), sample('a', 2, 50), sample('b', 2, 50), sample('a', 3, 9)];
  assert.equal(ratio(samples, KEY, 'a', 'b'), { median: 1, low: 1, high: 1 });
  assert.equal(
    [...valuesOf(samples, KEY, 'a')],
    [
      [1, 100],
      [2, 50],
      [3, 9],
    ],
  );
  assert.is(ratio(samples, KEY, 'a', 'c'), undefined);
  assert.is(ratio(samples, { ...KEY, metric: 'other' }, 'a', 'b'), undefined);
});

test('the best peer is neither the direct way nor the gateway', () => {
  const samples = [sample('direct', 1, 9), sample('pg-gateway', 1, 1), sample('a', 1, 5), sample('b', 1, 4)];
  const routes = ['direct', 'a', 'b', 'c', 'pg-gateway'];
  assert.is(bestPeer(samples, KEY, routes, 'more'), 'a');
  assert.is(bestPeer(samples, KEY, routes, 'less'), 'b');
  assert.is(bestPeer(samples, KEY, ['direct', 'pg-gateway'], 'more'), undefined);
});

const SUMMARY = `pgbench (15.18 (Debian 15.18-0+deb12u1))
transaction type: <builtin: select only>
scaling factor: 1
query mode: prepared
number of clients: 8
number of transactions actually processed: 40123
number of failed transactions: 0 (0.000%)
latency average = 0.249 ms
initial connection time = 12.3 ms
tps = 32100.123456 (without initial connection time)
`;

test("pgbench's summary is read", () => {
  assert.equal(parseSummary(SUMMARY), { tps: 32100.123456, averageMs: 0.249, transactions: 40123 });
  const connecting = SUMMARY.replace(/initial.*\ntps.*/, 'tps = 512.5 (including reconnection times)');
  assert.is(parseSummary(connecting).tps, 512.5);
  const counted = SUMMARY.replace('processed: 40123', 'processed: 400/400');
  assert.is(parseSummary(counted).transactions, 400);
});

test('a summary with failures, and none at all, are errors', () => {
  const failed = SUMMARY.replace('transactions: 0 (', 'transactions: 3 (');
  assert.throws(() => parseSummary(failed), /failed/);
  assert.throws(() => parseSummary('pgbench: error: connection refused'), /did not say/);
});

test("pgbench's log is read", () => {
  assert.equal(parseLog('0 1 1500 0 1700000000 500000\n1 1 250 0 1700000001 0\n'), [
    { latencyMs: 1.5, at: 1700000000.5 },
    { latencyMs: 0.25, at: 1700000001 },
  ]);
  for (const line of ['nonsense', '0 1 1500 0 1700000000', '0 1 failed 0 1700000000 1']) {
    assert.throws(() => parseLog(line), /no line of a log/, line);
  }
  assert.is(p99(Array.from({ length: 101 }, (_, ms) => ms)), 99);
  assert.throws(() => p99([]), /no transaction/);
});

test('what pgbench says while it runs is read, and the seconds after the warm-up count', () => {
  const words =
    'progress: 100.000 s, 10.0 tps, lat 80.000 ms stddev 1.0, 0 failed\n' +
    'progress: 101.000 s, 0.0 tps, lat -nan ms stddev -nan, 0 failed\n' +
    'progress: 103.000 s, 100.0 tps, lat 10.000 ms stddev 1.0, 0 failed\n' +
    'progress: 104.000 s, 200.0 tps, lat 4.000 ms stddev 1.0, 0 failed\n' +
    'progress: 105.000 s, 900.0 tps, lat 1.000 ms'; // not said to its end yet
  const seconds = parseProgress(words);
  assert.is(seconds.length, 4);
  assert.equal(steady(seconds, 1, 4), { tps: 100, averageMs: 7, transactions: 400, from: 100, to: 104 });
  assert.equal(steady(seconds, 2, 3), { tps: 100, averageMs: 10, transactions: 200, from: 101, to: 103 });
  assert.ok(Number.isNaN(steady(seconds, 1, 2).averageMs), 'of no transactions there is no average');
  assert.throws(() => steady(seconds, 2, 5), /4 seconds, not of 5/);
  assert.throws(() => steady([], 1, 2), /0 seconds/);
});

test('CPU time is that of all threads, also of new ones', () => {
  const before = new Map([
    ['1/1', 5_000_000],
    ['1/2', 1_000_000],
  ]);
  const after = new Map([
    ['1/1', 5_500_000],
    ['1/2', 3_000_000],
    ['1/3', 250_000],
  ]);
  assert.equal(cpuBetween(before, after), { totalUs: 2750, busiestUs: 2000 });
  assert.equal(cpuBetween(new Map(), new Map()), { totalUs: 0, busiestUs: 0 });
});

test('options', () => {
  assert.is(settingsOf(['--help']), undefined);
  const full = settingsOf([]);
  assert.equal(full?.parts, PART_NAMES);
  assert.is(full?.seconds, 5);
  const some = settingsOf(['--only', 'copy,oltp', '--clients', '64,8,8', '--rounds=3', '--tiny', '--peers', 'nginx']);
  assert.equal(some?.parts, ['oltp', 'copy']);
  assert.equal(some?.peers, ['nginx']);
  assert.equal(some?.clients, [8, 64]);
  assert.is(some?.rounds, 3);
  assert.is(some?.seconds, undefined);
});

for (const args of [
  ['--only', 'oltp,nonsense'],
  ['--rounds', '0'],
  ['--seconds', 'x'],
  ['--clients', '1,,2'],
  ['--unknown'],
  ['word'],
]) {
  test(`${args.join(' ')} is not understood`, () => {
    assert.throws(
      () => settingsOf(args),
      (error: unknown) => error instanceof UsageError,
    );
  });
}

test.run();
