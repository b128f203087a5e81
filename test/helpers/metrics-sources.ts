// SPDX-License-Identifier: MIT
// Metrics over sources that a unit test can change, and what it can put into them.

import { HOLD_BUCKETS_SECONDS } from '#src/dataplane-stats.js';
import type { ConnectFailureReason, DataPlaneStats, ServerStats } from '#src/dataplane-stats.js';
import { Metrics, type CandidateView } from '#src/metrics.js';
import type { Observation, ProbeFailureReason } from '#src/probe/observation.js';

import { assert } from './suite.js';

export const NO_FAILURES: Readonly<Record<ConnectFailureReason, bigint>> = {
  refused: 0n,
  timeout: 0n,
  unreachable: 0n,
  other: 0n,
};

export function slot(server: number, counts: Partial<ServerStats> = {}): ServerStats {
  return {
    server,
    sessions: 0,
    connects: 0n,
    connectFailures: NO_FAILURES,
    connectSeconds: { buckets: Array.from({ length: 13 }, () => 0n), sum: 0 },
    ...counts,
  };
}

export const STATS: DataPlaneStats = {
  accepted: 12n,
  active: 5,
  held: 6,
  silent: 3,
  heldEver: 19n,
  holdTimeouts: 20n,
  holdSeconds: { buckets: [2n, ...HOLD_BUCKETS_SECONDS.map(() => 1n)], sum: 61.5 },
  bytesClientToBackend: 1_000_000_000_007n,
  bytesBackendToClient: 2n ** 53n - 1n,
  rejected: {
    no_primary: 1n,
    connect_failed: 2n,
    too_many_held: 16n,
    too_many_clients: 21n,
    too_many_per_client: 22n,
    gave_up: 17n,
    startup: 3n,
    resources: 4n,
    killed: 23n,
  },
  cut: { demoted: 5n, superseded: 6n, lost: 18n, shutdown: 7n, killed: 24n },
  ended: { client_closed: 8n, backend_closed: 9n, client_reset: 10n, backend_reset: 11n, resources: 12n },
  acceptPauses: 13n,
  rateWaits: 29n,
  pipeWaits: 17n,
  servers: [],
  workers: [
    { sessions: 2, loopLagMs: 1.5, beat: 9n },
    { sessions: 3, loopLagMs: 0, beat: 9n },
  ],
  kept: { sessions: 4, segments: 1, messages: 6, failures: 2n },
};

export function candidate(name: string): { host: string; port: number; name: string } {
  return { host: name, port: 5432, name };
}

export function answered(name: string, state: { inRecovery: boolean; readOnly: boolean }, timeline = 7): Observation {
  return {
    kind: 'answered',
    candidate: candidate(name),
    at: 0,
    tookMs: 3,
    address: { address: '192.0.2.1', port: 5432 },
    state: { ...state, timeline, systemId: '7', lsn: null },
  };
}

export function failed(name: string, reason: ProbeFailureReason): Observation {
  return { kind: 'failed', candidate: candidate(name), at: 0, tookMs: 800, reason, detail: 'x' };
}

export const PRIMARY = { inRecovery: false, readOnly: false };
export const STANDBY = { inRecovery: true, readOnly: true };

export function view(
  name: string,
  server: number,
  observation?: Observation,
  fenced = false,
  primary = false,
): CandidateView {
  return { name, server, observation, primary, fenced };
}

/** Metrics over sources that a test can change. */
export function setUp(views: readonly CandidateView[] = []) {
  const state = {
    stats: STATS,
    views,
    epoch: 3,
    now: 0,
    state: { saved: true, writeFailures: 0 },
    configRejected: false,
    holding: false,
    draining: false,
  };
  const metrics = new Metrics({
    stats: () => state.stats,
    candidates: () => state.views,
    epoch: () => state.epoch,
    maxConnections: () => 320,
    state: () => state.state,
    configRejected: () => state.configRejected,
    holding: () => state.holding,
    draining: () => state.draining,
    version: '1.2.3',
    now: () => state.now,
  });
  return { state, metrics };
}

/** `name{labels}` -> value as text, without comments. */
export async function scrape(metrics: Metrics): Promise<Map<string, string>> {
  const lines = (await metrics.render()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  const series = new Map<string, string>();
  for (const line of lines) {
    const [, name = '', value = ''] = /^(\S+?(?:\{.*\})?) (\S+)$/.exec(line) ?? [];
    assert.ok(name !== '' && !series.has(name), `a line twice or malformed: ${line}`);
    series.set(name, value);
  }
  return series;
}

export function only(series: ReadonlyMap<string, string>, pattern: RegExp): Record<string, string> {
  return Object.fromEntries([...series].filter(([name]) => pattern.test(name)));
}
