// SPDX-License-Identifier: MIT
// What every candidate is, in one line of the log:
// `a:5432=primary/tl3 b:5432=standby/tl3 c:5432=failed/refused`.

import type { Candidate } from './candidates.js';
import type { Fenced } from './election.js';
import type { Observation } from './probe/observation.js';

/**
 * One word per candidate, in their order, divided by spaces: `primary/tlN`, `standby/tlN`, `read-only/tlN`,
 * `fenced/REASON/tlN`, `failed/REASON` or `unprobed`.
 */
export function describeStates(
  candidates: readonly Candidate[],
  observations: ReadonlyMap<string, Observation>,
  fenced: readonly Fenced[],
): string {
  return candidates
    .map(({ name }) => {
      const fence = fenced.find(({ candidate }) => candidate.name === name);
      return `${name}=${describeState(observations.get(name), fence)}`;
    })
    .join(' ');
}

function describeState(seen: Observation | undefined, fence: Fenced | undefined): string {
  if (seen === undefined) return 'unprobed';
  if (seen.kind === 'failed') return `failed/${seen.reason}`;
  const { inRecovery, readOnly, timeline } = seen.state;
  if (fence !== undefined) return `fenced/${fence.reason}/tl${timeline}`;
  if (inRecovery) return `standby/tl${timeline}`;
  return `${readOnly ? 'read-only' : 'primary'}/tl${timeline}`;
}
