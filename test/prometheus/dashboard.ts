// SPDX-License-Identifier: MIT
// packaging/grafana/pg-gateway.json as Grafana reads it: its panels, their queries,
// its variables, and what a query becomes when they are filled in.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { PROJECT_ROOT } from '../helpers/paths.js';

export const DASHBOARD_FILE = 'packaging/grafana/pg-gateway.json';

export interface DataSource {
  readonly type: string;
  readonly uid: string;
}

export interface PanelTarget {
  readonly refId: string;
  readonly datasource: DataSource;
  readonly expr: string;
  readonly legendFormat: string;
  readonly instant: boolean;
  readonly range: boolean;
  readonly format?: string;
}

/** How a value is shown. */
export interface FieldOptions {
  readonly unit?: string;
  readonly mappings?: readonly {
    readonly type: string;
    readonly options: Readonly<Record<string, { readonly text: string; readonly color: string }>>;
  }[];
  /** From each value on, the first from anywhere. */
  readonly thresholds?: { readonly steps: readonly { readonly color: string; readonly value: number | null }[] };
  readonly color?: { readonly mode: string };
  readonly 'custom.cellOptions'?: { readonly type: string };
}

export interface Override {
  readonly matcher: { readonly id: string; readonly options: string };
  readonly properties: readonly { readonly id: string; readonly value: unknown }[];
}

export interface Transformation {
  readonly id: string;
  readonly options: {
    readonly excludeByName?: Readonly<Record<string, boolean>>;
    readonly indexByName?: Readonly<Record<string, number>>;
    readonly renameByName?: Readonly<Record<string, string>>;
  };
}

export interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly datasource?: DataSource;
  /** Grafana's grid is 24 wide; `y` counts downwards. */
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly fieldConfig?: { readonly defaults: FieldOptions; readonly overrides: readonly Override[] };
  readonly targets?: readonly PanelTarget[];
  readonly transformations?: readonly Transformation[];
}

export interface Annotation {
  readonly name: string;
  readonly builtIn?: number;
  readonly datasource: DataSource;
  readonly enable: boolean;
  readonly expr?: string;
}

export interface Variable {
  readonly name: string;
  readonly type: string;
  readonly datasource?: DataSource;
  readonly definition?: string;
  readonly includeAll: boolean;
  readonly allValue?: string | null;
}

export interface Dashboard {
  readonly id: null;
  readonly uid: string;
  readonly title: string;
  readonly schemaVersion: number;
  readonly panels: readonly Panel[];
  readonly annotations: { readonly list: readonly Annotation[] };
  readonly templating: { readonly list: readonly Variable[] };
}

/** Its shape is what test/unit/prometheus.test.ts asserts. */
export function readDashboard(): Dashboard {
  const dashboard: unknown = JSON.parse(readFileSync(join(PROJECT_ROOT, DASHBOARD_FILE), 'utf8'));
  return dashboard as Dashboard;
}

export interface NamedQuery {
  /** Panel and refId, or the annotation. */
  readonly name: string;
  readonly expr: string;
}

/** What is asked of Prometheus, variables not filled in. */
export function queriesOf({ panels, annotations }: Dashboard): NamedQuery[] {
  return [
    ...panels.flatMap(({ title, targets = [] }) =>
      targets.map(({ refId, expr }) => ({ name: `${title}, ${refId}`, expr })),
    ),
    ...annotations.list.flatMap(({ name, expr }) => (expr === undefined ? [] : [{ name: `annotation ${name}`, expr }])),
  ];
}

/** Fills variables in; one that is not in `values` stays. */
export function fillIn(expr: string, values: ReadonlyMap<string, string>): string {
  return expr.replace(/\$(\w+)/gu, (text, name: string) => values.get(name) ?? text);
}

/** Several chosen values in a regular expression, as Grafana writes them for Prometheus. */
export function anyOf(values: readonly string[]): string {
  // In a string of PromQL a backslash is written twice.
  const escaped = values.map((value) => value.replaceAll(/[\\^$*+?.()|[\]{}]/gu, '\\\\$&'));
  return escaped.length === 1 ? (escaped[0] ?? '') : `(${escaped.join('|')})`;
}

/** What a variable asks for: `label_values(SELECTOR, LABEL)`. */
export function labelQuery({ name, definition }: Variable): { readonly selector: string; readonly label: string } {
  const match = /^label_values\((.+), (\w+)\)$/u.exec(definition ?? '');
  if (match === null) throw new Error(`the variable ${name} has no such query: ${String(definition)}`);
  const [, selector = '', label = ''] = match;
  return { selector, label };
}
