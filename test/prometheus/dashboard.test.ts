// SPDX-License-Identifier: MIT
// A real Prometheus scrapes a real gateway in front of real servers, through a
// failover: every query of the dashboard gives data, and the alerts are those of the
// situation. The tests are one story: each begins where the one before has ended.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { freezeIfPermitted, threadIds } from '../helpers/freeze-thread.js';
import { Gateway } from '../helpers/gateway.js';
import { PROJECT_ROOT } from '../helpers/paths.js';
import { PgSession } from '../helpers/pg-session.js';
import { createCluster } from '../helpers/postgres.js';
import type { Cluster, PostgresServer } from '../helpers/postgres.js';
import { assert, suite } from '../helpers/suite.js';
import { eventually } from '../helpers/wait.js';
import { anyOf, fillIn, labelQuery, queriesOf, readDashboard } from './dashboard.js';
import { Load } from './load.js';
import { pictureOf } from './picture.js';
import { Prometheus, promtool } from './prometheus.js';
import type { Alert, Sample } from './prometheus.js';

/** What Grafana itself fills in; windows of twenty scrapes, where Grafana takes four. */
const GRAFANA = { __rate_interval: '5s', __range: '5m' };

/** What rightly has no data while nothing has failed, or gives no number. */
const EMPTY_IN_HEALTH = [
  'Decided within, A',
  'Decided within, B',
  'How long they waited, A',
  'How long they waited, B',
  'Failed probes, A',
  'Failed connections to servers, A',
  'annotation Failovers',
  'annotation Restarts',
];

/** What a failover need not show: the probe may be the first to notice it, and the gateway has not started anew. */
const EMPTY_AFTER_A_FAILOVER = ['Failed connections to servers, A', 'annotation Restarts'];

/** As the dashboard numbers them. */
const ROLE = { primary: 1, standby: 2, fenced: 4 };

/** A busy machine is no fault of a server; one that is killed is noticed by its connection. */
const PATIENCE = { CONNECT_TIMEOUT_MS: '5000', QUERY_TIMEOUT_MS: '5000' };

/** Text files to look at. */
const PICTURES = join(PROJECT_ROOT, 'build/dashboard');

const dashboard = readDashboard();
const test = suite('dashboard');
let cluster: Cluster;
let next: PostgresServer;
let gateway: Gateway;
let prometheus: Prometheus;
let load: Load;
let session: PgSession;

test.before(async () => {
  cluster = await createCluster(1);
  const [standby] = cluster.standbys;
  if (standby === undefined) throw new Error('the cluster has no standby');
  next = standby;
  gateway = await Gateway.start({
    candidates: cluster.servers.map(({ candidate }) => candidate),
    env: { ...PATIENCE, HOLD_TIMEOUT_MS: '15000', NUM_THREADS: '2' },
  });
  const { host, port } = gateway.metricsAddress;
  prometheus = await Prometheus.start([`${host}:${port}`]);
  load = new Load(gateway.clients);
  session = await PgSession.open(gateway.clients);
  await eventually('the first scrape', async () => (await prometheus.query('pg_gateway_build_info')).length > 0);
});

test.after(async () => {
  session.close();
  await load.stop();
  await prometheus.close();
  await gateway.close();
  await cluster.close();
});

/** As Grafana does it when the dashboard is opened: each variable by its own query, all of its values chosen. */
async function variables(): Promise<ReadonlyMap<string, string>> {
  const values = new Map<string, string>(Object.entries(GRAFANA));
  for (const variable of dashboard.templating.list.filter(({ type }) => type === 'query')) {
    const { selector, label } = labelQuery(variable);
    const all = await prometheus.labelValues(fillIn(selector, values), label);
    assert.ok(all.length > 0, `the variable ${variable.name} has no value`);
    values.set(variable.name, variable.allValue ?? anyOf(all));
  }
  return values;
}

/** As Prometheus names the gateway. */
function instance(): string {
  const { host, port } = gateway.metricsAddress;
  return `${host}:${port}`;
}

function hasNumber(samples: readonly Sample[]): boolean {
  return samples.some(({ value }) => !Number.isNaN(value));
}

