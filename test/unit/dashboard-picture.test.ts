// SPDX-License-Identifier: MIT
// What a person sees of a panel: the renderer with which test/prometheus shows the dashboard.

import { assert, suite } from '../helpers/suite.js';
import type { FieldOptions, Panel, PanelTarget } from '../prometheus/dashboard.js';
import { pictureOf, shownValue } from '../prometheus/picture.js';
import type { Answers } from '../prometheus/picture.js';

const test = suite('picture of the dashboard');
const SOURCE = { type: 'prometheus', uid: 'x' };
const YES_NO = [
  { type: 'value', options: { 0: { text: 'no', color: 'red' }, 1: { text: 'yes', color: 'green' } } },
] as const;

function target(refId: string, legendFormat = ''): PanelTarget {
  return { refId, datasource: SOURCE, expr: '', legendFormat, instant: true, range: false };
}

function panel(parts: Partial<Panel>): Panel {
  return { id: 1, type: 'stat', title: '', gridPos: { x: 0, y: 0, w: 1, h: 1 }, ...parts };
}

const VALUES: readonly (readonly [number, FieldOptions, string])[] = [
  [1234.5, { unit: 'none' }, '1230'],
  [0.0123, { unit: 's' }, '12.3 ms'],
  [75, { unit: 's' }, '75 s'],
  [0.8512, { unit: 'percentunit' }, '85.1%'],
  [1536, { unit: 'bytes' }, '1.5 KiB'],
  [2_500_000, { unit: 'Bps' }, '2.5 MB/s'],
  [3, { unit: 'cps' }, '3 c/s'],
  [NaN, { unit: 's' }, 'NaN'],
  [1, { unit: 'none', mappings: YES_NO }, 'yes (green)'],
];

for (const [value, options, text] of VALUES) {
  test(`${value} as ${String(options.unit)} is ${text}`, () => assert.is(shownValue(value, options), text));
}

test('a threshold gives its colour from its value on', () => {
  const steps = [
    { color: 'green', value: null },
    { color: 'orange', value: 1 },
    { color: 'text', value: 3 },
  ];
  const options: FieldOptions = { unit: 'none', thresholds: { steps }, color: { mode: 'thresholds' } };
  const shown = [-1, 0, 1, 2, 3].map((value) => shownValue(value, options));
  assert.equal(shown, ['-1 (green)', '0 (green)', '1 (orange)', '2 (orange)', '3']);
});

test('a name is the legend with its labels; an override is for its query alone', () => {
  const fieldConfig = {
    defaults: { unit: 'none' },
    overrides: [
      { matcher: { id: 'byFrameRefID', options: 'B' }, properties: [{ id: 'mappings', value: YES_NO }] },
      { matcher: { id: 'byName', options: 'first, a' }, properties: [{ id: 'unit', value: 's' }] },
    ],
  };
  const answers: Answers = new Map([
    [
      'A',
      [
        { labels: { instance: 'a' }, value: 2 },
        { labels: { instance: 'b' }, value: 2 },
      ],
    ],
    ['B', [{ labels: { instance: 'a' }, value: 0 }]],
  ]);
  const targets = [target('A', 'first, {{instance}}'), target('B', '{{instance}}')];
  assert.equal(pictureOf(panel({ fieldConfig, targets }), answers), ['first, a: 2 s', 'first, b: 2', 'a: no (red)']);
});

test('a table is merged by what its queries share; a cell that none gives is empty', () => {
  const answers: Answers = new Map([
    [
      'A',
      [
        { labels: { server: 'y', job: 'j' }, value: 1 },
        { labels: { server: 'x', job: 'j' }, value: 0 },
      ],
    ],
    ['B', [{ labels: { server: 'x', job: 'j' }, value: 7 }]],
  ]);
  const transformations = [
    { id: 'merge', options: {} },
    {
      id: 'organize',
      options: {
        excludeByName: { job: true },
        indexByName: { server: 0, 'Value #B': 1, 'Value #A': 2 },
        renameByName: { 'Value #A': 'up', 'Value #B': 'sessions' },
      },
    },
  ];
  const up = { matcher: { id: 'byName', options: 'up' }, properties: [{ id: 'mappings', value: YES_NO }] };
  const fieldConfig = { defaults: { unit: 'none' }, overrides: [up] };
  const table = panel({ type: 'table', targets: [target('A'), target('B')], fieldConfig, transformations });
  assert.equal(pictureOf(table, answers), ['server | sessions | up', 'x | 7 | no', 'y |  | yes']);
});

test('what cannot be shown as the panel says is an error', () => {
  const defaults = { unit: 'none', mappings: YES_NO };
  const one = (legendFormat: string, value: number): (() => string[]) => {
    const shown = panel({ targets: [target('A', legendFormat)], fieldConfig: { defaults, overrides: [] } });
    return () => pictureOf(shown, new Map([['A', [{ labels: { instance: 'a' }, value }]]]));
  };
  assert.throws(one('{{server}}', 1), /without the label server/u);
  assert.throws(one('{{instance}}', 2), /2 has no text/u);
  assert.throws(() => shownValue(1, { unit: 'furlongs' }), /the unit furlongs/u);
  const other = { matcher: { id: 'byType', options: 'number' }, properties: [] };
  const byType = panel({ targets: [target('A')], fieldConfig: { defaults, overrides: [other] } });
  assert.throws(() => pictureOf(byType, new Map([['A', [{ labels: {}, value: 1 }]]])), /an override by byType/u);
  const grouped = panel({
    type: 'table',
    targets: [target('A')],
    transformations: [{ id: 'groupBy', options: {} }],
  });
  assert.throws(() => pictureOf(grouped, new Map()), /a transformation groupBy/u);
});

test.run();
