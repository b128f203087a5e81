// SPDX-License-Identifier: MIT
// The picture of the whole: what it says of each state of the daemon, and how well that is.

import { RecentFaults } from '#src/control/recent-faults.js';
import { RoleClock } from '#src/control/role-clock.js';
import { roleOf, statusDocument } from '#src/control/status-document.js';
import type { StatusInput } from '#src/control/status-document.js';
import { candidate, failed, primary, standby } from '../helpers/observations.js';
import { NONE, NOW, PRIMARY, statusInput } from '../helpers/status-input.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('status document');

test('a quiet day, whole', () => {
  assert.equal(statusDocument(statusInput()), {
    health: 'ok',
    problems: [],
    version: '1.2.3',
    pid: 4711,
    started_at: '2026-11-30T11:43:20.000Z',
    uptime_seconds: 1000,
    verdict: {
      kind: 'primary',
      reason: 'first-primary',
      detail: 'a:5432 on timeline 3',
      since: '2026-11-30T11:50:00.000Z',
      suspected: false,
    },
    primary: { server: 'a:5432', address: '192.0.2.97', port: 5432, timeline: 3, epoch: 7 },
    servers: [
      {
        name: 'a:5432',
        role: 'primary',
        since: '2026-11-30T11:50:00.000Z',
        address: '192.0.2.97',
        port: 5432,
        timeline: 3,
        lag_bytes: null,
        sessions: 3,
        probe_ms: 1,
        probe_age_seconds: 0.5,
        reason: null,
        detail: null,
      },
      {
        name: 'b:5432',
        role: 'standby',
        since: null,
        address: '192.0.2.98',
        port: 5432,
        timeline: 3,
        lag_bytes: 1000,
        sessions: 0,
        probe_ms: 1,
        probe_age_seconds: 0.7,
        reason: null,
        detail: null,
      },
    ],
    clients: {
      sessions: 3,
      held: 0,
      silent: 0,
      limit: 100,
      accepted_total: 12,
      bytes_client_to_server_total: 5000,
      bytes_server_to_client_total: 70_000,
    },
    hold: null,
    drain: null,
    sessions_kept: 3,
    log_level: 'info',
    state_saved: true,
    failovers: 0,
    last_failover: null,
  });
});

const SEEN = statusInput().observations;

/** Two workers, the second of which has not answered for so long. */
function workers(secondLagMs: number): Pick<StatusInput, 'stats'> {
  const { stats } = statusInput();
  return {
    stats: {
      ...stats,
      workers: [0.1, secondLagMs].map((loopLagMs, number) => ({ sessions: number, loopLagMs, beat: 9n })),
    },
  };
}

/** What differs from a quiet day, how well it is, and why. */
const HEALTH: readonly (readonly [what: string, Partial<StatusInput>, health: string, problems: readonly string[]])[] =
  [
    ['the start', { verdict: undefined }, 'critical', ['the first round of probes is not over']],
    ['no primary', { verdict: NONE }, 'critical', ['no primary (primary-in-doubt): a:5432 does not answer']],
    [
      'a suspicion',
      { suspected: true },
      'warning',
      ['something speaks against the primary: new clients wait until it has answered'],
    ],
    [
      'a primary in doubt, where nobody waits',
      { suspected: true, holdTimeoutMs: 0 },
      'warning',
      ['something speaks against the primary: it is asked whether it still is one'],
    ],
    [
      'a standby that is down',
      { observations: new Map([...SEEN, ['b:5432', failed('b')]]) },
      'warning',
      ['b:5432 is down (refused): as the test says'],
    ],
    [
      'a fenced server',
      { verdict: { ...PRIMARY, fenced: [{ candidate: candidate('b'), reason: 'stale-timeline', detail: 'old' }] } },
      'warning',
      ['b:5432 is fenced (stale-timeline): old'],
    ],
    [
      'a server that is read-only',
      { observations: new Map([...SEEN, ['b:5432', primary('b', 3, { readOnly: true })]]) },
      'warning',
      ['b:5432 is out of recovery, and read-only'],
    ],
    ['a hold', { hold: { since: 0, until: 1 } }, 'warning', ['new clients are held by an administrator']],
    [
      'a drain',
      { drain: { since: 0, until: 1, exits: true } },
      'warning',
      ['no new clients are accepted: it is being drained'],
    ],
    ['a crowd', { maxConnections: 3 }, 'warning', ['3 of 3 clients are there']],
    [
      'a configuration with one fault',
      { rejected: ['a.toml: x: unknown key'] },
      'warning',
      ['the configuration was rejected, an earlier one goes on: a.toml: x: unknown key'],
    ],
    [
      'one with three',
      { rejected: ['a.toml: x: unknown key', 'second', 'third'] },
      'warning',
      ['the configuration was rejected, an earlier one goes on: a.toml: x: unknown key (and 2 more, see the log)'],
    ],
    ['a full disk', { stateSaved: false }, 'warning', ['what is remembered of the cluster is not on disk']],
    [
      'a worker that stands still',
      workers(8500),
      'warning',
      ['worker 1 stands still, with 1 session: no answer for 8.5 s'],
    ],
    ['one that is late', workers(3000), 'ok', []],
    [
      'accepting was paused',
      { lackedAt: NOW - 300_000 },
      'warning',
      ['in the last 5 minutes descriptors or memory had run out: clients waited'],
    ],
    ['it was, and for long no more', { lackedAt: NOW - 300_001 }, 'ok', []],
    [
      'a session could not be kept',
      { keepFailedAt: NOW },
      'warning',
      ['in the last 5 minutes sessions could not be kept: they would end with the process'],
    ],
    ['it could not, and for long no other', { keepFailedAt: NOW - 300_001 }, 'ok', []],
  ];

