// SPDX-License-Identifier: MIT
// The judge of the failovers, by cases that are made up: it must find what it is there to find.

import { assert, suite } from '../helpers/suite.js';
import { keyOf, lateRows, lostRows, recordOf, refusalOf, refusedIn, spanProblems, spansOf } from './ledger.js';
import type { LoadEvent, Refused, Row, ServerChange } from './load.js';
import { figuresOf } from './summary.js';

const OLD = 5001;
const NEW = 5002;
/** The old primary ends at 10, the new one accepts writes at 12. */
const WINDOW = { from: 9, to: 20, oldPort: OLD, newPort: NEW };
const DEATH: ServerChange = { event: 'state', port: OLD, state: 'down', at: 10 };
const PROMOTION: ServerChange = { event: 'state', port: NEW, state: 'primary', at: 12 };

const test = suite('patroni ledger');

let number = 0;

function row(port: number, written: number, at = written, timeline = port === OLD ? 1 : 2): Row {
  number += 1;
  return { event: 'row', writer: 'a/session', n: number, port, timeline, written, at };
}

function refused(begun: number, error: string, writer = 'a/fresh'): Refused {
  return { event: 'refused', writer, begun, at: begun + 0.1, error };
}

test('the time to the first write is that from the promotion to its acknowledgement', () => {
  const events: LoadEvent[] = [row(OLD, 9.9), DEATH, PROMOTION, row(NEW, 12.01, 12.02), row(NEW, 12.03)];
  const record = recordOf('a', events, WINDOW);
  assert.is(Math.round(record.recoveredMs ?? NaN), 20);
  assert.is(Math.round(record.outageMs ?? NaN), 2120);
});

test('a route that never writes again has no time, and so no median', () => {
  const record = recordOf('a', [row(OLD, 9.9), DEATH, PROMOTION], WINDOW);
  assert.is(record.recoveredMs, undefined);
  assert.is(figuresOf([record]).medianMs, undefined);
});

test('only what a route did itself counts for it', () => {
  const events: LoadEvent[] = [DEATH, PROMOTION, row(NEW, 12.5), { ...row(NEW, 12.1), writer: 'b/session' }];
  assert.is(Math.round(recordOf('a', events, WINDOW).recoveredMs ?? NaN), 500);
});

test('an acknowledged row that is not there is lost', () => {
  const [kept, gone] = [row(OLD, 9.5), row(OLD, 9.6)];
  assert.equal(lostRows([kept, gone], new Set([keyOf(kept)])), [gone]);
});

test('a row that the old primary takes after the promotion is found', () => {
  const [early, late] = [row(OLD, 9.5), row(OLD, 12.001)];
  assert.equal(lateRows([early, DEATH, PROMOTION, late, row(NEW, 12.1)], WINDOW), [late]);
});

test('a timeline of two servers, and one that goes on after the next has begun, are problems', () => {
  const good = [row(OLD, 9), row(OLD, 10), row(NEW, 12), row(NEW, 13)];
  assert.equal(spanProblems(spansOf(good)), []);
  assert.is(spanProblems(spansOf([...good, row(OLD, 12.5)])).length, 1);
  assert.is(spanProblems(spansOf([...good, row(OLD, 14, 14, 2)])).length, 1);
});

test('an attempt that fails is excused only when the dying server itself has answered it, and only then', () => {
  const dying = 'FATAL: the database system is shutting down';
  const events = (...attempts: readonly Refused[]): LoadEvent[] => [DEATH, PROMOTION, ...attempts];
  assert.equal(refusedIn(events(refused(10, dying)), 'a', WINDOW), []);
  assert.equal(refusedIn(events(refused(11, dying)), 'a', WINDOW), [`1 x a/fresh: ${dying}`]);
  const none = 'FATAL: no PostgreSQL primary is available';
  assert.equal(refusedIn(events(refused(10, none), refused(10.1, none)), 'a', WINDOW), [`2 x a/fresh: ${none}`]);
  const record = recordOf('a', events(refused(10, dying, 'a/fresh-tls'), refused(10, none)), WINDOW);
  assert.is(record.refused, 2);
  assert.equal(record.lastWords, { plain: 0, tls: 1 });
});

test('of several hosts that were tried the word that says most counts', () => {
  const several = 'connection to server at "127.0.0.1", port 1 failed: Connection refused ... session is read-only';
  assert.is(refusalOf({ error: several }), 'read_only');
  assert.is(refusalOf({ error: 'something else' }), 'other');
});

test('the median of an even number is between two, and a worst that never came is none', () => {
  const record = recordOf('a', [DEATH, PROMOTION, row(NEW, 12.01)], WINDOW);
  const figures = figuresOf([record, { ...record, recoveredMs: 30 }]);
  assert.is(Math.round(figures.medianMs ?? NaN), 20);
  assert.is(figuresOf([record, { ...record, recoveredMs: undefined }]).worstMs, undefined);
});

test.run();
