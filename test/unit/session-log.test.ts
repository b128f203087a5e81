// SPDX-License-Identifier: MIT
import { createLogger } from '#src/log.js';
import { SessionLog } from '#src/session-log.js';
import type { SessionEvent, SessionEvents } from '#src/session-log.js';
import { FakeTimers } from '../helpers/fake-timers.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('session log');

const facts = { clientAddress: '10.0.0.7', clientPort: 50_000 };
const served = {
  ...facts,
  server: 0,
  sourcePort: 41_000,
  seconds: 0.000_45,
  bytesClientToBackend: 0,
  bytesBackendToClient: 0,
};
const opened: SessionEvent = { kind: 'opened', ...served };

/** What the workers recorded, the line. */
const LINES: readonly (readonly [what: string, event: SessionEvent, line: string])[] = [
  ['opened', opened, '<7>session opened client=10.0.0.7:50000 server=db1:5432 source_port=41000 connect_ms=0.5'],
  [
    'closed',
    {
      kind: 'closed',
      ...served,
      seconds: 61.2345,
      bytesClientToBackend: 8,
      bytesBackendToClient: 5e9,
      reason: 'client_closed',
    },
    '<7>session closed client=10.0.0.7:50000 server=db1:5432 source_port=41000 age_s=61.235' +
      ' bytes_client_to_backend=8 bytes_backend_to_client=5000000000 reason=client_closed',
  ],
  [
    'closed before it was connected, on a server that is no candidate any more',
    { kind: 'closed', ...served, server: 9, sourcePort: 0, reason: 'shutdown' },
    '<7>session closed client=10.0.0.7:50000 server=9 age_s=0' +
      ' bytes_client_to_backend=0 bytes_backend_to_client=0 reason=shutdown',
  ],
  [
    'turned away',
    { kind: 'turned_away', ...facts, reason: 'no_primary' },
    '<7>client turned away client=10.0.0.7:50000 reason=no_primary',
  ],
  [
    'an IPv6 client',
    { kind: 'turned_away', clientAddress: '::1', clientPort: 5, reason: 'startup' },
    '<7>client turned away client=[::1]:5 reason=startup',
  ],
  [
    'an AF_UNIX client',
    { kind: 'turned_away', clientAddress: 'unix', clientPort: 0, reason: 'resources' },
    '<7>client turned away client=unix reason=resources',
  ],
  [
    'a client that nobody could ask',
    { kind: 'turned_away', clientAddress: '', clientPort: 0, reason: 'startup' },
    '<7>client turned away client=unknown reason=startup',
  ],
];

class Bench {
  readonly timers = new FakeTimers();
  readonly lines: string[] = [];
  recorded: SessionEvents = { events: [], lost: 0 };
  takes = 0;
  readonly log = new SessionLog({
    logger: createLogger({ level: 'debug', journal: true, write: (line) => this.lines.push(line.trimEnd()) }),
    take: () => {
      const events = this.recorded;
      this.recorded = { events: [], lost: 0 };
      this.takes += 1;
      return events;
    },
    serverName: (slot) => (slot === 0 ? 'db1:5432' : undefined),
    timers: this.timers,
  });

  record(count: number, lost = 0): void {
    this.recorded = { events: Array.from({ length: count }, () => opened), lost };
  }

  /** The lines since the last call. */
  written(): string[] {
    return this.lines.splice(0);
  }
}

for (const [what, event, line] of LINES) {
  test(`line: ${what}`, () => {
    const bench = new Bench();
    bench.log.enable(true);
    bench.recorded = { events: [event], lost: 0 };
    bench.timers.advance(200);
    assert.equal(bench.lines, [line]);
  });
}

test('while it is off nothing is asked for, and no timer runs', () => {
  const bench = new Bench();
  bench.timers.advance(10_000);
  bench.log.drain();
  bench.log.enable(false);
  bench.log.close();
  assert.is(bench.takes, 0);
  assert.is(bench.timers.pending, 0);
});

test('what was recorded while nobody listened is not told later', () => {
  const bench = new Bench();
  bench.record(3);
  bench.log.enable(true);
  bench.timers.advance(1000);
  assert.equal(bench.lines, []);
});

test('turning it off writes what was recorded until then, and ends the timer', () => {
  const bench = new Bench();
  bench.log.enable(true);
  bench.record(2);
  bench.log.enable(false);
  assert.is(bench.lines.length, 2);
  assert.is(bench.timers.pending, 0);
});

test('more than the budget is left out and counted, with what the workers lost', () => {
  const bench = new Bench();
  bench.log.enable(true);
  bench.record(5000, 7);
  bench.timers.advance(200);
  assert.is(bench.written().length, 2000);

  // 200 a second, 40 in 200 ms; the first tells of the gap.
  bench.record(100);
  bench.timers.advance(200);
  const lines = bench.written();
  assert.is(lines.length, 40);
  assert.is(lines[0], '<7>session lines were left out: there were too many lines=3007');

  bench.timers.advance(1000);
  assert.equal(bench.written(), ['<7>session lines were left out: there were too many lines=61']);
});

test('half a minute of the worst stays below what journald takes', () => {
  const bench = new Bench();
  bench.log.enable(true);
  for (let turn = 0; turn < 150; turn += 1) {
    bench.record(4096);
    bench.timers.advance(200);
  }
  assert.ok(bench.lines.length > 7000 && bench.lines.length < 9000, bench.lines.length.toString());
});

test('the end tells what it leaves out', () => {
  const bench = new Bench();
  bench.log.enable(true);
  bench.record(2100);
  bench.log.close();
  assert.is(bench.lines.at(-1), '<7>session lines were left out: there were too many lines=100');
});

test.run();
