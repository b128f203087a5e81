// SPDX-License-Identifier: MIT
// Observations in few words: `primary('a', 3)`, `failed('b')`, `standby('n/a', 1)` of one
// of the addresses of n.

import { atAddress } from '#src/candidates.js';
import type { Candidate } from '#src/candidates.js';
import type { Observation, ProbeFailureReason, ServerState } from '#src/probe/observation.js';

export const CLUSTER = '7000000000000000001';
export const OTHER_CLUSTER = '7000000000000000002';

/** `a`, or `n/a`: the one of n's addresses that is a's. */
export function candidate(label: string): Candidate {
  const [host = '', at] = label.split('/');
  const named = { host, port: 5432, name: `${host}:5432` };
  return at === undefined ? named : atAddress(named, addressOf(at));
}

/** The other way round. */
export function labelOf({ host, address }: Candidate): string {
  return address === undefined ? host : `${host}/${String.fromCharCode(Number(address.split('.').at(-1)))}`;
}

interface Variation extends Partial<ServerState> {
  readonly at?: number;
  /** Since when it had been asked for. Default: since that moment. */
  readonly tookMs?: number;
  /** Default: one that belongs to the host alone. */
  readonly address?: string;
}

export function primary(host: string, timeline: number, variation: Variation = {}): Observation {
  return answered(host, { inRecovery: false, readOnly: false, timeline, ...variation });
}

export function standby(host: string, timeline: number, variation: Variation = {}): Observation {
  return answered(host, { inRecovery: true, readOnly: true, timeline, ...variation });
}

export function failed(host: string, reason: ProbeFailureReason = 'refused', at = 0): Observation {
  return { kind: 'failed', candidate: candidate(host), at, tookMs: 1, reason, detail: 'as the test says' };
}

function answered(
  host: string,
  { at = 0, tookMs = 0, address, ...state }: Variation & Pick<ServerState, 'inRecovery' | 'readOnly' | 'timeline'>,
): Observation {
  return {
    kind: 'answered',
    candidate: candidate(host),
    at,
    tookMs,
    address: { address: address ?? addressOf(host), port: 5432 },
    state: { streaming: false, systemId: CLUSTER, lsn: 0n, ...state },
  };
}

/** `a` -> 192.0.2.97: the same at every call. */
export function addressOf(host: string): string {
  return `192.0.2.${String(host.charCodeAt(host.length - 1))}`;
}
