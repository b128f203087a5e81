// SPDX-License-Identifier: MIT
// The alert rules and the dashboard must not drift from the metrics, and the
// dashboard must be one that Grafana shows as it is meant. What Prometheus makes of
// them, test/prometheus asks it.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { LATELY_MS, STALLED_MS } from '#src/control/status-document.js';
import { exposition, labelsByMetric } from '../helpers/exposition.js';
import type { LabelValues } from '../helpers/exposition.js';
import { PROJECT_ROOT } from '../helpers/paths.js';
import { assert, suite } from '../helpers/suite.js';
import { anyOf, DASHBOARD_FILE, fillIn, labelQuery, queriesOf, readDashboard } from '../prometheus/dashboard.js';
import type { Panel } from '../prometheus/dashboard.js';

function read(path: string): string {
  return readFileSync(join(PROJECT_ROOT, path), 'utf8');
}

/** What Prometheus puts on every series of a target, and what scrape.yml adds. */
const TARGET_LABELS = ['job', 'instance', 'cluster'];
/** Labels whose values the program chooses: a query can only ask for one of them. */
const CLOSED_LABELS = ['reason', 'role', 'result'];
/** Panels that every Grafana has. */
const CORE_PANELS = ['gauge', 'row', 'stat', 'state-timeline', 'table', 'timeseries'];
const GRID_WIDTH = 24;

const test = suite('prometheus');
const exported = labelsByMetric(await exposition());
const dashboard = readDashboard();
const alertsFile = read('packaging/prometheus/alerts.yml');

function metricsIn(text: string): string[] {
  return [...new Set(text.match(/\b(?:pg_gateway|process|nodejs)_\w+/gu) ?? [])];
}

/** What is wrong with an expression's names, labels and label values. */
function faultsOf(expr: string): string[] {
  const unknown = metricsIn(expr).filter((name) => !exported.has(name));
  const faults = unknown.map((name) => `there is no metric ${name}`);
  for (const [, name = '', matchers = ''] of expr.matchAll(/(\w+)\{([^{}]*)\}/gu)) {
    const labels: LabelValues = exported.get(name) ?? new Map();
    for (const [, label = '', value = ''] of matchers.matchAll(/(\w+)(?:=~|!~|!=|=)"([^"]*)"/gu)) {
      if (TARGET_LABELS.includes(label)) continue;
      if (!labels.has(label)) faults.push(`${name} has no label ${label}`);
      if (!CLOSED_LABELS.includes(label)) continue;
      for (const word of value.split('|')) if (!labels.get(label)?.has(word)) faults.push(`no ${label} is ${word}`);
    }
  }
  return faults;
}

/** Labels that a series of the expression can have. */
function labelsOf(expr: string): string[] {
  return [...TARGET_LABELS, ...metricsIn(expr).flatMap((name) => [...(exported.get(name)?.keys() ?? [])])];
}

function templateLabels(text: string, pattern: RegExp): string[] {
  return [...text.matchAll(pattern)].map((match) => match[1] ?? '');
}

test('what is wrong with an expression is found', () => {
  assert.equal(faultsOf('pg_gateway_has_primary{job="x"} + pg_gateway_client_hold_duration_seconds_bucket'), []);
  assert.equal(faultsOf('rate(pg_gateway_no_such_total[5m])'), ['there is no metric pg_gateway_no_such_total']);
  assert.equal(faultsOf('pg_gateway_epoch{server="x"}'), ['pg_gateway_epoch has no label server']);
  assert.equal(faultsOf('pg_gateway_clients_rejected_total{reason!~"gave_up|bored"}'), ['no reason is bored']);
});

// ---- alert rules --------------------------------------------------------------

interface AlertRule {
  readonly name: string;
  readonly text: string;
}

const RULES: readonly AlertRule[] = alertsFile
  .split(/^ {6}- alert: /mu)
  .slice(1)
  .map((text) => ({ name: text.split('\n', 1)[0] ?? '', text }));

