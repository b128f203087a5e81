// SPDX-License-Identifier: MIT
// What a part of the soak is, and what comes of it.

import type { Progress } from '../bench/progress.js';
import type { Check } from './check.js';
import type { PartName, Settings } from './settings.js';

export interface PartResult {
  readonly checks: readonly Check[];
  /** For the table of the README: what, and the figure. */
  readonly rows: readonly (readonly [what: string, figure: string])[];
  /** All of it, for the JSON. */
  readonly figures: object;
}

export interface Part {
  readonly name: PartName;
  /** What it takes, for the announcement. */
  seconds(settings: Settings): number;
  run(settings: Settings, progress: Progress): Promise<PartResult>;
}
