// SPDX-License-Identifier: MIT
// What pg-gatewayctl prints: whole pictures, and their parts.

import { failoversLines, sessionsLines, statusLines } from '#src/ctl/render.js';
import { coloured, plain, table, wantsColour } from '#src/ctl/text.js';
import { bytes, duration, safe } from '#src/readable.js';
import { fit, nextSort, screenLines } from '#src/ctl/top-screen.js';
import type { Look } from '#src/ctl/top-screen.js';
import { BOUNDS } from '#src/control/documents.js';
import type { FailoverDocument, SessionDocument } from '#src/control/documents.js';
import { statusDocument } from '#src/control/status-document.js';
import { failed } from '../helpers/observations.js';
import { NONE, NOON, NOW, statusInput } from '../helpers/status-input.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('pg-gatewayctl output');
const STYLE = { paint: plain, nowMs: NOON };

const FAILOVER: FailoverDocument = {
  at: '2026-11-30T11:50:00.000Z',
  old: 'b:5432',
  new: 'a:5432',
  old_timeline: 2,
  new_timeline: 3,
  cause: 'it broke',
  decided_in_ms: 31.4,
  sessions_cut: 1,
  clients_held: 2,
  steps: [
    { at: '2026-11-30T11:49:59.969Z', step: 'doubt', ms: 0, detail: 'it broke' },
    { at: '2026-11-30T11:50:00.000Z', step: 'proven', ms: 31.4, detail: 'higher-timeline: a:5432' },
  ],
};

function session(id: number, change: Partial<SessionDocument> = {}): SessionDocument {
  return {
    id,
    state: 'open',
    client_address: '10.0.0.7',
    client_port: 50_000 + id,
    server: 'a:5432',
    source_port: 40_000 + id,
    age_seconds: 100 * id,
    idle_seconds: 0.25,
    bytes_client_to_server: 1000 * id,
    bytes_server_to_client: 2_500_000,
    worker: 0,
    ...change,
  };
}

test('status, on a quiet day', () => {
  const status = statusDocument(statusInput({ failovers: 1, lastFailover: FAILOVER }));
  assert.equal(statusLines(status, STYLE), [
    'OK  pg-gateway 1.2.3, up 16 min 40 s, process 4711',
    'primary   a:5432 on timeline 3 for 10 min 0 s: first-primary',
    'clients   3 sessions, 0 waiting, of 100 at most',
    'sessions  3 would outlive the process',
    '',
    'SERVER  ROLE     TL     LAG  SESSIONS   PROBE       SEEN         FOR  ADDRESS',
    'a:5432  primary   3       -         3  1.0 ms  0.5 s ago  10 min 0 s  192.0.2.97:5432',
    'b:5432  standby   3  1.0 kB         0  1.0 ms  0.7 s ago           -  192.0.2.98:5432',
    '',
    '1 failover, the last one:',
    '2026-11-30 11:50:00.000Z  b:5432 -> a:5432, timeline 2 -> 3, decided in 31.4 ms, 1 session cut, 2 clients held',
  ]);
});

test('status, on a bad one', () => {
  const observations = new Map([['a:5432', failed('a', 'refused', NOW)]]);
  const hold = { since: 0, until: NOW + 30_000 };
  const status = statusDocument(statusInput({ verdict: NONE, observations, hold, keepsSessions: false }));
  assert.equal(statusLines(status, { ...STYLE, paint: (colour, text) => `<${colour}:${text}>` }), [
    '<red:CRITICAL>  pg-gateway 1.2.3, up 16 min 40 s, process 4711',
    'primary   none for 10 min 0 s: primary-in-doubt',
    '          a:5432 does not answer',
    'clients   3 sessions, 0 waiting, of 100 at most',
    'sessions  they end with the process',
    'hold      new clients wait; it ends by itself in 30 s',
    '',
    '<dim:SERVER>  <dim:ROLE>      <dim:TL>  <dim:LAG>  <dim:SESSIONS>   <dim:PROBE>       <dim:SEEN>         <dim:FOR>  <dim:ADDRESS>',
    'a:5432  <red:down>       -    -         3  1.0 ms  0.0 s ago  10 min 0 s  -',
    'b:5432  <yellow:unprobed>   -    -         0       -      never           -  -',
    '',
    '<red:!> no primary (primary-in-doubt): a:5432 does not answer',
    '<red:!> a:5432 is down (refused): as the test says',
    '<red:!> new clients are held by an administrator',
  ]);
});

