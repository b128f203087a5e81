// SPDX-License-Identifier: MIT
// Samples as a chart: SVG with bars, a panel for each metric, readable on light and dark pages. Pure.

import type { Metric, Part } from './part.js';
import { summary } from './samples.js';
import type { Sample } from './samples.js';
import { casesOf, format, routesOf } from './table.js';

const WIDTH = 1000;
const COLUMNS = 2;
const MARGIN = 24;
const COLUMN_WIDTH = (WIDTH - MARGIN * (COLUMNS + 1)) / COLUMNS;
const LABEL_WIDTH = 108;
const VALUE_WIDTH = 72;
const BAR_WIDTH = COLUMN_WIDTH - LABEL_WIDTH - VALUE_WIDTH;
const BAR_HEIGHT = 11;
const ROW_HEIGHT = 16;
const HEADING_HEIGHT = 40;
const CASE_HEIGHT = 20;
const CASE_GAP = 6;
const PANEL_GAP = 18;
/** Without the lines about the machine. */
const HEAD_HEIGHT = 56;
const LINE_HEIGHT = 17;
const LINE_LENGTH = 140;

/** Classes, in the order of the columns of a table. */
const STYLE = `
  .page { fill: #ffffff } text { font: 12px system-ui, sans-serif; fill: #24292f }
  .title { font-size: 18px; font-weight: 600 } .heading { font-weight: 600 } .quiet { fill: #57606a }
  .own { font-weight: 600 } .bar { fill: #8c959f } .bar.direct { fill: #c4cad1 } .bar.own { fill: #0b6bcb }
  .range { stroke: #24292f; stroke-width: 1 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 } text { fill: #e6edf3 } .quiet { fill: #9198a1 }
    .bar { fill: #6e7681 } .bar.direct { fill: #3d444d } .bar.own { fill: #58a6ff } .range { stroke: #e6edf3 }
  }`;

interface Panel {
  readonly height: number;
  /** At 0, 0. */
  readonly svg: string;
}

export function chartOf(samples: readonly Sample[], parts: readonly Part[], machine: string): string {
  const routes = routesOf(samples);
  const panels = parts.flatMap((part) =>
    part.metrics
      .filter((metric) => metric.headline === true)
      .map((metric) => panelOf(samples, part, metric, routes))
      .filter(({ height }) => height > 0),
  );
  const machineLines = wrapped(machine);
  const bottoms = Array.from({ length: COLUMNS }, () => HEAD_HEIGHT + machineLines.length * LINE_HEIGHT);
  const placed = panels.map(({ height, svg }) => {
    const column = bottoms.indexOf(Math.min(...bottoms));
    const y = bottoms[column] ?? 0;
    bottoms[column] = y + height + PANEL_GAP;
    return `<g transform="translate(${MARGIN + column * (COLUMN_WIDTH + MARGIN)} ${y})">\n${svg}\n</g>`;
  });
  const height = Math.max(...bottoms);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="pg-gateway beside others">`,
    `<style>${STYLE}\n</style>`,
    `<rect class="page" width="${WIDTH}" height="${height}"/>`,
    `<text class="title" x="${MARGIN}" y="32">pg-gateway beside what else can sit there</text>`,
    ...machineLines.map((line, index) => text(MARGIN, 54 + index * LINE_HEIGHT, 'quiet', line)),
    ...placed,
    '</svg>',
    '',
  ].join('\n');
}

/** Bars of one case have a scale of their own: a panel has cases that differ by orders of magnitude. */
function panelOf(samples: readonly Sample[], part: Part, metric: Metric, routes: readonly string[]): Panel {
  const lines = [];
  let y = HEADING_HEIGHT;
  for (const what of casesOf(samples, part)) {
    const key = { part: part.name, case: what, metric: metric.key };
    const seen = routes.flatMap((route) => {
      const values = summary(samples, key, route);
      return values === undefined ? [] : [{ route, ...values }];
    });
    if (seen.length === 0) continue;
    lines.push(text(0, y + 12, 'quiet', what));
    y += CASE_HEIGHT;
    const most = Math.max(...seen.map(({ max }) => max), Number.MIN_VALUE);
    for (const bar of seen) {
      lines.push(...barOf(bar, most, y, metric.digits));
      y += ROW_HEIGHT;
    }
    y += CASE_GAP;
  }
  if (lines.length === 0) return { height: 0, svg: '' };
  const good = metric.better === 'more' ? 'more is better' : 'less is better';
  const heading = `${text(0, 14, 'heading', metric.title)}\n${text(COLUMN_WIDTH, 14, 'quiet', good, 'end')}`;
  return { height: y, svg: [heading, text(0, 30, 'quiet', part.title), ...lines].join('\n') };
}

interface Bar {
  readonly route: string;
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

function barOf({ route, median, min, max }: Bar, most: number, y: number, digits: number): string[] {
  const own = route === 'pg-gateway' ? ' own' : '';
  const at = (value: number): number => LABEL_WIDTH + (Math.max(value, 0) / most) * BAR_WIDTH;
  const middle = y + BAR_HEIGHT / 2;
  return [
    text(LABEL_WIDTH - 8, y + BAR_HEIGHT - 1, own.trim(), route, 'end'),
    `<rect class="bar${own}${route === 'direct' ? ' direct' : ''}" x="${LABEL_WIDTH}" y="${y}" width="${round(at(median) - LABEL_WIDTH)}" height="${BAR_HEIGHT}"/>`,
    ...(max > min
      ? [`<line class="range" x1="${round(at(min))}" x2="${round(at(max))}" y1="${middle}" y2="${middle}"/>`]
      : []),
    text(round(at(max)) + 6, y + BAR_HEIGHT - 1, own.trim(), format(median, digits)),
  ];
}

function text(x: number, y: number, className: string, words: string, anchor?: 'end'): string {
  const classes = className === '' ? '' : ` class="${className}"`;
  return `<text${classes} x="${x}" y="${y}"${anchor === undefined ? '' : ` text-anchor="${anchor}"`}>${escape(words)}</text>`;
}

/** Divided at its semicolons. */
function wrapped(words: string): string[] {
  const lines: string[] = [];
  for (const word of words.split('; ')) {
    const last = lines.at(-1);
    if (last === undefined || last.length + word.length > LINE_LENGTH) lines.push(word);
    else lines[lines.length - 1] = `${last}; ${word}`;
  }
  return lines;
}

function escape(words: string): string {
  return words.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
