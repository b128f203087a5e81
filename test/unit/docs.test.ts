// SPDX-License-Identifier: MIT
// The README must not drift from the program: it names every error code, every exit
// status and every metric. (Of settings: config-docs.test.ts.)

import { readFileSync } from 'node:fs';

import { HOLD_BUCKETS_SECONDS } from '#src/dataplane-stats.js';
import type { DataPlaneStats } from '#src/dataplane-stats.js';
import { ERROR_CODES, EXIT } from '#src/errors.js';
import { Metrics } from '#src/metrics.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('docs');
const readme = readFileSync(new URL('../../../README.md', import.meta.url), 'utf8');

test('every error code stands beside an exit status', () => {
  for (const code of Object.keys(ERROR_CODES)) assert.match(readme, new RegExp(`^\\| \\d+ \\|.*\`${code}\``, 'mu'));
  for (const name of ['OK', 'FAILURE', 'USAGE', 'UNAVAILABLE', 'SOFTWARE', 'CONFIG'] as const) {
    assert.match(readme, new RegExp(`^\\| ${EXIT[name].toString()} \\|`, 'mu'));
  }
});

test('every metric is named', async () => {
  const stats: DataPlaneStats = {
    accepted: 0n,
    active: 0,
    held: 0,
    heldEver: 0n,
    holdTimeouts: 0n,
    holdSeconds: { buckets: HOLD_BUCKETS_SECONDS.map(() => 0n), sum: 0 },
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
    servers: [],
    workers: [],
    kept: { sessions: 0, segments: 0, messages: 0, failures: 0n },
  };
  const state = { saved: false, writeFailures: 0 };
  const sources = {
    stats: () => stats,
    candidates: () => [],
    epoch: () => 0,
    maxConnections: () => 1,
    state: () => state,
    version: '0',
  };
  const metrics = new Metrics(sources);
  const names = [...(await metrics.render()).matchAll(/^# HELP pg_gateway_(\w+) /gmu)].map((match) => match[1]);
  assert.ok(names.length > 20);
  for (const name of names) assert.ok(readme.includes(`\`${String(name)}\``), `README does not name ${String(name)}`);
});

test.run();
