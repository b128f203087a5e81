// SPDX-License-Identifier: MIT
// What a person sees of a panel, as lines of text: names by its legend, values by its units, mappings, thresholds and
// overrides, a table by its transformations. As Grafana documents them ("Panels and visualizations": "Configure value
// mappings", "Configure field overrides", "Transform data": merge, organize). Of a graph: its last points.
// What the dashboard does not use is an error here, and no silent difference. Pure.

import type { FieldOptions, Panel, PanelTarget, Transformation } from './dashboard.js';
import type { Sample } from './prometheus.js';

/** What each query of the panel has given, by its refId. */
export type Answers = ReadonlyMap<string, readonly Sample[]>;

type Row = Map<string, string | number>;

/** @throws Error if it cannot be shown as the panel says: a label that is missing, a value that has no text, a column that is not there */
export function pictureOf(panel: Panel, answers: Answers): string[] {
  return panel.type === 'table' ? table(panel, answers) : series(panel, answers);
}

function series(panel: Panel, answers: Answers): string[] {
  return (panel.targets ?? []).flatMap((target) =>
    (answers.get(target.refId) ?? []).map(({ labels, value }) => {
      const name = legend(target, labels);
      return `${name}: ${shownValue(value, optionsOf(panel, name, target.refId))}`;
    }),
  );
}

function legend({ refId, legendFormat }: PanelTarget, labels: Sample['labels']): string {
  return legendFormat.replace(/\{\{(\w+)\}\}/gu, (_, label: string) => {
    const value = labels[label];
    if (value === undefined) throw new Error(`${refId}: "${legendFormat}" of a series without the label ${label}`);
    return value;
  });
}

/** The panel's own, and over them what is said of this field. */
function optionsOf({ fieldConfig }: Panel, name: string, refId: string): FieldOptions {
  const own: FieldOptions = fieldConfig?.defaults ?? {};
  const over = (fieldConfig?.overrides ?? []).filter(({ matcher: { id, options } }) => {
    if (id === 'byName') return options === name;
    if (id === 'byFrameRefID') return options === refId;
    throw new Error(`an override by ${id}`);
  });
  const properties = over.flatMap((override) => override.properties.map(({ id, value }) => [id, value] as const));
  return { ...own, ...(Object.fromEntries(properties) as FieldOptions) };
}

/** A number as it is shown, with its colour where it has one. */
export function shownValue(value: number, { unit, mappings = [], thresholds, color }: FieldOptions): string {
  for (const { type, options } of mappings) {
    if (type !== 'value') throw new Error(`a mapping of ${type}`);
    const mapped = options[String(value)];
    if (mapped !== undefined) return `${mapped.text} (${mapped.color})`;
  }
  if (mappings.length > 0) throw new Error(`${value} has no text`);
  const text = withUnit(value, unit);
  if (color?.mode !== 'thresholds' || thresholds === undefined) return text;
  const step = [...thresholds.steps].reverse().find((one) => one.value === null || value >= one.value);
  return step === undefined || step.color === 'text' ? text : `${text} (${step.color})`;
}

const PER_SECOND: Readonly<Record<string, string>> = { cps: ' c/s', ops: ' ops/s' };

function withUnit(value: number, unit: string | undefined): string {
  if (Number.isNaN(value)) return 'NaN';
  switch (unit) {
    case 'none':
    case 'short':
      return rounded(value);
    case 's':
      return Math.abs(value) < 1 ? `${rounded(value * 1000)} ms` : `${rounded(value)} s`;
    case 'percentunit':
      return `${rounded(value * 100)}%`;
    case 'bytes':
      return scaled(value, 1024, ['B', 'KiB', 'MiB', 'GiB', 'TiB']);
    case 'Bps':
      return scaled(value, 1000, ['B/s', 'kB/s', 'MB/s', 'GB/s']);
    case 'cps':
    case 'ops':
      return `${rounded(value)}${PER_SECOND[unit] ?? ''}`;
    default:
      throw new Error(`the unit ${String(unit)}`);
  }
}

function scaled(value: number, step: number, units: readonly string[]): string {
  let rest = value;
  let index = 0;
  for (; Math.abs(rest) >= step && index < units.length - 1; index += 1) rest /= step;
  return `${rounded(rest)} ${units[index] ?? ''}`;
}

function rounded(value: number): string {
  return String(Number(value.toPrecision(3)));
}

/** The names of the columns, then a line for each row, sorted. */
function table(panel: Panel, answers: Answers): string[] {
  const frames = (panel.targets ?? []).map(({ refId }) => frame(refId, answers.get(refId) ?? []));
  const rows = (panel.transformations ?? []).reduce(transformed, frames);
  if (rows.length !== 1) throw new Error(`${rows.length} tables in one panel: they are not merged`);
  const [body = []] = rows;
  const columns = [...(body[0]?.keys() ?? [])];
  const cells = body.map((row) =>
    columns.map((column) => {
      const cell = row.get(column) ?? '';
      if (typeof cell === 'string') return cell;
      const options = optionsOf(panel, column, '');
      const text = shownValue(cell, options);
      // A cell has a colour only if it is told to.
      return options['custom.cellOptions']?.type === 'color-text' ? text : text.replace(/ \(\w+\)$/u, '');
    }),
  );
  return [columns, ...cells.sort()].map((line) => line.join(' | '));
}

/** As a query in the format "table" is answered: time, labels, value. */
function frame(refId: string, samples: readonly Sample[]): Row[] {
  return samples.map(
    ({ labels, value }) => new Map<string, string | number>([...Object.entries(labels), [`Value #${refId}`, value]]),
  );
}

function transformed(frames: Row[][], { id, options }: Transformation): Row[][] {
  if (id === 'merge') return [merged(frames.flat())];
  if (id === 'organize') return frames.map((rows) => organized(rows, options));
  throw new Error(`a transformation ${id}`);
}

/** Rows that agree in all that they share become one. */
function merged(rows: readonly Row[]): Row[] {
  const result: Row[] = [];
  for (const row of rows) {
    const same = result.find((one) => {
      const shared = [...row.keys()].filter((column) => one.has(column));
      return shared.length > 0 && shared.every((column) => one.get(column) === row.get(column));
    });
    if (same === undefined) result.push(new Map(row));
    else for (const [column, cell] of row) same.set(column, cell);
  }
  return result;
}

/** In the order of the indices, then as they come. A cell that no query has given is empty. */
function organized(
  rows: readonly Row[],
  { excludeByName = {}, indexByName = {}, renameByName = {} }: Transformation['options'],
): Row[] {
  const columns = [...new Set(rows.flatMap((row) => [...row.keys()]))];
  const place = (column: string): number => indexByName[column] ?? columns.length + columns.indexOf(column);
  const kept = columns
    .filter((column) => excludeByName[column] !== true)
    .sort((one, other) => place(one) - place(other));
  return rows.map((row) => new Map(kept.map((column) => [renameByName[column] ?? column, row.get(column) ?? ''])));
}
