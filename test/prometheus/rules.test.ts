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

const test = suite('rules');

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

/** The unit tests of one alert alone, of rules in the same folder: all of them at each change would take minutes. */
function testsOf(alert: string): string {
  const [head = '', ...groups] = readFileSync(TESTS_FILE, 'utf8').split(/^(?= {2}- name: )/mu);
  const own = groups.map((group) => {
    const [series = '', ...checks] = group.split(/^(?= {6}- alertname: )/mu);
    const kept = checks.filter((check) => check.startsWith(`      - alertname: ${alert}\n`));
    return kept.length === 0 ? '' : [series, ...kept].join('');
  });
  return `${head.replace(/^ {2}- .*alerts\.yml$/mu, '  - rules.yml')}${own.join('')}`;
}

/** Whether the unit tests of the alert pass with this rule. */
async function passesWith(rule: string): Promise<boolean> {
  const folder = await temporaryFolder();
  try {
    const tests = join(folder.path, 'tests.yml');
    await writeFile(tests, testsOf(nameOf(rule)));
    await writeFile(join(folder.path, 'rules.yml'), `${HEAD}${rule}`);
    return (await promtool(['test', 'rules', tests])).status === 0;
  } finally {
    await folder.close();
  }
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

for (const rule of RULES) {
  test(`the unit tests notice a change of ${nameOf(rule)}`, async () => {
    assert.ok(await passesWith(rule), 'as it is');
    const changes = CHANGES.map(([what, change]) => ({ what, changed: change(rule) })).filter(
      ({ changed }) => changed !== rule,
    );
    assert.ok(changes.length > 0);
    for (const { what, changed } of changes) assert.not(await passesWith(changed), `nobody notices that it ${what}`);
  });
}

test.run();