test('sessions', () => {
  const held = { state: 'held', server: null, source_port: null, idle_seconds: null } as const;
  const sessions = [session(1), session(2, { client_address: '::1' }), session(3, held)];
  assert.equal(sessionsLines({ matching: 3, sessions }, STYLE), [
    'ID  STATE  CLIENT          SERVER   PORT         AGE   IDLE    SENT  RECEIVED',
    ' 1  open   10.0.0.7:50001  a:5432  40001  1 min 40 s  0.3 s  1.0 kB    2.5 MB',
    ' 2  open   [::1]:50002     a:5432  40002  3 min 20 s  0.3 s  2.0 kB    2.5 MB',
    ' 3  held   10.0.0.7:50003  -           -   5 min 0 s      -  3.0 kB    2.5 MB',
    '3 sessions',
  ]);
  assert.is(sessionsLines({ matching: 9, sessions }, STYLE).at(-1), 'the oldest 3 of 9 sessions: --limit shows more');
  const all = Array.from({ length: BOUNDS.listed }, (_, at) => session(at + 1));
  assert.is(
    sessionsLines({ matching: 12_000, sessions: all }, STYLE).at(-1),
    'the oldest 10000 of 12000 sessions: more are never listed; --client, --server, --idle and --port choose among them',
  );
  const unix = session(1, { client_address: 'unix', client_port: null });
  assert.match(sessionsLines({ matching: 1, sessions: [unix] }, STYLE)[1] ?? '', / open {3}unix {4}a:5432/u);
});

test('failovers', () => {
  const since = '2026-11-30T11:43:20.000Z';
  assert.equal(failoversLines({ since, total: 0, failovers: [] }), ['No failover since 2026-11-30 11:43:20.000Z']);
  assert.is(
    failoversLines({ since, total: 250, failovers: [FAILOVER] })[0],
    '250 failovers since 2026-11-30 11:43:20.000Z, the last 1:',
  );
  const lines = failoversLines({ since, total: 1, failovers: [FAILOVER] });
  assert.is(lines[0], '1 failover since 2026-11-30 11:43:20.000Z');
  assert.equal(lines.slice(2), [
    '2026-11-30 11:50:00.000Z  b:5432 -> a:5432, timeline 2 -> 3, decided in 31.4 ms, 1 session cut, 2 clients held',
    '  2026-11-30 11:49:59.969Z       +0.0 ms  doubt   it broke',
    '  2026-11-30 11:50:00.000Z      +31.4 ms  proven  higher-timeline: a:5432',
  ]);
});

// ---- top ------------------------------------------------------------------------

function look(at: number, sessions: readonly SessionDocument[], matching = sessions.length): Look {
  return { at, status: statusDocument(statusInput()), sessions: { matching, sessions } };
}

/** The same with other totals: what all sessions together have moved. */
function counted(seen: Look, sent: number, received: number): Look {
  const totals = { bytes_client_to_server_total: sent, bytes_server_to_client_total: received };
  return { ...seen, status: { ...seen.status, clients: { ...seen.status.clients, ...totals } } };
}

const SIZE = { columns: 80, rows: 24 };

