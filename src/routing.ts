// SPDX-License-Identifier: MIT
// What a verdict means for clients: where new ones go, and which sessions are cut. Pure.

import type { CutPolicy } from './config-types.js';
import type { Cut, Route } from './dataplane.js';
import type { Verdict } from './election.js';

export interface Circumstances {
  readonly cutPolicy: CutPolicy;
  /** HOLD_TIMEOUT_MS; 0: nobody waits. */
  readonly holdTimeoutMs: number;
  /** Of the last primary that this process has proven; 0: none yet, and so none was lost. */
  readonly provenEpoch: number;
  /** Something speaks against the primary, and it has not answered yet. */
  readonly suspected: boolean;
  /** An administrator has new clients wait. */
  readonly holding: boolean;
  /** Slot of a server in the data plane. */
  readonly slotOf: (name: string) => number;
}

export interface Routing {
  /** null: new clients wait, or are told so. */
  readonly route: Route | null;
  readonly cut: Cut | undefined;
}

export function routingFor(verdict: Verdict, circumstances: Circumstances): Routing {
  const { holding, suspected, holdTimeoutMs, slotOf } = circumstances;
  const cut = cutFor(verdict, circumstances);
  // The last words of a server that shuts down would be all that a new client gets of it: better to wait for its answer
  // to a probe, where clients may wait.
  if (verdict.kind === 'none' || holding || (suspected && holdTimeoutMs > 0)) return { route: null, cut };
  const { candidate, address } = verdict.primary;
  return { route: { epoch: verdict.epoch, server: slotOf(candidate.name), ...address }, cut };
}

/**
 * `proof`: the sessions that are proven to be on the wrong server. `eager`: all of them as soon as there is no proven
 * primary, for whatever reason, one late answer among them.
 */
function cutFor(verdict: Verdict, { cutPolicy, provenEpoch }: Circumstances): Cut | undefined {
  const proven = verdict.cut ?? undefined;
  if (cutPolicy === 'proof' || verdict.kind === 'primary' || provenEpoch === 0) return proven;
  if (proven !== undefined && proven.belowEpoch > provenEpoch) return proven;
  return { belowEpoch: provenEpoch + 1, reason: 'lost' };
}
