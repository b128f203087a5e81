// SPDX-License-Identifier: MIT

import type { CandidateView } from '#src/metrics.js';
import { roleOf } from '#src/metrics-samples.js';
import {
  NO_FAILURES,
  slot,
  STATS,
  answered,
  failed,
  PRIMARY,
  STANDBY,
  view,
  setUp,
  scrape,
  only,
} from '../helpers/metrics-sources.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('metrics of the servers');

const ROLE_TABLE: readonly (readonly [what: string, candidate: CandidateView, role: string])[] = [
  ['no probe yet', view('a', 0), 'unknown'],
  ['no answer', view('a', 0, failed('a', 'dns')), 'unknown'],
  ['writable, and proven', view('a', 0, answered('a', PRIMARY), false, true), 'primary'],
  ['writable', view('a', 0, answered('a', PRIMARY)), 'writable'],
  ['in recovery', view('a', 0, answered('a', STANDBY)), 'standby'],
  ['read only', view('a', 0, answered('a', { inRecovery: false, readOnly: true })), 'read_only'],
  ['writable but fenced', view('a', 0, answered('a', PRIMARY), true), 'fenced'],
  ['silent and fenced', view('a', 0, failed('a', 'broken'), true), 'fenced'],
];

for (const [what, one, role] of ROLE_TABLE) {
  test(`role: ${what} -> ${role}`, () => {
    assert.is(roleOf(one), role);
  });
}

test('per candidate: up, one role of six, timeline only while it is known', async () => {
  const { state, metrics } = setUp([view('a:1', 0, answered('a:1', STANDBY, 4)), view('[::1]:5432', 1)]);
  const series = await scrape(metrics);
  assert.equal(only(series, /server_(up|timeline)|server_role.*a:1/), {
    'pg_gateway_server_up{server="a:1"}': '1',
    'pg_gateway_server_up{server="[::1]:5432"}': '0',
    'pg_gateway_server_role{server="a:1",role="primary"}': '0',
    'pg_gateway_server_role{server="a:1",role="standby"}': '1',
    'pg_gateway_server_role{server="a:1",role="writable"}': '0',
    'pg_gateway_server_role{server="a:1",role="read_only"}': '0',
    'pg_gateway_server_role{server="a:1",role="fenced"}': '0',
    'pg_gateway_server_role{server="a:1",role="unknown"}': '0',
    'pg_gateway_server_timeline{server="a:1"}': '4',
  });
  state.views = [view('a:1', 0, failed('a:1', 'broken'))];
  assert.equal(only(await scrape(metrics), /server_(up|timeline)/), { 'pg_gateway_server_up{server="a:1"}': '0' });
});

test('probes: durations and failures by reason, all reasons from the start', async () => {
  const { metrics } = setUp([view('a:1', 0)]);
  const before = only(await scrape(metrics), /probe_failures_total/);
  assert.is(Object.keys(before).length, 13);
  assert.equal([...new Set(Object.values(before))], ['0']);
  metrics.observation(answered('a:1', PRIMARY));
  metrics.observation(failed('a:1', 'query_timeout'));
  metrics.observation(failed('a:1', 'query_timeout'));
  const series = await scrape(metrics);
  assert.is(series.get('pg_gateway_probe_failures_total{server="a:1",reason="query_timeout"}'), '2');
  assert.is(series.get('pg_gateway_probe_duration_seconds_count{server="a:1"}'), '3');
  assert.is(Number(series.get('pg_gateway_probe_duration_seconds_sum{server="a:1"}')).toFixed(9), '1.603000000');
  assert.is(series.get('pg_gateway_probe_duration_seconds_bucket{le="0.005",server="a:1"}'), '1');
  assert.is(series.get('pg_gateway_probe_duration_seconds_bucket{le="1",server="a:1"}'), '3');
});

test('connects: each candidate has the counts of its slot, none before the slot is used', async () => {
  const { state, metrics } = setUp([view('a:1', 4), view('b:1', 2)]);
  const buckets = [2n, ...Array.from({ length: 12 }, () => 0n)];
  const connectFailures = { ...NO_FAILURES, refused: 6n };
  state.stats = {
    ...STATS,
    servers: [slot(4, { sessions: 9, connects: 2n, connectFailures, connectSeconds: { buckets, sum: 0.0004 } })],
  };
  const series = await scrape(metrics);
  assert.match(await metrics.render(), /# TYPE pg_gateway_backend_connect_duration_seconds histogram\n/);
  const name = 'pg_gateway_backend_connect_duration_seconds';
  assert.is(series.get(`${name}_bucket{server="a:1",le="0.0005"}`), '2');
  assert.is(series.get(`${name}_bucket{server="a:1",le="+Inf"}`), '2');
  assert.is(series.get(`${name}_sum{server="a:1"}`), '0.0004');
  assert.is(series.get(`${name}_count{server="a:1"}`), '2');
  assert.is(series.get(`${name}_count{server="b:1"}`), '0');
  assert.is(series.get('pg_gateway_backend_connect_failures_total{server="a:1",reason="refused"}'), '6');
  assert.is(series.get('pg_gateway_server_sessions{server="a:1"}'), '9');
  assert.is(series.get('pg_gateway_server_sessions{server="b:1"}'), '0');
});

test('a removed candidate has no series left, not even by a late probe; a new one begins at 0', async () => {
  const { state, metrics } = setUp([view('old:1', 0, failed('old:1', 'dns')), view('stays:1', 1)]);
  state.stats = { ...STATS, servers: [slot(0, { connectFailures: { ...NO_FAILURES, other: 5n } })] };
  metrics.observation(failed('old:1', 'dns'));
  metrics.observation(failed('stays:1', 'dns'));
  assert.ok(Object.keys(only(await scrape(metrics), /old:1/)).length > 40);
  state.views = [view('new:1', 0), view('stays:1', 1)];
  metrics.observation(failed('new:1', 'auth')); // makes the new series at once, and drops the old ones
  metrics.observation(failed('old:1', 'dns'));
  const series = await scrape(metrics);
  assert.equal(only(series, /old:1/), {});
  assert.is(series.get('pg_gateway_probe_failures_total{server="new:1",reason="auth"}'), '1');
  assert.is(series.get('pg_gateway_probe_failures_total{server="stays:1",reason="dns"}'), '1');
  const otherFailures = 'pg_gateway_backend_connect_failures_total{server="new:1",reason="other"}';
  assert.is(series.get(otherFailures), '0', 'what the slot had counted for the old one is not counted for the new one');
  state.stats = { ...STATS, servers: [slot(0, { connectFailures: { ...NO_FAILURES, other: 7n } })] };
  assert.is((await scrape(metrics)).get(otherFailures), '2');
});

test.run();