test('top: who does most comes first, by the difference of two looks', () => {
  const before = look(1000, [session(1), session(2)]);
  const now = look(3000, [
    session(1),
    session(2, { bytes_client_to_server: 2000 + 3000, bytes_server_to_client: 2_500_000 + 8_000_000 }),
    session(3),
  ]);
  const input = {
    // Most of it was of sessions that neither of the looks has.
    look: counted(now, 1e9 + 40e6, 2e9 + 6e9),
    before: counted(before, 1e9, 2e9),
    sort: 'rate',
    size: { columns: 80, rows: 13 },
    trouble: undefined,
    style: STYLE,
  } as const;
  assert.equal(
    screenLines(input),
    [
      'OK  pg-gateway 1.2.3, up 16 min 40 s, process 4711',
      'primary a:5432, timeline 3',
      '3 sessions, 0 waiting; clients send 20 MB/s, receive 3.0 GB/s',
      '',
      'SERVER  ROLE     TL     LAG  SESSIONS   PROBE       SEEN         FOR  ADDRESS',
      'a:5432  primary   3       -         3  1.0 ms  0.5 s ago  10 min 0 s  192.0.2.97',
      'b:5432  standby   3  1.0 kB         0  1.0 ms  0.7 s ago           -  192.0.2.98',
      '',
      'ID  CLIENT          SERVER   PORT    AGE  IDLE  SENT/s  RCVD/s',
      ' 2  10.0.0.7:50002  a:5432  40002  3m20s  0.3s  1.5 kB  4.0 MB',
      ' 1  10.0.0.7:50001  a:5432  40001  1m40s  0.3s     0 B     0 B',
      ' 3  10.0.0.7:50003  a:5432  40003   5m0s  0.3s       -       -',
      'q quit   s sort (by rate)   space look   ',
    ].map((line) => line.slice(0, 80)),
  );
  const [byAge] = screenLines({ ...input, sort: 'age' }).slice(9);
  assert.match(byAge ?? '', /^ 3 /u);
  const first = screenLines({ ...input, before: undefined });
  assert.is(first[2], '3 sessions, 0 waiting; clients send -, receive -', 'of one look there is no rate');
});

const LONG_SERVER = 'pg-01.sales.example.test:5432';
const IPV6 = '2001:db8:1234:5678:9abc:def0:1234:5678';

/** The widest figures: an id of a gateway that keeps no sessions, long times, much at once. */
function widest(id: number): SessionDocument {
  return session(id, {
    client_address: IPV6,
    client_port: 50_001,
    server: LONG_SERVER,
    source_port: 65_535,
    age_seconds: 86_399,
    idle_seconds: 3599,
  });
}

function lineOf(change: Partial<SessionDocument>, columns: number): string {
  const now = look(2000, [session(7, change)]);
  const before = look(1000, [session(7, { ...change, bytes_client_to_server: 0, bytes_server_to_client: 0 })]);
  const size = { columns, rows: 24 };
  return screenLines({ look: now, before, sort: 'rate', size, trouble: undefined, style: STYLE })[9] ?? '';
}

test('top: the figures fit into 80 columns, whatever the names are', () => {
  assert.is(
    lineOf({ server: LONG_SERVER }, 80),
    ' 7  10.0.0.7:50007  pg-01.sales...test:5432  40007  11m40s  0.3s  7.0 kB  2.5 MB',
  );
  assert.is(
    lineOf({ client_address: IPV6 }, 80),
    ' 7  [2001:db8:1234:..34:5678]:50007  a:5432  40007  11m40s  0.3s  7.0 kB  2.5 MB',
  );
  assert.is(
    lineOf({ client_address: IPV6, server: LONG_SERVER }, 80),
    ' 7  [2001:db..8]:50007  pg-01.sal..est:5432  40007  11m40s  0.3s  7.0 kB  2.5 MB',
  );
  const wide = lineOf({ client_address: IPV6, server: LONG_SERVER }, 140);
  assert.ok(wide.includes(`[${IPV6}]:50007  ${LONG_SERVER}  40007`), wide);
});

