// SPDX-License-Identifier: MIT
// What the benchmark makes of its samples: tables, the list of targets, the chart; and the peers' configurations.

import { chartOf } from '../bench/chart.js';
import type { Part } from '../bench/part.js';
import { haproxyConfiguration, nginxConfiguration, pgbouncerConfiguration } from '../bench/peer-configurations.js';
import type { Sample } from '../bench/samples.js';
import { caseTable, format, markdownTable, overviewTable, routesOf } from '../bench/table.js';
import { targetLines, targetsOf } from '../bench/targets.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('bench: report');

function part(name: string, metrics: Part['metrics']): Part {
  return { name, title: name, metrics, seconds: () => 0, run: () => Promise.resolve() };
}

const OLTP = part('oltp', [
  { key: 'tps', title: 'transactions/s', digits: 0, better: 'more', headline: true },
  { key: 'p99Ms', title: 'p99, ms', digits: 2, better: 'less' },
  { key: 'cpuUs', title: 'CPU, us', digits: 1, better: 'less', headline: true },
]);

function oltp(route: string, tps: readonly number[], p99Ms: number, cpuUs?: number): Sample[] {
  return tps.map((value, index) => ({
    part: 'oltp',
    case: '8 clients',
    route,
    round: index + 1,
    figures: { tps: value, p99Ms, ...(cpuUs === undefined ? {} : { cpuUs }) },
  }));
}

const SAMPLES: readonly Sample[] = [
  ...oltp('direct', [50_000, 52_000, 48_000], 0.2),
  ...oltp('nginx', [40_000, 40_000, 40_000], 0.3, 14),
  ...oltp('HAProxy', [38_000, 39_000, 38_000], 0.25, 15),
  ...oltp('pg-gateway', [41_000, 42_000, 40_000], 0.25, 13.5),
];

test('columns are the direct way, the others by name, the gateway', () => {
  assert.equal(routesOf(SAMPLES), ['direct', 'HAProxy', 'nginx', 'pg-gateway']);
  assert.equal(routesOf(SAMPLES.filter(({ route }) => route !== 'direct')), ['HAProxy', 'nginx', 'pg-gateway']);
});

test('a table has medians, spreads and ratios', () => {
  const lines = caseTable(SAMPLES, OLTP, '8 clients').split('\n');
  const cells = lines.map((line) => line.split('|').map((cell) => cell.trim()));
  assert.equal(cells[0], ['', '8 clients', 'direct', 'HAProxy', 'nginx', 'pg-gateway', 'to the best peer', '']);
  assert.equal(cells[2]?.slice(1, -1), [
    'transactions/s',
    '50,000 ±4%',
    '38,000 ±1% (0.76)',
    '40,000 ±0% (0.80)',
    '41,000 ±2% (0.82)',
    '1.02 x nginx',
  ]);
  // The best of each metric is another one; the direct way has no proxy.
  assert.equal(cells[3]?.at(-2), '1.00 x HAProxy');
  assert.equal(cells[4]?.slice(2), ['', '15.0 ±0%', '14.0 ±0%', '13.5 ±0%', '0.96 x nginx', '']);
  assert.is(new Set(lines.map((line) => line.length)).size, 1, 'the lines are aligned');
});

test('the overview has a row for each case and headline', () => {
  const other = SAMPLES.map((sample) => ({ ...sample, case: '64 clients' }));
  const rows = overviewTable([...SAMPLES, ...other], [OLTP]).split('\n');
  assert.is(rows.length, 2 + 4);
  assert.match(rows[2] ?? '', /^\| 8 clients: transactions\/s +\| +50,000 \|/);
  assert.match(rows[5] ?? '', /^\| 64 clients: CPU, us +\| +\| +15\.0 \|/);
});

test('a metric of other cases has no row', () => {
  const other: Part = {
    ...OLTP,
    metrics: [...OLTP.metrics, { key: 'other', title: 'other', digits: 0, headline: true }],
  };
  assert.is(caseTable(SAMPLES, other, '8 clients'), caseTable(SAMPLES, OLTP, '8 clients'));
  assert.is(overviewTable(SAMPLES, [other]), overviewTable(SAMPLES, [OLTP]));
});

test('numbers', () => {
  assert.is(format(1234567.891, 1), '1,234,567.9');
  assert.is(format(0.5, 3), '0.500');
  const table = markdownTable([
    ['a', 'b'],
    ['1', '22222'],
  ]);
  assert.is(table, '| a   |     b |\n| --- | ----: |\n| 1   | 22222 |');
});

function targets(samples: readonly Sample[], name = 'oltp'): Record<string, boolean> {
  const all = targetsOf(samples, [part(name, [])], routesOf(samples));
  return Object.fromEntries(all.map(({ what, met }) => [what, met]));
}

test('targets of small transactions', () => {
  assert.equal(targets(SAMPLES), {
    '8 clients: transactions/s at or above the best peer': true,
    '8 clients: CPU/transaction at most 0.95 x HAProxy': true,
    '8 clients: p99 at most 1 x HAProxy': true,
  });
  const slow = SAMPLES.filter(({ route }) => route !== 'pg-gateway');
  assert.equal(targets([...slow, ...oltp('pg-gateway', [39_000, 39_500, 39_900], 0.26, 14.5)]), {
    '8 clients: transactions/s at or above the best peer': false,
    '8 clients: CPU/transaction at most 0.95 x HAProxy': false,
    '8 clients: p99 at most 1 x HAProxy': false,
  });
  // Equal within the spread: now one is ahead, now the other.
  const equal = targets([...slow, ...oltp('pg-gateway', [39_000, 39_900, 41_000], 0.25, 14)]);
  assert.is(equal['8 clients: transactions/s at or above the best peer'], true);
});

