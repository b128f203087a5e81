// SPDX-License-Identifier: MIT
// What the soak judges by: failovers explain what fails in them and nothing else, slopes, the truth of the clients.

import { checkTruth } from '../soak/truth.js';
import { settingsOf } from '../soak/settings.js';
import { Tally } from '../soak/tally.js';
import type { Ending } from '../soak/tally.js';
import { floorsOf, trendOf } from '../soak/trend.js';
import { Windows } from '../soak/windows.js';
import { UsageError } from '../helpers/options.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('soak');

test('a failover explains what meets it, and what ends shortly after it', () => {
  let now = 1000;
  const windows = new Windows(() => now);
  assert.is(windows.explains(now), false, 'before the first one');
  windows.open();
  assert.is(windows.explains(0), true, 'what was there when it began');
  assert.is(windows.calm, false);
  now = 1500;
  windows.close();
  now = 3400;
  assert.is(windows.calm, false, 'in the grace');
  now = 3600;
  assert.is(windows.calm, true);
  assert.is(windows.explains(3400), true, 'it began in the grace');
  assert.is(windows.explains(3550), false, 'it began afterwards');
  assert.is(windows.count, 1);
});

test('a failure is explained or told', () => {
  let now = 0;
  const windows = new Windows(() => now);
  const tally = new Tally(windows);
  tally.failure('a session', 'reset by peer', 0);
  assert.equal([tally.failed, tally.failures], [1, ['a session: reset by peer']]);
  windows.open();
  tally.failure('a session', 'cut', 0);
  windows.close();
  now = 10_000;
  tally.failure('a session', 'late', 9000);
  assert.is(tally.failed, 2);
  assert.equal([...tally.explained], [['a session', 1]]);
});

test('a slope is that of the line through the readings', () => {
  const at = [0, 900, 1800, 2700, 3600];
  const rising = trendOf(at.map((seconds) => ({ at: seconds, value: 5 + seconds / 360 })));
  assert.ok(Math.abs((rising?.perHour ?? 0) - 10) < 1e-9);
  assert.ok((rising?.errorPerHour ?? 1) < 1e-9);
  const noisy = trendOf(at.map((seconds, index) => ({ at: seconds, value: index % 2 })));
  assert.ok(Math.abs(noisy?.perHour ?? 1) < 1e-9);
  assert.ok((noisy?.errorPerHour ?? 0) > 0.5);
  assert.is(trendOf([{ at: 0, value: 1 }]), undefined);
});

test('of a heap that breathes the least of each span counts', () => {
  const readings = [7, 9, 5, 8, 6, 9].map((value, index) => ({ at: index * 10, value }));
  assert.equal(
    floorsOf(readings, 30).map(({ value }) => value),
    [5, 6],
  );
});

interface Counts {
  connections?: number;
  closed?: number;
  left?: number;
  reset?: number;
  rejected?: number;
  /** Of the rejected ones. */
  gaveUp?: number;
  fromClients?: number;
}

/** As /metrics would say it. */
function samplesOf(counts: Counts) {
  const { connections = 0, closed = 0, left = 0, reset = 0, rejected = 0, gaveUp = 0, fromClients = 0 } = counts;
  const values: Record<string, number> = {
    pg_gateway_connections_total: connections,
    pg_gateway_connections_active: 0,
    pg_gateway_sessions_cut_total: 0,
    pg_gateway_clients_rejected_total: rejected,
    'pg_gateway_clients_rejected_total gave_up': gaveUp,
    pg_gateway_sessions_ended_total: closed + left + reset,
    'pg_gateway_sessions_ended_total client_closed': closed,
    'pg_gateway_sessions_ended_total backend_closed': left,
    'pg_gateway_sessions_ended_total client_reset': reset,
    'pg_gateway_sessions_ended_total backend_reset': 0,
    'pg_gateway_sessions_ended_total resources': 0,
    pg_gateway_bytes_client_to_backend_total: fromClients,
    pg_gateway_bytes_backend_to_client_total: 0,
  };
  return {
    get: (name: string, labels: Readonly<Record<string, string>> = {}): number =>
      values[[name, ...Object.values(labels)].join(' ')] ?? NaN,
  };
}

function failed(counts: Counts, tally: Tally): string[] {
  return checkTruth(samplesOf(counts), tally.totals)
    .filter(({ passed }) => !passed)
    .map(({ what }) => what);
}

test('without a failover the metrics are exactly what the clients counted', () => {
  const tally = new Tally(new Windows(() => 0));
  const end = (ending: Ending): void => {
    tally.opened();
    tally.ended({ begunMs: 0, ending, toServer: { low: 10, high: 10 }, toClient: { low: 0, high: 0 } });
  };
  for (const ending of ['left', 'closed', 'reset', 'either'] as const) end(ending);
  const right = { connections: 4, closed: 2, left: 1, reset: 1, fromClients: 40 };
  assert.equal(failed(right, tally), []);
  assert.equal(failed({ ...right, closed: 1, left: 2 }, tally), [], 'who closed first of two');
  assert.equal(failed({ ...right, fromClients: 41 }, tally), ['bytes from clients']);
  assert.equal(failed({ ...right, connections: 5 }, tally), ['connections counted']);
  assert.equal(failed({ ...right, reset: 0, rejected: 1, gaveUp: 1 }, tally), [], 'a reset before it had a server');
  assert.equal(failed({ ...right, reset: 0, rejected: 1 }, tally), [
    'client_reset and gave_up',
    'broken by a server, cut or turned away',
  ]);
  assert.equal(failed({ ...right, closed: 3, reset: 0 }, tally), [
    'client_reset and gave_up',
    'client_closed',
    'client_closed and backend_closed',
  ]);
});

test('who met a failover may have any end', () => {
  const windows = new Windows(() => 0);
  const tally = new Tally(windows);
  windows.open();
  tally.opened();
  tally.ended({ begunMs: 0, ending: 'broken', toServer: { low: 0, high: 10 }, toClient: { low: 0, high: 5 } });
  assert.equal(failed({ connections: 1, left: 1, fromClients: 7 }, tally), []);
  assert.equal(failed({ connections: 1, rejected: 1 }, tally), []);
  assert.equal(failed({ connections: 1 }, tally), ['each of them has one end'], 'but one it must have');
  assert.equal(failed({ connections: 1, left: 1, fromClients: 11 }, tally), ['bytes from clients']);
});

test('options', () => {
  assert.is(settingsOf([])?.loadSeconds, 1800);
  assert.is(settingsOf(['--minutes', '5'])?.loadSeconds, 300);
  assert.is(settingsOf(['--minutes', '5'])?.warmUpSeconds, 60);
  assert.equal(settingsOf(['--only', 'hostile,load'])?.parts, ['load', 'hostile']);
  assert.is(settingsOf(['--help']), undefined);
  for (const wrong of [['--only', 'rest'], ['--minutes', '0'], ['--weeks', '2'], ['now']]) {
    assert.throws(
      () => settingsOf(wrong),
      (error: unknown) => error instanceof UsageError,
    );
  }
});

test.run();
