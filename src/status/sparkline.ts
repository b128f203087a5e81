// SPDX-License-Identifier: MIT
// The last hour of one number as a small drawing. Pure.

import { html } from './html.js';
import type { Markup } from './html.js';
import type { TrafficPoint } from './traffic-ring.js';

export interface SparklineInput {
  readonly points: readonly TrafficPoint[];
  readonly value: (point: TrafficPoint) => number;
  /** A value in words. */
  readonly words: (value: number) => string;
  /** What it is of, for who cannot see it. */
  readonly label: string;
  /** How long ago failovers were, in seconds. */
  readonly marks: readonly number[];
  /** How many seconds the drawing is wide. */
  readonly span: number;
}

/** An hour, or less while there is less to show. */
const SPANS_SECONDS = [600, 1800, 3600] as const;
const HOUR_SECONDS = 3600;
/** Units of the drawing, which is stretched to the room there is. */
const WIDTH = 720;
const HEIGHT = 96;
/** So that the line is not cut off at its highest. */
const TOP = 4;

/** With its scale: when it begins, the highest value, now. */
export function sparkline(input: SparklineInput): Markup {
  const { points, value, words, label, marks, span } = input;
  const x = (age: number): number => Math.round(WIDTH * (1 - Math.min(age, span) / span));
  const highest = points.reduce((most, point) => Math.max(most, value(point)), 0);
  const runs = runsOf(points).map((run) => pathOf(run, value, highest, x));
  const told = `${label} in the last ${period(span)}, peak ${words(highest)}`;
  return html`<svg
      class="spark"
      viewBox="0 0 ${WIDTH} ${HEIGHT}"
      preserveAspectRatio="none"
      role="img"
      aria-label="${told}"
    >
      ${runs.map(({ line, from, to }) => html`<path class="area" d="${line}L${to} ${HEIGHT}H${from}z" /><path class="line" d="${line}" />`)}
      ${marks.filter((age) => age <= span).map((age) => html`<path class="mark" d="M${x(age)} 0V${HEIGHT}" />`)}
    </svg>
    <p class="axis">
      <span>${span === HOUR_SECONDS ? '1 h' : period(span)} ago</span><span>peak ${words(highest)}</span
      ><span>now</span>
    </p>`;
}

/** Points that follow each other without a gap. */
function runsOf(points: readonly TrafficPoint[]): readonly (readonly TrafficPoint[])[] {
  const runs: TrafficPoint[][] = [];
  let last: TrafficPoint | undefined;
  for (const point of points) {
    // Of points side by side the end of one is the last look in its ten seconds, a little before the next begins.
    if (last === undefined || last.to - point.from > GAP_SECONDS) runs.push([]);
    runs.at(-1)?.push(point);
    last = point;
  }
  return runs;
}

const GAP_SECONDS = 10;

function pathOf(
  run: readonly TrafficPoint[],
  value: (point: TrafficPoint) => number,
  highest: number,
  x: (age: number) => number,
): { readonly line: string; readonly from: number; readonly to: number } {
  const y = (point: TrafficPoint): number =>
    Math.round(highest === 0 ? HEIGHT - 1 : HEIGHT - 1 - (value(point) / highest) * (HEIGHT - 1 - TOP));
  const [first] = run;
  const last = run.at(-1);
  if (first === undefined || last === undefined) return { line: '', from: 0, to: 0 };
  const from = x(first.from);
  const line = run.map((point) => `L${x(point.to)} ${y(point)}`).join('');
  return { line: `M${from} ${y(first)}${line}`, from, to: x(last.to) };
}

/** How many seconds are drawn: the same for all drawings of a page. */
export function spanOf([oldest]: readonly TrafficPoint[]): number {
  return SPANS_SECONDS.find((span) => (oldest?.from ?? 0) <= span) ?? HOUR_SECONDS;
}

function period(seconds: number): string {
  return seconds === HOUR_SECONDS ? 'hour' : `${seconds / 60} min`;
}