test('there is an alert for each of these situations, and each has what it needs', () => {
  const names = RULES.map(({ name }) => name);
  for (const what of [
    ...['Down', 'Absent', 'NoPrimary', 'SplitBrain', 'ServerFenced', 'Failover', 'ProbeFailing'],
    ...['ClientsHeld', 'ClientsRejected', 'SessionsNearLimit', 'WorkerStalled', 'ConfigRejected'],
  ]) {
    assert.ok(names.includes(`PgGateway${what}`), what);
  }
  assert.is(new Set(names).size, names.length);
  for (const { name, text } of RULES) {
    assert.match(text, /^ {10}severity: (?:critical|warning|info)$/mu, name);
    assert.match(text, /^ {10}summary: \S/mu, name);
    assert.match(text, /^ {10}description: >-\n {12}\S/mu, name);
    assert.match(text.replaceAll(/\s+/gu, ' '), 'Look at', name);
  }
});

for (const { name, text } of RULES) {
  test(`${name} names what there is`, () => {
    assert.equal(faultsOf(text), []);
    const labels = labelsOf(text);
    for (const label of templateLabels(text, /\$labels\.(\w+)/gu)) assert.ok(labels.includes(label), label);
  });
}

test('every metric that the rules speak of is there, in their descriptions too', () => {
  assert.ok(metricsIn(alertsFile).length > 15);
  assert.equal(faultsOf(alertsFile), []);
});

test('every line of the log that they speak of is there', () => {
  const sources = readdirSync(join(PROJECT_ROOT, 'src'))
    .filter((file) => file.endsWith('.ts'))
    .map((file) => read(`src/${file}`))
    .join('\n');
  const words = [...alertsFile.replaceAll(/\s+/gu, ' ').matchAll(/[Ll](?:ook at|ines?) "([a-z ]+)"/gu)];
  assert.ok(words.length >= 4);
  for (const [, line = ''] of words) assert.ok(sources.includes(`'${line}`), line);
});

test('pg-gatewayctl status goes by the same bounds', () => {
  const exprOf = (alert: string): string => RULES.find(({ name }) => name === alert)?.text ?? '';
  assert.match(exprOf('PgGatewayWorkerStalled'), `> ${STALLED_MS / 1000}\n`);
  for (const alert of ['PgGatewayOutOfResources', 'PgGatewaySessionsNotKept']) {
    assert.match(exprOf(alert), `_total[${LATELY_MS / 60_000}m]) > 0\n`);
  }
});

test('each alert has a test in which it fires, and one in which it is silent', () => {
  const checks = read('test/prometheus/alerts.test.yml')
    .split(/^ {6}- alertname: /mu)
    .slice(1);
  for (const { name } of RULES) {
    const own = checks.filter((check) => check.startsWith(`${name}\n`));
    assert.ok(
      own.some((check) => check.includes('exp_labels:')),
      `${name} never fires`,
    );
    assert.ok(
      own.some((check) => check.includes('exp_alerts: []')),
      `${name} is never silent`,
    );
  }
});

test('the package has the rules where the sample looks for them', () => {
  const [, folder = ''] = /^ {2}- \/(\S+)\/alerts\.yml$/mu.exec(read('packaging/prometheus/scrape.yml')) ?? [];
  const installed = read('debian/pg-gateway.install').split('\n');
  assert.ok(installed.includes(`packaging/prometheus/alerts.yml ${folder}`), folder);
  assert.ok(installed.some((line) => line.startsWith(`${DASHBOARD_FILE} `)));
});

// ---- the dashboard ------------------------------------------------------------

test('the dashboard is one that can be imported', () => {
  assert.is(dashboard.id, null);
  assert.is(dashboard.uid, 'pg-gateway');
  assert.ok(dashboard.title !== '');
  assert.ok(dashboard.schemaVersion >= 36, 'older ones would be migrated');
  const ids = dashboard.panels.map(({ id }) => id);
  assert.is(new Set(ids).size, ids.length, 'ids are unique');
  const titles = dashboard.panels.map(({ title }) => title);
  assert.is(new Set(titles).size, titles.length, 'titles are unique');
});

test('every panel is of a core type, with a description, a unit and queries', () => {
  for (const { type, title, description, fieldConfig, targets = [] } of dashboard.panels) {
    assert.ok(CORE_PANELS.includes(type), `${title}: ${type}`);
    assert.ok(title !== '');
    if (type === 'row') continue;
    assert.ok((description ?? '') !== '', title);
    assert.ok((fieldConfig?.defaults.unit ?? '') !== '', title);
    assert.ok(targets.length > 0, title);
    const refIds = targets.map(({ refId }) => refId);
    assert.is(new Set(refIds).size, refIds.length, title);
    for (const target of targets) {
      assert.not.equal(target.instant, target.range, title);
      assert.is(target.format === 'table', type === 'table', title);
    }
  }
});