for (const [what, change, health, problems] of HEALTH) {
  test(`how well it is: ${what}`, () => {
    const document = statusDocument(statusInput(change));
    assert.is(document.health, health);
    assert.equal(document.problems, problems);
  });
}

test('a fault of the data plane counts from the look that sees its counter grow', () => {
  const faults = new RecentFaults();
  const never = undefined;
  const rows: readonly (readonly [
    now: number,
    pauses: bigint,
    waits: bigint,
    failures: bigint,
    ...times: unknown[],
  ])[] = [
    [2000, 0n, 0n, 0n, never, never],
    [4000, 3n, 0n, 0n, 4000, never],
    [6000, 3n, 0n, 0n, 4000, never],
    [8000, 3n, 0n, 1n, 4000, 8000],
    [10_000, 4n, 0n, 1n, 10_000, 8000],
    [12_000, 4n, 1n, 1n, 12_000, 8000],
  ];
  for (const [now, acceptPauses, pipeWaits, failures, lackedAt, keepFailedAt] of rows) {
    faults.observe({ acceptPauses, pipeWaits, kept: { failures } }, now);
    assert.equal(faults.times, { lackedAt, keepFailedAt });
  }
});

test('the worst comes first, and without a primary nothing has one', () => {
  const document = statusDocument(statusInput({ verdict: NONE, hold: { since: 0, until: NOW + 5000 } }));
  assert.match(document.problems[0] ?? '', /^no primary/u);
  assert.is(document.primary, null);
  assert.equal(document.hold, { since: '2026-11-30T11:43:20.000Z', until: '2026-11-30T12:00:05.000Z' });
  assert.equal(
    document.servers.map(({ lag_bytes }) => lag_bytes),
    [null, null],
    'nobody is behind nobody',
  );
});

test('a standby that was seen later than the primary is not ahead of it', () => {
  const observations = new Map([...SEEN, ['b:5432', standby('b', 3, { lsn: 9000n })] as const]);
  assert.is(statusDocument(statusInput({ observations })).servers[1]?.lag_bytes, 0);
});

test('sessions that nothing keeps', () => {
  assert.is(statusDocument(statusInput({ keepsSessions: false })).sessions_kept, null);
});

test('the role of a candidate', () => {
  const fenced = [{ candidate: candidate('c'), reason: 'rival', detail: '' }] as const;
  const rows = [
    ['a', undefined, PRIMARY, 'unprobed'],
    ['a', failed('a'), PRIMARY, 'down'],
    ['a', primary('a', 3), PRIMARY, 'primary'],
    ['a', primary('a', 3), NONE, 'writable'],
    ['a', primary('a', 3), undefined, 'writable'],
    ['b', primary('b', 3), PRIMARY, 'writable'],
    ['b', standby('b', 3), PRIMARY, 'standby'],
    ['b', primary('b', 3, { readOnly: true }), PRIMARY, 'read-only'],
    ['c', primary('c', 3), { ...PRIMARY, fenced }, 'fenced'],
  ] as const;
  for (const [host, seen, verdict, role] of rows) assert.is(roleOf(`${host}:5432`, seen, verdict), role);
});

test('since when: from the change of the role, and no longer than the candidate is one', () => {
  const clock = new RoleClock();
  const both = [candidate('a'), candidate('b')];
  clock.update(both, SEEN, undefined, 10);
  clock.update(both, SEEN, PRIMARY, 20);
  clock.update(both, SEEN, PRIMARY, 30);
  assert.equal([clock.since('a:5432'), clock.since('b:5432')], [20, 10]);
  clock.update([candidate('a')], SEEN, PRIMARY, 40);
  clock.update(both, SEEN, PRIMARY, 50);
  assert.equal([clock.since('a:5432'), clock.since('b:5432')], [20, 50]);
});

test.run();
