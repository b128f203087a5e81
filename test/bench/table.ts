// SPDX-License-Identifier: MIT
// Samples as tables: a row for each metric, a column for each route, in Markdown that is aligned to be read as it is.
// Pure.

import type { Metric, Part } from './part.js';
import { bestPeer, DIRECT, distinct, GATEWAY, ratio, summary } from './samples.js';
import type { Key, Sample } from './samples.js';
import { spreadOf } from './statistics.js';

export const LEGEND =
  'Medians of all rounds, ± half of the range. In parentheses the ratio to the direct way, in the last column that of\n' +
  'pg-gateway to the best of the others: the medians of the ratios within a round.';

/** One case with all that is known of it. */
export function caseTable(samples: readonly Sample[], part: Part, what: string): string {
  const routes = routesOf(samples.filter((sample) => sample.part === part.name && sample.case === what));
  const head = [what, ...routes, 'to the best peer'];
  const rows = part.metrics.map((metric) => {
    const key = { part: part.name, case: what, metric: metric.key };
    return [
      metric.title,
      ...routes.map((route) => detailedCell(samples, key, route, metric)),
      toBestPeer(samples, key, routes, metric),
    ];
  });
  return markdownTable([head, ...rows.filter(hasFigures)]);
}

/** The headlines of all cases with their medians: the table of the README. */
export function overviewTable(samples: readonly Sample[], parts: readonly Part[]): string {
  const routes = routesOf(samples);
  const head = ['', ...routes, 'pg-gateway to the best peer'];
  const rows = parts.flatMap((part) =>
    casesOf(samples, part).flatMap((what) =>
      part.metrics
        .filter(({ headline }) => headline === true)
        .map((metric) => {
          const key = { part: part.name, case: what, metric: metric.key };
          return [
            `${what}: ${metric.title}`,
            ...routes.map((route) => {
              const seen = summary(samples, key, route);
              return seen === undefined ? '' : format(seen.median, metric.digits);
            }),
            toBestPeer(samples, key, routes, metric),
          ];
        }),
    ),
  );
  return markdownTable([head, ...rows.filter(hasFigures)]);
}

/** A metric may be of some cases only. */
function hasFigures([, ...cells]: readonly string[]): boolean {
  return cells.some((cell) => cell !== '');
}

/** In the order of the columns. */
export function routesOf(samples: readonly Sample[]): string[] {
  const names = distinct(samples.map(({ route }) => route)).filter((name) => name !== GATEWAY && name !== DIRECT);
  const all = [DIRECT, ...names.sort((a, b) => a.localeCompare(b, 'en')), GATEWAY];
  return all.filter((name) => samples.some(({ route }) => route === name));
}

export function casesOf(samples: readonly Sample[], part: Part): string[] {
  return distinct(samples.filter((sample) => sample.part === part.name).map((sample) => sample.case));
}

export function format(value: number, digits: number): string {
  return value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** The first row is the head. Numbers stand at the right. */
export function markdownTable(rows: readonly (readonly string[])[]): string {
  const [head = [], ...body] = rows;
  const widths = head.map((_, column) => Math.max(3, ...rows.map((row) => (row[column] ?? '').length)));
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => pad(cell, widths[column] ?? 0, column > 0)).join(' | ')} |`;
  const rule = widths.map((width, column) => (column === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`));
  return [line(head), `| ${rule.join(' | ')} |`, ...body.map(line)].join('\n');
}

function pad(cell: string, width: number, right: boolean): string {
  return right ? cell.padStart(width) : cell.padEnd(width);
}

function detailedCell(samples: readonly Sample[], key: Key, route: string, { digits }: Metric): string {
  const seen = summary(samples, key, route);
  if (seen === undefined) return '';
  const spread = seen.count > 1 ? ` ±${(spreadOf(seen) * 100).toFixed(0)}%` : '';
  const toDirect = route === DIRECT ? undefined : ratio(samples, key, route, DIRECT);
  return `${format(seen.median, digits)}${spread}${toDirect === undefined ? '' : ` (${toDirect.median.toFixed(2)})`}`;
}

function toBestPeer(samples: readonly Sample[], key: Key, routes: readonly string[], { better }: Metric): string {
  if (better === undefined) return '';
  const peer = bestPeer(samples, key, routes, better);
  const seen = peer === undefined ? undefined : ratio(samples, key, GATEWAY, peer);
  // What costs nothing measurable may come out below it.
  return peer === undefined || seen === undefined || seen.median <= 0 ? '' : `${seen.median.toFixed(2)} x ${peer}`;
}