/** Waits until every query has given a number once, but for these. */
async function everyQueryGivesData(except: readonly string[]): Promise<void> {
  const values = await variables();
  const queries = queriesOf(dashboard).map(({ name, expr }) => ({ name, expr: fillIn(expr, values) }));
  for (const name of except)
    assert.ok(
      queries.some((query) => query.name === name),
      `there is no query "${name}"`,
    );
  let missing = queries.filter(({ name }) => !except.includes(name));
  assert.ok(missing.length > 40, 'the dashboard has lost its queries');
  await eventually('data of every query', async () => {
    const left = [];
    for (const query of missing) if (!hasNumber(await prometheus.query(query.expr))) left.push(query);
    missing = left;
    return missing.length === 0;
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}: none of\n${missing.map(({ name, expr }) => `${name}: ${expr}`).join('\n')}`);
  });
}

/** The value of a query's one series with these labels, of a panel's target. */
async function shown(name: string, labels: Readonly<Record<string, string>> = {}): Promise<number | undefined> {
  const values = await variables();
  const query = queriesOf(dashboard).find((one) => one.name === name);
  assert.ok(query, `there is no query "${name}"`);
  const samples = await prometheus.query(fillIn(query.expr, values));
  return samples.find((sample) => Object.entries(labels).every(([key, value]) => sample.labels[key] === value))?.value;
}

/** What a person sees of the panel now. */
async function picture(title: string): Promise<readonly string[]> {
  const values = await variables();
  const panel = dashboard.panels.find((one) => one.title === title);
  assert.ok(panel, `there is no panel "${title}"`);
  const answers = (panel.targets ?? []).map(
    async ({ refId, expr }) => [refId, await prometheus.query(fillIn(expr, values))] as const,
  );
  return pictureOf(panel, new Map(await Promise.all(answers)));
}

/** Waits until the panel is that. */
async function panelIs(title: string, expected: readonly string[]): Promise<void> {
  let last: readonly string[] = [];
  await eventually(`the panel "${title}"`, async () => {
    last = await picture(title);
    return last.join('\n') === expected.join('\n');
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}: it shows\n${last.join('\n')}\ninstead of\n${expected.join('\n')}`);
  });
}

/** The whole dashboard as a person sees it; each panel can be shown. Kept in build/dashboard/. */
async function wholePicture(name: string): Promise<readonly string[]> {
  const parts = [];
  for (const { type, title } of dashboard.panels) {
    const lines = type === 'row' ? [] : await picture(title);
    parts.push(...(type === 'row' ? ['', `==== ${title}`] : [`-- ${title}`, ...lines.map((line) => `   ${line}`)]));
  }
  mkdirSync(PICTURES, { recursive: true });
  writeFileSync(join(PICTURES, `${name}.txt`), `${parts.join('\n')}\n`);
  return parts;
}