function one(name: string, what: string, route: string, figures: Readonly<Record<string, number>>, round = 1): Sample {
  return { part: name, case: what, route, round, figures };
}

test('targets of all else, each met and not', () => {
  const cases: readonly (readonly [name: string, samples: (good: boolean) => Sample[]])[] = [
    [
      'copy',
      (good) => [
        one('copy', 'COPY in', 'HAProxy', { cpuSPerGb: 1 }),
        one('copy', 'COPY in', 'pg-gateway', { cpuSPerGb: good ? 0.6 : 0.61 }),
      ],
    ],
    [
      'connections',
      (good) => [
        one('connections', 'c', 'HAProxy', { perS: 100 }),
        one('connections', 'c', 'pg-gateway', { perS: good ? 100 : 99 }),
      ],
    ],
    ['idle', (good) => [one('idle', '9 sessions', 'pg-gateway', { bytes: good ? 512 : 513, descriptors: 2.001 })]],
    ['idle', (good) => [one('idle', '9 sessions', 'pg-gateway', { bytes: 1, descriptors: good ? 2 : 3 })]],
    [
      'mixed',
      (good) => [
        one('mixed', 'alone', 'direct', { p99Ms: 1 }),
        one('mixed', 'beside a COPY', 'direct', { p99Ms: 2 }),
        one('mixed', 'alone', 'pg-gateway', { p99Ms: 3 }),
        one('mixed', 'beside a COPY', 'pg-gateway', { p99Ms: good ? 7.2 : 7.3 }),
      ],
    ],
    [
      'churn',
      (good) => [one('churn', 'c', 'pg-gateway', { bytes: good ? -3 : 11, beforeMb: 30, afterMb: 30, restMb: 0 })],
    ],
    ['service', (good) => [one('service', 'started', 'pg-gateway', { readyMs: good ? 250 : 251 })]],
    ['service', (good) => [one('service', 'started', 'pg-gateway', { ctlMs: good ? 150 : 151 })]],
    ['service', (good) => [one('service', 'at rest', 'pg-gateway', { wakeUps: good ? 10 : 10.1 })]],
    ['service', (good) => [one('service', 'at rest', 'pg-gateway', { cpuPercent: good ? 0.2 : 0.21 })]],
    [
      'workers',
      (good) => [
        one('workers', '1 worker', 'pg-gateway', { capacity: 10 }),
        one('workers', '2 workers', 'pg-gateway', { capacity: good ? 16 : 15 }),
      ],
    ],
  ];
  for (const [name, samples] of cases) {
    assert.equal(Object.values(targets(samples(true), name)), [true], name);
    assert.equal(Object.values(targets(samples(false), name)), [false], name);
  }
});

test('of pg-gatewayctl it is said which command was timed', () => {
  const [target] = targetsOf([one('service', 'started', 'pg-gateway', { ctlMs: 75 })], [], []);
  assert.equal(target, {
    what: 'started: at most 150 ms for pg-gatewayctl status',
    met: true,
    measured: '75 ms for pg-gatewayctl status',
  });
});

test('what was not measured has no target', () => {
  assert.equal(targetsOf([], [OLTP], []), []);
  assert.equal(
    targetLines([
      { what: 'a', met: true, measured: '1' },
      { what: 'b', met: false, measured: '2' },
    ]),
    ['met      a: 1', 'NOT MET  b: 2'],
  );
});

test('the chart has a bar for each figure, and words that cannot break it', () => {
  const svg = chartOf(SAMPLES, [OLTP], 'a <machine> & more');
  assert.is(svg.match(/<rect class="bar/g)?.length, 4 + 3);
  assert.is(svg.match(/<rect class="bar own"/g)?.length, 2);
  assert.match(svg, /a &lt;machine&gt; &amp; more/);
  assert.match(svg, /prefers-color-scheme: dark/);
  assert.not.match(svg, /NaN|Infinity|undefined/);
  for (const name of ['svg', 'g', 'text', 'style']) {
    const opened = svg.match(new RegExp(`<${name}[ >]`, 'g'))?.length;
    assert.is(opened, svg.match(new RegExp(`</${name}>`, 'g'))?.length, `each <${name}> is closed`);
  }
});

test('a chart of nothing, and of negative figures', () => {
  assert.not.match(chartOf([], [OLTP], ''), /class="bar/);
  const negative = chartOf([one('oltp', 'c', 'pg-gateway', { tps: -5 })], [OLTP], '');
  assert.not.match(negative, /width="-|NaN|Infinity/);
});

test("the peers' configurations", () => {
  const setup = { port: 1111, serverPort: 2222, workers: 2, connections: 300, folder: '/f' };
  const haproxy = haproxyConfiguration(setup, { splice: false });
  assert.match(haproxy, /nbthread 2\n.*maxconn 300\n/s);
  assert.match(haproxy, /bind 127\.0\.0\.1:1111\n.*server postgresql 127\.0\.0\.1:2222 check/s);
  assert.not.match(haproxy, /splice/);
  assert.match(haproxyConfiguration(setup, { splice: true }), /option splice-request\n +option splice-response/);
  assert.match(
    nginxConfiguration(setup),
    /worker_processes 2;.*worker_connections 664;.*listen 127\.0\.0\.1:1111 reuseport;/s,
  );
  assert.not.match(nginxConfiguration({ ...setup, workers: 1 }), /reuseport/);
  assert.match(
    pgbouncerConfiguration(setup),
    /port=2222\n.*listen_port = 1111\n.*pool_mode = session\n.*default_pool_size = 300\nserver_lifetime = 0\n/s,
  );
});

test.run();
