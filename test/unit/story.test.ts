// SPDX-License-Identifier: MIT
import type { Candidate } from '#src/candidates.js';
import type { ProvenPrimary, Verdict } from '#src/election.js';
import { createLogger } from '#src/log.js';
import type { Observation } from '#src/probe/observation.js';
import { logFailover, logVerdict, readinessOf, statusText } from '#src/story.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('story');

const a: Candidate = { host: '10.0.0.1', port: 5432, name: '10.0.0.1:5432' };
const b: Candidate = { host: 'db2', port: 5432, name: 'db2:5432' };

const onA: Verdict = {
  kind: 'primary',
  primary: { candidate: a, address: { address: '10.0.0.1', port: 5432 }, timeline: 2, systemId: '7' },
  epoch: 1,
  reason: 'first-primary',
  detail: 'it is',
  fenced: [],
  cut: null,
};
const onB: Verdict = {
  ...onA,
  primary: { candidate: b, address: { address: '10.0.0.2', port: 5432 }, timeline: 3, systemId: '7' },
  epoch: 2,
  reason: 'higher-timeline',
};
const none: Verdict = { kind: 'none', reason: 'primary-in-doubt', detail: 'silent', fenced: [], cut: null };
const observations = new Map<string, Observation>([
  [a.name, { kind: 'failed', candidate: a, at: 0, tookMs: 1, reason: 'refused', detail: 'x' }],
]);

function primaryOf(verdict: Verdict | undefined): ProvenPrimary | undefined {
  return verdict?.kind === 'primary' ? verdict.primary : undefined;
}

/** The lines that the change from `previous` to `verdict` makes, as the journal gets them. */
function lines(verdict: Verdict, previous: Verdict | undefined, lastPrimary = primaryOf(previous)): string[] {
  const written: string[] = [];
  const logger = createLogger({ level: 'info', journal: true, write: (line) => written.push(line.trimEnd()) });
  logVerdict(logger, { verdict, previous, lastPrimary, candidates: [a, b], observations });
  return written;
}

test('a new primary is a notice that tells old, new, why and what everybody is', () => {
  assert.equal(lines(onB, onA), [
    '<5>STATE CHANGE old=10.0.0.1:5432 new=db2:5432(10.0.0.2) reason=higher-timeline detail="it is" timeline=3 epoch=2' +
      ' states="10.0.0.1:5432\\=failed/refused db2:5432\\=unprobed"'.replaceAll('\\=', '='),
  ]);
});

test('the one of several addresses is not said twice', () => {
  const candidate: Candidate = { ...b, address: '10.0.0.2', name: 'db2:5432/10.0.0.2' };
  const onOne: Verdict = { ...onB, primary: { ...onB.primary, candidate }, reason: 'moved' };
  assert.match(lines(onOne, onB).join('\n'), ' old=db2:5432(10.0.0.2) new=db2:5432/10.0.0.2 reason=moved ');
});

test('losing it is a warning', () => {
  assert.match(lines(none, onA).join('\n'), /^<4>STATE CHANGE old=10\.0\.0\.1:5432 new=none reason=primary-in-doubt /);
});

test('a failover names the old primary, though it was in doubt in between', () => {
  assert.match(lines(onB, none, primaryOf(onA)).join('\n'), /old=10\.0\.0\.1:5432 new=db2:5432/);
});

test('the first verdict has no old primary', () => {
  assert.match(
    lines(onA, undefined).join('\n'),
    /^<5>STATE CHANGE old=none new=10\.0\.0\.1:5432 reason=first-primary /,
  );
});

test('the same verdict again says nothing; a new reason for having none does', () => {
  assert.equal(lines(onA, onA), []);
  assert.equal(lines(none, none), []);
  assert.is(lines({ ...none, reason: 'split-brain' }, none).length, 1);
});

test('a fenced server is told once for each reason', () => {
  const fenced: Verdict = { ...onB, fenced: [{ candidate: a, reason: 'stale-timeline', detail: 'tl 2' }] };
  const line = '<4>server fenced: it gets no traffic server=10.0.0.1:5432 reason=stale-timeline detail="tl 2"';
  assert.equal(lines(fenced, onB), [line]);
  assert.equal(lines(fenced, fenced), []);
  const worse: Verdict = { ...onB, fenced: [{ candidate: a, reason: 'foreign-cluster', detail: 'id' }] };
  assert.is(lines(worse, fenced).length, 1);
});

test('a failover is one line, with its times', () => {
  const written: string[] = [];
  const logger = createLogger({ level: 'info', journal: true, write: (line) => written.push(line) });
  const [old, next] = [primaryOf(onA), primaryOf(onB)];
  if (old === undefined || next === undefined) throw new Error('both are primaries');
  const doubt = { since: 5, cause: 'a backend connection failed' };
  logFailover(logger, { old, new: next, doubt, decidedInMs: 12.345, cut: 3, held: 5 });
  assert.equal(written, [
    '<5>failover old=10.0.0.1:5432 new=db2:5432(10.0.0.2) timeline=2->3 doubt="a backend connection failed" decided_in_ms=12.3 held=5 cut=3\n',
  ]);
});

test('the status line', () => {
  const rows: [Verdict | undefined, number, string][] = [
    [undefined, 0, 'Looking for the primary; 0 sessions'],
    [onA, 1, 'Primary is 10.0.0.1:5432 on timeline 2; 1 session'],
    [none, 12, 'No primary (silent); 12 sessions'],
    [{ ...none, reason: 'split-brain' }, 0, 'No primary (split brain, silent); 0 sessions'],
    [
      { ...onA, fenced: [{ candidate: b, reason: 'rival', detail: 'x' }] },
      1,
      'Primary is 10.0.0.1:5432 on timeline 2; split brain: db2:5432 is writable on it too; 1 session',
    ],
  ];
  const usual = { holding: false, draining: false, rejected: false };
  for (const [verdict, sessions, expected] of rows) assert.is(statusText(verdict, { sessions, ...usual }), expected);
  assert.is(
    statusText(onA, { sessions: 1, holding: true, draining: true, rejected: true }),
    'Primary is 10.0.0.1:5432 on timeline 2; 1 session; new clients are held by an administrator; ' +
      'draining: no new clients are accepted; the configuration was rejected, an earlier one goes on',
  );
});

test('ready is who has a primary and accepts clients', () => {
  const rows: [Verdict | undefined, boolean, boolean, string][] = [
    [onA, false, true, 'it is'],
    [onA, true, false, 'draining: no new clients are accepted; it is'],
    [none, false, false, 'no primary: primary-in-doubt: silent'],
    [none, true, false, 'draining: no new clients are accepted; no primary: primary-in-doubt: silent'],
    [undefined, false, false, 'no primary: starting'],
  ];
  for (const [verdict, draining, ready, reason] of rows) {
    assert.equal(readinessOf(verdict, draining), { ready, reason });
  }
});

test.run();
