// SPDX-License-Identifier: MIT
// Four documents tell of the settings: the table of the README, pg-gateway.toml(5),
// the sample and the help. None may drift from the schema, in names, order, defaults,
// units or allowed values.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { parseToml } from '#src/config.js';
import type { LoadedConfig } from '#src/config.js';
import { SETTINGS } from '#src/config-schema.js';
import type { NamedSetting } from '#src/config-schema.js';
import { sampleConfig } from '#src/sample-config.js';
import { ConfigMachine, withoutSettings } from '../helpers/config-input.js';
import { PROJECT_ROOT } from '../helpers/paths.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('documents of the configuration');

const README = read('README.md');
const MANUAL = read('packaging/man/pg-gateway.toml.5');
const SAMPLE = read('packaging/pg-gateway.toml');

function read(path: string): string {
  return readFileSync(join(PROJECT_ROOT, path), 'utf8');
}

function matches(text: string, pattern: RegExp): string[] {
  return [...text.matchAll(pattern)].map((match) => match[1] ?? '');
}

/** What of the allowed values a text about a setting does not say. */
function unsaid({ kind: { allowed } }: NamedSetting, text: string): readonly string[] {
  const { range, unit = '', words = [] } = allowed;
  const expected = [
    ...(range === undefined ? [] : [`${range.min} to ${range.max}`]),
    ...unit.split(' ').filter((word) => word !== ''),
    ...words,
  ];
  return expected.filter((part) => !new RegExp(`(?<![\\w.-])${part}(?![\\w-])`, 'iu').test(text));
}

// ---- the README ---------------------------------------------------------------

const ROWS = README.split('\n').filter((line) => /^\| `[A-Z_]+` \| `[a-z_.]+` \|/u.test(line));

test('the README has a row for every setting, in their order, and no other', () => {
  assert.equal(
    ROWS.map((row) => /^\| `(\w+)` \| `([\w.]+)` \|/u.exec(row)?.slice(1)),
    SETTINGS.map(({ env, key }) => [env, key]),
  );
});

for (const [index, setting] of SETTINGS.entries()) {
  const { key, default: value, defaultNote, secret } = setting;
  test(`the README tells the default and the allowed values of ${key}`, () => {
    const [, , , cell = '', text = ''] = (ROWS[index] ?? '').split('|').map((part) => part.trim());
    const written = value === true ? '1' : String(value);
    const expected = secret ? '' : (defaultNote?.replace(', if there', '') ?? `\`${written}\``);
    assert.is(cell.replace(/^`(~.*)`$/u, '$1'), expected);
    assert.equal(unsaid(setting, text), [], text);
  });
}

// ---- the manual ---------------------------------------------------------------

/** Keys that are explained together -> the explanation, without its mark-up. */
function manualEntries(): readonly (readonly [keys: readonly string[], text: string])[] {
  const entries: (readonly [string[], string])[] = [];
  let waiting: string[] = [];
  for (const part of MANUAL.split(/^\.It Sy /mu).slice(1)) {
    const [key = '', , ...lines] = (part.split(/^\.El$/mu)[0] ?? '').split('\n');
    waiting.push(key);
    const text = lines.map((line) => line.replace(/^\.(?!Bq)\w+ /u, '')).join(' ');
    if (text.trim() === '') continue;
    entries.push([waiting, text]);
    waiting = [];
  }
  return entries;
}

/** The default as pg-gateway.toml(5) tells it. */
function defaultInManual({ default: value, defaultNote, secret }: NamedSetting): string {
  if (secret) return 'default No none';
  if (defaultNote === 'required') return 'required';
  if (defaultNote !== undefined && !defaultNote.startsWith('~')) return `default No ${defaultNote}`;
  return `default Ql ${defaultNote?.replace(', if there', '') ?? String(value)}`;
}

test('pg-gateway.toml(5) has every setting and no other, each with its variable and default', () => {
  assert.equal(
    matches(MANUAL, /^\.It Sy (\S+\n\.Pq .*)$/gmu),
    SETTINGS.map((setting) => `${setting.key}\n.Pq Ev ${setting.env} , ${defaultInManual(setting)}`),
  );
});

