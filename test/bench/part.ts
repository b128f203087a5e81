// SPDX-License-Identifier: MIT
// What a part of the benchmark is: what it measures, how long it takes, how it goes.

import type { Progress } from './progress.js';
import type { Better, Sample } from './samples.js';
import type { Settings } from './settings.js';
import type { Stand } from './stand.js';

export interface Metric {
  readonly key: string;
  /** With its unit. */
  readonly title: string;
  readonly digits: number;
  /** Left out: neither is good. */
  readonly better?: Better;
  /** It has a panel in the chart and a row in the README's table. */
  readonly headline?: boolean;
}

export interface Bench {
  readonly settings: Settings;
  readonly stand: Stand;
  readonly progress: Progress;
  /** One run has been done. */
  readonly record: (sample: Sample) => void;
  /** All runs of this case have been done: its table can be shown. */
  readonly finished: (part: Part, what: string) => void;
}

export interface Part {
  readonly name: string;
  /** For the heading of its tables. */
  readonly title: string;
  readonly metrics: readonly Metric[];
  /** What it takes, for the announcement. */
  seconds(settings: Settings, routes: number): number;
  run(bench: Bench): Promise<void>;
}