/** Waits until each of these shows such a value; undefined is none. */
async function panelsShow(
  expected: readonly (readonly [
    name: string,
    labels: Readonly<Record<string, string>>,
    accept: (value: number | undefined) => boolean,
  ])[],
): Promise<void> {
  let last = '';
  await eventually('the panels to show it', async () => {
    const values = await Promise.all(expected.map(([name, labels]) => shown(name, labels)));
    last = values.map((value, index) => `${expected[index]?.[0] ?? ''}: ${String(value)}`).join('; ');
    return expected.every(([, , accept], index) => accept(values[index]));
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}: they show ${last}`);
  });
}

/** Alerts that are pending or firing, by name, with their state. */
async function alerts(): Promise<ReadonlyMap<string, Alert>> {
  return new Map((await prometheus.alerts()).map((alert) => [alert.labels['alertname'] ?? '', alert]));
}

function alertIs(name: string, state: Alert['state']): Promise<Alert> {
  return eventually(`the alert ${name} to be ${state}`, async () => {
    const alert = (await alerts()).get(name);
    return alert?.state === state ? alert : undefined;
  });
}

async function checkMetrics(): Promise<void> {
  const { body } = await gateway.http('/metrics');
  const { status, stdout, stderr } = await promtool(['check', 'metrics'], body);
  assert.equal([status, stdout, stderr], [0, '', '']);
}

test('promtool finds no fault in the metrics', checkMetrics);

test('Prometheus has taken the rules, and none is in error', async () => {
  const rules = await eventually('all rules to have been evaluated', async () => {
    const all = await prometheus.rules();
    return all.every(({ health }) => health !== 'unknown') ? all : undefined;
  });
  assert.ok(rules.length > 10);
  assert.equal(
    rules.filter(({ health }) => health !== 'ok'),
    [],
  );
});

test('every query gives data while all is well', async () => {
  await everyQueryGivesData(EMPTY_IN_HEALTH);
  await panelsShow([
    ['Primary, A', {}, (value) => value === 1],
    ['Clients, A', {}, (value) => (value ?? 0) >= 1],
    ['Servers, B', { server: cluster.primary.candidate }, (role) => role === ROLE.primary],
    ['Servers, B', { server: next.candidate }, (role) => role === ROLE.standby],
    ['Failed probes, A', {}, (value) => value === undefined],
  ]);
});

test('and is shown as it is meant: legends, units, colours, the rows of the tables', async () => {
  const at = instance();
  const [first, second] = [cluster.primary.candidate, next.candidate];
  await panelIs('Primary', [`${at}: proven (green)`]);
  await panelIs('Split brain', [`${at}: no (green)`]);
  await panelIs('Servers that are primary', [`${first}: 1 (green)`]);
  await panelIs('Servers', [
    'instance | server | up | role | timeline | sessions',
    ...[
      `${at} | ${first} | yes (green) | primary (green) | 1 | 2`,
      `${at} | ${second} | yes (green) | standby (blue) | 1 | 0`,
    ].sort(),
  ]);
  const lines = (await wholePicture('1-healthy')).filter((line) => line.startsWith('   '));
  assert.ok(lines.length > 60, `${lines.length} lines`);
});

test('and no alert is even pending', async () => {
  // The first evaluations may have come before the first scrape.
  await eventually('no alert', async () => (await prometheus.alerts()).length === 0);
});

test('an outage is seen', async () => {
  await cluster.primary.crash();
  await gateway.primaryIs('none');
  await panelsShow([
    ['Primary, A', {}, (value) => value === 0],
    ['Without a primary, A', {}, (seconds) => (seconds ?? 0) > 0],
    ['Clients, B', {}, (waiting) => waiting === 1],
    ['Failed probes, A', { server: cluster.primary.candidate }, (count) => (count ?? 0) > 0],
  ]);
  await panelIs('Primary', [`${instance()}: none (red)`]);
  await wholePicture('2-outage');
  const probe = await alertIs('PgGatewayProbeFailing', 'pending');
  assert.is(probe.labels['server'], cluster.primary.candidate);
  await alertIs('PgGatewayClientsHeld', 'pending');
});

test('every query gives data after the failover', async () => {
  const before = load.served;
  await next.promote();
  await gateway.primaryIs(next.candidate);
  await everyQueryGivesData(EMPTY_AFTER_A_FAILOVER);
  await panelsShow([
    ['Failovers, A', {}, (count) => count === 1],
    ['Decided within, A', {}, (seconds) => (seconds ?? 0) > 0],
    ['Servers, B', { server: next.candidate }, (role) => role === ROLE.primary],
    ['Servers, C', { server: next.candidate }, (timeline) => timeline === 2],
  ]);
  await panelIs('Primary', [`${instance()}: proven (green)`]);
  await wholePicture('3-failover');
  assert.ok(load.served > before, 'clients are served again');
  const failover = await alertIs('PgGatewayFailover', 'firing');
  assert.is(failover.labels['severity'], 'info');
  assert.is(failover.labels['cluster'], 'main');
});

test('the old primary that comes back is fenced', async () => {
  await cluster.primary.start();
  await panelsShow([
    ['Servers, B', { server: cluster.primary.candidate }, (role) => role === ROLE.fenced],
    ['Fenced servers, A', {}, (count) => count === 1],
  ]);
  const [header, ...rows] = await picture('Servers');
  assert.is(header, 'instance | server | up | role | timeline | sessions');
  assert.ok(rows.some((row) => row.includes(`${cluster.primary.candidate} | yes (green) | fenced (red) | 1 | 0`)));
  await wholePicture('4-fenced');
  const fenced = await alertIs('PgGatewayServerFenced', 'pending');
  assert.is(fenced.labels['reason'], 'stale-timeline');
});

test('a worker that stands still raises an alert that names it', async () => {
  const [, worker = 0] = threadIds(gateway.pid, /^pg-gw-worker$/u);
  const thread = await freezeIfPermitted(worker, 'that a frozen worker raises an alert');
  if (thread === undefined) return;
  try {
    const stalled = await alertIs('PgGatewayWorkerStalled', 'firing');
    assert.is(stalled.labels['severity'], 'critical');
    const lag = (await shown('Lag of the workers, A', { worker: stalled.labels['worker'] ?? '' })) ?? 0;
    assert.ok(lag > 3, `${lag} seconds`);
  } finally {
    await thread.thaw();
  }
});

test('promtool finds no fault in what the metrics have become', checkMetrics);

test.run();
