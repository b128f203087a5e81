// SPDX-License-Identifier: MIT
// What /metrics says of a gateway with one candidate and one worker that has seen
// everything once: for tests that compare names and labels with it.

import { HOLD_BUCKETS_SECONDS } from '#src/dataplane-stats.js';
import type { DataPlaneStats } from '#src/dataplane-stats.js';
import { Metrics } from '#src/metrics.js';
import type { CandidateView } from '#src/metrics.js';
import type { Observation } from '#src/probe/observation.js';

const STATS: DataPlaneStats = {
  accepted: 0n,
  active: 0,
  held: 0,
  silent: 0,
  heldEver: 0n,
  holdTimeouts: 0n,
  holdSeconds: { buckets: [0n, ...HOLD_BUCKETS_SECONDS.map(() => 0n)], sum: 0 },
  bytesClientToBackend: 0n,
  bytesBackendToClient: 0n,
  rejected: {
    no_primary: 0n,
    connect_failed: 0n,
    too_many_held: 0n,
    too_many_clients: 0n,
    too_many_per_client: 0n,
    gave_up: 0n,
    startup: 0n,
    resources: 0n,
    killed: 0n,
  },
  cut: { demoted: 0n, superseded: 0n, lost: 0n, shutdown: 0n, killed: 0n },
  ended: { client_closed: 0n, backend_closed: 0n, client_reset: 0n, backend_reset: 0n, resources: 0n },
  acceptPauses: 0n,
  rateWaits: 0n,
  pipeWaits: 0n,
  servers: [],
  workers: [{ sessions: 0, loopLagMs: 0, beat: 0n }],
  kept: { sessions: 0, segments: 0, messages: 0, failures: 0n },
};

const OBSERVATION: Observation = {
  kind: 'answered',
  candidate: { host: 'db1', port: 5432, name: 'db1:5432' },
  at: 0,
  tookMs: 1,
  address: { address: '192.0.2.1', port: 5432 },
  state: { inRecovery: false, readOnly: false, timeline: 1, systemId: '7', lsn: null },
};

const CANDIDATE: CandidateView = {
  name: 'db1:5432',
  server: 0,
  observation: OBSERVATION,
  primary: true,
  fenced: false,
};

export async function exposition(): Promise<string> {
  const metrics = new Metrics({
    stats: () => STATS,
    candidates: () => [CANDIDATE],
    epoch: () => 1,
    maxConnections: () => 1,
    state: () => ({ saved: true, writeFailures: 0 }),
    configRejected: () => false,
    holding: () => false,
    draining: () => false,
    version: '0',
  });
  metrics.recovery({ recovered: 0, notWhole: 0, missing: 0, ms: 0 });
  metrics.observation(OBSERVATION);
  metrics.verdict({ kind: 'primary', fenced: [] }, {});
  return metrics.render();
}

/** Label -> each of its values. */
export type LabelValues = ReadonlyMap<string, ReadonlySet<string>>;

/** Each metric by the name that a query has, `_bucket` and its kin too. */
export function labelsByMetric(text: string): ReadonlyMap<string, LabelValues> {
  const metrics = new Map<string, Map<string, Set<string>>>();
  for (const [, name = '', labels = ''] of text.matchAll(/^([a-z]\w*)(?:\{(.*)\})? \S+$/gmu)) {
    const known = metrics.get(name) ?? new Map<string, Set<string>>();
    metrics.set(name, known);
    for (const [, label = '', value = ''] of labels.matchAll(/(\w+)="([^"]*)"/gu)) {
      known.set(label, (known.get(label) ?? new Set()).add(value));
    }
  }
  return metrics;
}