test('pg-gateway.toml(5) marks what waits for a restart', () => {
  assert.equal(
    manualEntries()
      .filter(([, text]) => text.includes('.Bq restart'))
      .flatMap(([keys]) => keys),
    SETTINGS.filter(({ live }) => !live).map(({ key }) => key),
  );
});

for (const setting of SETTINGS) {
  test(`pg-gateway.toml(5) tells the allowed values of ${setting.key}`, () => {
    const [, text = ''] = manualEntries().find(([keys]) => keys.includes(setting.key)) ?? [];
    assert.ok(text !== '');
    assert.equal(unsaid(setting, text), [], text);
  });
}

// ---- the sample ---------------------------------------------------------------

test('the sample is the one that the schema makes', () => {
  assert.is(SAMPLE, sampleConfig(), 'npm run generate:sample makes it anew');
});

test('the sample sets nothing, and says so in lines of at most 84 signs', () => {
  assert.equal(leaves(SAMPLE), []);
  for (const line of SAMPLE.split('\n')) {
    assert.match(line, /^(?:#.*|\[\w+\]|)$/u);
    assert.ok(line.length <= 84, line);
  }
});

test('the sample lists every key with its default, values and variable, in the order of the schema', () => {
  assert.equal(
    leaves(uncommented(SAMPLE)),
    SETTINGS.map((setting) => [setting.key, setting.default ?? '']),
  );
  assert.equal(
    [...SAMPLE.matchAll(/^# Environment: (\w+)\n#(\w+) = /gm)].map(([, env, leaf]) => [env, leaf]),
    SETTINGS.map(({ key, env }) => [env, key.slice(key.indexOf('.') + 1)]),
  );
  const blocks = SAMPLE.split('\n\n').filter((block) => block.includes('# Environment: '));
  assert.is(blocks.length, SETTINGS.length);
  for (const [index, setting] of SETTINGS.entries()) {
    const block = (blocks[index] ?? '').replaceAll('\n# ', ' ');
    assert.equal(unsaid(setting, block), [], block);
    assert.is(block.includes('[restart]'), !setting.live, block);
  }
});

test('the sample, with every "#" taken away, is the default configuration', () => {
  const machine = new ConfigMachine();
  try {
    const required = 'candidates = []';
    const file = machine.write('x.toml', uncommented(SAMPLE).replace(required, ''));
    assert.match(uncommented(SAMPLE), required);
    const values = (config: LoadedConfig): object => ({ ...withoutSettings(config), sources: [] });
    const sampled = machine.load({ CANDIDATES: 'a' }, { file });
    assert.equal(values(sampled), values(machine.load({ CANDIDATES: 'a' })));
  } finally {
    machine.close();
  }
});

/** [key, value] of everything in a file. */
function leaves(text: string): (readonly [string, unknown])[] {
  return Object.entries(parseToml(text)).flatMap(([name, value]) =>
    typeof value !== 'object' || value === null || Array.isArray(value)
      ? [[name, value] as const]
      : Object.entries(value).map(([leaf, inner]) => [`${name}.${leaf}`, inner] as const),
  );
}

/** But for the two examples of candidates, which are further in. */
function uncommented(text: string): string {
  return text.replace(/^#(\w+ = )/gm, '$1');
}

// ---- the help -----------------------------------------------------------------

test('the help tells no other range of numbers than the schema', () => {
  for (const { key, doc, kind } of SETTINGS) {
    const { range } = kind.allowed;
    const told = matches(doc, /\b(\d[\d.]* to \d+)\b/gu).filter((text) => !text.startsWith('1 to 64 of'));
    const expected = range === undefined ? [] : [`${range.min} to ${range.max}`];
    for (const text of told) assert.ok(key === 'candidates' || expected.includes(text), `${key}: ${doc}`);
  }
});

test.run();