/** As two rectangles. */
function overlap({ gridPos: a }: Panel, { gridPos: b }: Panel): boolean {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}

test('no panel lies on another one, or beside the grid, and no gap is left in the height', () => {
  const { panels } = dashboard;
  for (const [index, panel] of panels.entries()) {
    const { x, y, w, h } = panel.gridPos;
    assert.ok(x >= 0 && y >= 0 && w > 0 && h > 0 && x + w <= GRID_WIDTH, panel.title);
    for (const other of panels.slice(index + 1)) assert.not(overlap(panel, other), `${panel.title}, ${other.title}`);
  }
  const bottom = Math.max(...panels.map(({ gridPos }) => gridPos.y + gridPos.h));
  for (let line = 0; line < bottom; line += 1) {
    assert.ok(
      panels.some(({ gridPos }) => gridPos.y <= line && line < gridPos.y + gridPos.h),
      `nothing at ${line}`,
    );
  }
});

test('every query asks for what there is, of the chosen gateways alone', () => {
  const matchers = 'job=~"$job",cluster=~"$cluster",instance=~"$instance"';
  for (const { name, expr } of queriesOf(dashboard)) {
    assert.equal(faultsOf(expr), [], name);
    const metrics = expr.match(/\b(?:pg_gateway|process|nodejs)_\w+/gu) ?? [];
    assert.ok(metrics.length > 0, name);
    assert.is(expr.split(matchers).length - 1, metrics.length, `${name}: each metric has all matchers`);
    assert.not.match(expr, /\[\d+[smhd]\](?<!\[1m\])/u, `${name}: a window of its own`);
  }
});

test('a legend speaks of labels that there are', () => {
  for (const { title, targets = [] } of dashboard.panels) {
    for (const { expr, legendFormat } of targets) {
      const labels = labelsOf(expr);
      for (const label of templateLabels(legendFormat, /\{\{(\w+)\}\}/gu)) {
        assert.ok(labels.includes(label), `${title}: ${label}`);
      }
    }
  }
});

test('every data source is the variable, and every variable is used', () => {
  const { list } = dashboard.templating;
  assert.equal(
    list.map(({ name }) => name),
    ['datasource', 'job', 'cluster', 'instance'],
  );
  const own = { type: 'prometheus', uid: '${datasource}' };
  const queries = dashboard.panels.flatMap(({ targets = [] }) => targets);
  const sources = [
    ...dashboard.panels.filter(({ type }) => type !== 'row').map(({ datasource }) => datasource),
    ...queries.map(({ datasource }) => datasource),
    ...dashboard.annotations.list.filter(({ builtIn }) => builtIn !== 1).map(({ datasource }) => datasource),
    ...list.filter(({ type }) => type === 'query').map(({ datasource }) => datasource),
  ];
  for (const source of sources) assert.equal(source, own);
});

test('variables ask for labels of a metric that every gateway has, each within the choice before it', () => {
  const known = new Map<string, string>();
  for (const variable of dashboard.templating.list.filter(({ type }) => type === 'query')) {
    const { selector, label } = labelQuery(variable);
    assert.equal(faultsOf(selector), [], variable.name);
    assert.is(metricsIn(selector)[0], 'pg_gateway_build_info', variable.name);
    assert.is(label, variable.name);
    assert.ok(variable.includeAll);
    assert.not.match(fillIn(selector, known), '$', `${variable.name} asks for one that comes later`);
    known.set(variable.name, variable.allValue ?? anyOf(['a.b:1', 'c']));
  }
  // A target need not have this label: any value is none, too.
  assert.is(known.get('cluster'), '.*');
  assert.is(known.get('instance'), '(a\\\\.b:1|c)');
});

test('failovers are annotations', () => {
  const failovers = dashboard.annotations.list.find(({ name }) => name === 'Failovers');
  assert.ok(failovers?.enable);
  assert.match(failovers.expr ?? '', 'pg_gateway_failovers_total');
});

test.run();
