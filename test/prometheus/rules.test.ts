// SPDX-License-Identifier: MIT
// The alert rules by promtool: their syntax, their unit tests, and whether these
// would notice a rule that has changed.

import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { temporaryFolder, testFile } from '../helpers/paths.js';
import { assert, suite } from '../helpers/suite.js';
import { ALERTS_FILE, configuration, promtool } from './prometheus.js';

const TESTS_FILE = testFile('prometheus/alerts.test.yml');
const ALERTS = readFileSync(ALERTS_FILE, 'utf8');

/** More than promtool is given: the reason of a failure shall be told. */
const TEST_DEADLINE_MS = 330_000;

const test = suite('rules', undefined, TEST_DEADLINE_MS);

test('promtool finds no fault in the rules', async () => {
  const { status, stdout, stderr } = await promtool(['check', 'rules', ALERTS_FILE]);
  assert.is(status, 0, `${stdout}${stderr}`);
});

test('promtool finds no fault in the sample configuration', async () => {
  const folder = await temporaryFolder();
  try {
    const file = join(folder.path, 'prometheus.yml');
    await writeFile(file, configuration(['gateway1:9090'], ALERTS_FILE));
    const { status, stdout, stderr } = await promtool(['check', 'config', file]);
    assert.is(status, 0, `${stdout}${stderr}`);
  } finally {
    await folder.close();
  }
});

test('each alert fires when it must, and not otherwise', async () => {
  const { status, stdout, stderr } = await promtool(['test', 'rules', TESTS_FILE]);
  assert.is(status, 0, `${stdout}${stderr}`);
});

/** Each rule, from its first line to the next one's. */
const [HEAD = '', ...RULES] = ALERTS.split(/^(?= {6}- alert: )/mu);

function nameOf(rule: string): string {
  return /- alert: (\w+)/u.exec(rule)?.[1] ?? '';
}

/** The unit tests of one alert alone, of the rules in another file. */
function testsOf(alert: string, rules: string): string {
  const [head = '', ...groups] = readFileSync(TESTS_FILE, 'utf8').split(/^(?= {2}- name: )/mu);
  const own = groups.map((group) => {
    const [series = '', ...checks] = group.split(/^(?= {6}- alertname: )/mu);
    const kept = checks.filter((check) => check.startsWith(`      - alertname: ${alert}\n`));
    return kept.length === 0 ? '' : [series, ...kept].join('');
  });
  return `${head.replace(/^ {2}- .*alerts\.yml$/mu, `  - ${rules}`)}${own.join('')}`;
}

/** Minutes become as many times more. */
function waitingLonger(rule: string): string {
  return rule.replace(/^( {8}for: )(\d+)m$/mu, (_, key: string, minutes: string) => `${key}${Number(minutes) * 2}m`);
}

/** Each threshold by what makes another one of it. */
function withThreshold(rule: string, change: (threshold: number) => string): string {
  return rule.replace(/ > ([0-9.]+)$/gmu, (_, threshold: string) => ` ${change(Number(threshold))}`);
}

const CHANGES: readonly (readonly [what: string, change: (rule: string) => string])[] = [
  ['does not wait', (rule) => rule.replace(/^ {8}for: .*\n/mu, '')],
  ['waits twice as long', waitingLonger],
  ['has a much higher threshold', (rule) => withThreshold(rule, (threshold) => `> ${10 * (threshold + 1)}`)],
  [
    'has a lower threshold',
    (rule) => withThreshold(rule, (threshold) => (threshold === 0 ? '>= 0' : `> ${threshold / 2}`)),
  ],
  ['is true when it is not', (rule) => rule.replace(/ == ([01])\b/gu, (_, value: string) => ` != ${value}`)],
];

interface Variant {
  readonly alert: string;
  /** undefined: as it is. */
  readonly what: string | undefined;
  readonly rule: string;
}

const VARIANTS: readonly Variant[] = RULES.flatMap((rule) => {
  const alert = nameOf(rule);
  const changed = CHANGES.map(([what, change]) => ({ alert, what, rule: change(rule) }));
  return [{ alert, what: undefined, rule }, ...changed.filter((variant) => variant.rule !== rule)];
});

/** Those whose alert's own unit tests pass. One promtool judges them all: its start is what takes the time. */
async function passing(): Promise<ReadonlySet<Variant>> {
  const folder = await temporaryFolder();
  try {
    const files = new Map<string, Variant>();
    for (const [index, variant] of VARIANTS.entries()) {
      const tests = join(folder.path, `${index}.test.yml`);
      await writeFile(tests, testsOf(variant.alert, `${index}.yml`));
      await writeFile(join(folder.path, `${index}.yml`), `${HEAD}${variant.rule}`);
      files.set(tests, variant);
    }
    const { stdout } = await promtool(['test', 'rules', ...files.keys()]);
    const results = [...stdout.matchAll(/^Unit Testing: +(\S+)\n( {2}SUCCESS)?/gmu)];
    assert.is(results.length, VARIANTS.length, 'promtool has judged all of them');
    const passed = results.filter(([, , success]) => success !== undefined);
    return new Set(passed.flatMap(([, file = '']) => files.get(file) ?? []));
  } finally {
    await folder.close();
  }
}

let passed: ReadonlySet<Variant> = new Set();

test.before(async () => {
  passed = await passing();
});

for (const alert of RULES.map(nameOf)) {
  test(`the unit tests notice a change of ${alert}`, () => {
    const [unchanged, ...changed] = VARIANTS.filter((variant) => variant.alert === alert);
    assert.ok(unchanged !== undefined && passed.has(unchanged), 'as it is');
    assert.ok(changed.length > 0);
    for (const variant of changed) assert.not(passed.has(variant), `nobody notices that it ${String(variant.what)}`);
  });
}

test.run();