test('top: so do the widest figures, and those of the servers', () => {
  const ids = [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER - 1];
  const seen = look(2000, ids.map(widest));
  const servers = seen.status.servers.map((server) => ({ ...server, name: LONG_SERVER, lag_bytes: 999_000 }));
  const before = look(
    1000,
    ids.map((id) => ({ ...widest(id), bytes_client_to_server: 0, bytes_server_to_client: 0 })),
  );
  const moved = seen.sessions.sessions.map((one) => ({ ...one, bytes_client_to_server: 999_000 }));
  const lines = screenLines({
    look: { ...seen, status: { ...seen.status, servers }, sessions: { matching: 2, sessions: moved } },
    before,
    sort: 'rate',
    size: SIZE,
    trouble: undefined,
    style: STYLE,
  });
  assert.match(lines[5] ?? '', /^pg-0\S+\.\.\S+5432  primary   3  999 kB         3  1\.0 ms  0\.5 s ago  10 min 0 s/u);
  for (const line of lines.slice(9, 11)) {
    assert.match(line, /^\d{16}  \[20\S+01  pg-0\S+32  65535  23h59m  59m59s  999 kB  2\.5 MB$/u);
  }
});

test('top: no more lines than rows, no wider than the terminal, whatever there is', () => {
  const many = Array.from({ length: 500 }, (_, at) => session(at + 1));
  for (const size of [SIZE, { columns: 20, rows: 5 }, { columns: 1, rows: 1 }, { columns: 300, rows: 100 }]) {
    const lines = screenLines({
      look: look(0, many, 9000),
      before: undefined,
      sort: 'idle',
      size,
      trouble: 'cannot ask the gateway',
      style: STYLE,
    });
    assert.is(lines.length, size.rows);
    for (const line of lines) assert.ok(line.length <= size.columns, line);
  }
  const lines = screenLines({
    look: look(0, many, 9000),
    before: undefined,
    sort: 'rate',
    size: SIZE,
    trouble: 'cannot ask',
    style: STYLE,
  });
  assert.is(lines[3], 'cannot ask');
  assert.match(lines.at(-1) ?? '', /the oldest 500 of 9000 sessions$/u);
});

test('top: colours take no room, and end where the line is cut', () => {
  assert.is(fit(`ab${coloured('red', 'cdef')}`, 4), 'ab\x1b[31mcd\x1b[0m');
  assert.is(fit(coloured('red', 'ab'), 2), '\x1b[31mab\x1b[0m');
  assert.is(fit('abc', 3), 'abc');
});

test('top: the orders go round', () => {
  assert.equal([nextSort('rate'), nextSort('age'), nextSort('idle')], ['age', 'idle', 'rate']);
});

// ---- words ------------------------------------------------------------------------

test('durations and sizes', () => {
  const durations = [0, 0.44, 9.94, 9.95, 59.4, 59.6, 3599, 3600, 86_399, 86_400, 1e7].map(duration);
  assert.equal(durations, [
    '0.0 s',
    '0.4 s',
    '9.9 s',
    '10 s',
    '59 s',
    '1 min 0 s',
    '59 min 59 s',
    '1 h 0 min',
    '23 h 59 min',
    '1 d 0 h',
    '115 d 17 h',
  ]);
  const sizes = [0, 999, 1000, 9940, 9960, 999_400, 999_600, 1.5e9, 2e18].map(bytes);
  assert.equal(sizes, ['0 B', '999 B', '1.0 kB', '9.9 kB', '10 kB', '999 kB', '1.0 MB', '1.5 GB', '2000 PB']);
});

test('what servers say moves no cursor', () => {
  assert.is(safe('a\x1b[2Jb\nc\u202ed'), 'a?[2Jb?c?d');
});

test('a table is as wide as its widest cells', () => {
  const columns = [{ title: 'A' }, { title: 'LONG', right: true }, { title: 'C' }];
  const rows = [[{ text: 'wide' }, { text: '1' }, { text: 'x', colour: 'red' as const }]];
  assert.equal(table(columns, rows, plain), ['A     LONG  C', 'wide     1  x']);
  assert.equal(table(columns, [], plain), ['A  LONG  C']);
});

test('texts give way to figures, the longest first, and keep their ends', () => {
  const columns = [
    { title: 'A', shrinks: true },
    { title: 'B', shrinks: true },
    { title: 'N', right: true },
  ];
  const rows = [[{ text: 'a-name-that-is-long' }, { text: 'short' }, { text: '12' }]];
  assert.equal(table(columns, rows, plain, 22)[1], 'a-nam..long  short  12');
  assert.equal(table(columns, rows, plain, 30)[1], 'a-name-that-is-long  short  12', 'there is room');
  // Less than this tells nothing.
  assert.equal(table(columns, rows, plain, 1)[1], 'a-n..ong  short  12');
  const last = [
    { title: 'N', right: true },
    { title: 'A', shrinks: true },
  ];
  assert.equal(table(last, [[{ text: '1' }, { text: 'cut-at-the-edge' }]], plain, 5)[1], '1  cut-at-the-edge');
});

test('colours are for terminals, and for who wants them', () => {
  const rows = [
    [true, {}, true],
    [false, {}, false],
    [true, { NO_COLOR: '1' }, false],
    [true, { NO_COLOR: '' }, true],
    [true, { TERM: 'dumb' }, false],
  ] as const;
  for (const [isTerminal, env, wanted] of rows) assert.is(wantsColour(isTerminal, env), wanted);
});

test.run();
