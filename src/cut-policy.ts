// SPDX-License-Identifier: MIT
// Which sessions are cut with a verdict, by the operator's policy. Pure.

import type { CutPolicy } from './config-types.js';
import type { Cut } from './dataplane.js';
import type { Verdict } from './election.js';

/**
 * `proof`: those that are proven to be on the wrong server. `eager`: all of them as soon as there is no proven primary,
 * for whatever reason, one late answer among them.
 * @param epoch of the last primary that this process has proven; 0: none yet, and so none was lost
 */
export function cutFor(verdict: Verdict, policy: CutPolicy, epoch: number): Cut | undefined {
  const proven = verdict.cut ?? undefined;
  if (policy === 'proof' || verdict.kind === 'primary' || epoch === 0) return proven;
  return proven !== undefined && proven.belowEpoch > epoch ? proven : { belowEpoch: epoch + 1, reason: 'lost' };
}
