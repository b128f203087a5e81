// SPDX-License-Identifier: MIT
// What a daemon knows on a quiet day, for the documents that tell of it: `a` is the
// primary, `b` a standby. Time is 1,000 s after the start.

import type { DataPlaneStats } from '#src/dataplane-stats.js';
import type { ProvenPrimary, Verdict } from '#src/election.js';
import type { StatusInput } from '#src/control/status-document.js';
import { addressOf, candidate, CLUSTER, primary, standby } from './observations.js';

/** 2026-11-30T12:00:00Z */
export const NOON = Date.UTC(2026, 10, 30, 12);
export const NOW = 1_000_000;

export function proven(host: string, timeline: number): ProvenPrimary {
  return { candidate: candidate(host), address: { address: addressOf(host), port: 5432 }, timeline, systemId: CLUSTER };
}

export const PRIMARY: Verdict & { readonly kind: 'primary' } = {
  kind: 'primary',
  primary: proven('a', 3),
  epoch: 7,
  reason: 'first-primary',
  detail: 'a:5432 on timeline 3',
  fenced: [],
  cut: null,
};

export const NONE: Verdict & { readonly kind: 'none' } = {
  kind: 'none',
  reason: 'primary-in-doubt',
  detail: 'a:5432 does not answer',
  fenced: [],
  cut: null,
};

export function statusInput(change: Partial<StatusInput> = {}): StatusInput {
  const stats = {
    accepted: 12n,
    active: 3,
    held: 0,
    silent: 0,
    acceptPauses: 0n,
    rateWaits: 0n,
    pipeWaits: 0n,
    bytesClientToBackend: 5000n,
    bytesBackendToClient: 70_000n,
    servers: [{ server: 0, sessions: 3 }],
    workers: [{ sessions: 3, loopLagMs: 0.2, beat: 500n }],
    kept: { sessions: 3, segments: 1, messages: 3, failures: 0n },
  } as unknown as DataPlaneStats;
  return {
    clock: { now: NOW, wall: NOON },
    version: '1.2.3',
    pid: 4711,
    startedAt: 0,
    verdict: PRIMARY,
    verdictSince: 400_000,
    suspected: false,
    holdTimeoutMs: 15_000,
    candidates: [candidate('a'), candidate('b')],
    observations: new Map([
      ['a:5432', primary('a', 3, { at: NOW - 500, tookMs: 1, lsn: 5000n })],
      ['b:5432', standby('b', 3, { at: NOW - 700, tookMs: 1, lsn: 4000n })],
    ]),
    roleSince: (name) => (name === 'a:5432' ? 400_000 : undefined),
    stats,
    slotOf: (name) => ({ 'a:5432': 0, 'b:5432': 1 })[name],
    maxConnections: 100,
    lackedAt: undefined,
    keepFailedAt: undefined,
    hold: undefined,
    drain: undefined,
    keepsSessions: true,
    logLevel: 'info',
    stateSaved: true,
    rejected: [],
    failovers: 0,
    lastFailover: undefined,
    ...change,
  };
}
