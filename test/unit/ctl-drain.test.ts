// SPDX-License-Identifier: MIT
// What pg-gatewayctl makes of a gateway that is being drained: look by look, what follows,
// and what is said in the end.

import { connectTo, hasNoListener } from '#src/ctl/client.js';
import { drainLine, drainStep, GRACE_MS } from '#src/ctl/drain.js';
import type { DrainLook, DrainResult, DrainStatus } from '#src/ctl/drain.js';
import { GatewayError } from '#src/errors.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('pg-gatewayctl drain');

function clients(sessions: number, held: number): DrainStatus['clients'] {
  return {
    sessions,
    held,
    silent: 0,
    limit: 100,
    accepted_total: 9,
    bytes_client_to_server_total: 0,
    bytes_server_to_client_total: 0,
  };
}

function seen(sessions: number, change: Partial<DrainStatus> = {}): DrainStatus {
  return {
    pid: 1,
    uptime_seconds: 100,
    clients: clients(sessions, 0),
    drain: { since: '', until: '', exits: true },
    sessions_kept: null,
    ...change,
  };
}

function answers(sessions: number, change: Partial<DrainStatus> = {}): DrainLook {
  return { kind: 'answer', status: seen(sessions, change) };
}

const NOBODY: DrainLook = { kind: 'nobody' };
const TROUBLE: DrainLook = { kind: 'trouble', error: new GatewayError('CONTROL_UNREACHABLE', 'the connection broke') };
const BUSY: DrainLook = { kind: 'trouble', error: new GatewayError('CONTROL_BUSY', 'a worker stands still') };
const HELD = { clients: clients(0, 2) };

const EARLY = 1000;
const OVER = 0;
const AT_LAST = -GRACE_MS;
const LATE = -GRACE_MS - 1;

type Outcome = 'again' | 'failed CONTROL_UNREACHABLE' | 'failed CONTROL_BUSY' | DrainResult;

const NOT_SEEN: DrainResult = { drained: false, left: null, ended: true, kept: null };
const CUT: DrainResult = { drained: false, left: 3, ended: true, kept: null };
const GONE: DrainResult = { drained: true, left: 0, ended: true, kept: null };

/** `stay`: the gateway is not to exit. */
const STEPS: readonly (readonly [
  what: string,
  mode: 'exit' | 'stay',
  last: DrainStatus | undefined,
  look: DrainLook,
  leftMs: number,
  outcome: Outcome,
])[] = [
  // ---- it answers
  ['sessions are left', 'exit', undefined, answers(3), EARLY, 'again'],
  ['sessions are left', 'stay', undefined, answers(3), EARLY, 'again'],
  ['clients wait', 'stay', undefined, answers(0, HELD), EARLY, 'again'],
  ['nobody is left', 'stay', seen(3), answers(0), EARLY, { drained: true, left: 0, ended: false, kept: null }],
  ['nobody is left, and it is to end', 'exit', seen(3), answers(0), EARLY, 'again'],
  ['the time is over', 'stay', seen(3), answers(3), OVER, { drained: false, left: 3, ended: false, kept: null }],
  ['sessions can be kept', 'stay', undefined, answers(3, { sessions_kept: 3 }), OVER, { ...CUT, ended: false }],
  ['the time is over, and it is to end', 'exit', seen(3), answers(3), OVER, 'again'],
  ['it does not end', 'exit', seen(3), answers(3), AT_LAST, 'again'],
  ['it has not ended', 'exit', seen(3), answers(3), LATE, 'failed CONTROL_BUSY'],
  ['it has not ended with nobody left', 'exit', seen(0), answers(0), LATE, 'failed CONTROL_BUSY'],

  // ---- it cannot be told
  ['the connection breaks', 'exit', undefined, TROUBLE, EARLY, 'again'],
  ['the connection breaks', 'stay', seen(3), TROUBLE, EARLY, 'again'],
  ['it is busy', 'stay', seen(3), BUSY, EARLY, 'again'],
  ['the connection breaks when the time is over', 'stay', seen(3), TROUBLE, OVER, 'again'],
  ['the connection breaks to the last', 'stay', seen(3), TROUBLE, AT_LAST, 'again'],
  ['the connection breaks for too long', 'stay', seen(3), TROUBLE, LATE, 'failed CONTROL_UNREACHABLE'],
  ['the connection breaks for too long', 'exit', seen(0), TROUBLE, LATE, 'failed CONTROL_UNREACHABLE'],
  ['it is busy for too long', 'exit', undefined, BUSY, LATE, 'failed CONTROL_BUSY'],

  // ---- it has ended
  ['it has ended with nobody left', 'exit', seen(0), NOBODY, EARLY, GONE],
  ['it has ended with sessions', 'exit', seen(3), NOBODY, EARLY, CUT],
  ['it has ended with sessions', 'stay', seen(3), NOBODY, EARLY, CUT],
  ['it has ended with sessions when its time was over', 'exit', seen(3), NOBODY, OVER, CUT],
  ['it has ended before it was seen', 'exit', undefined, NOBODY, EARLY, NOT_SEEN],
  ['it has ended, late', 'exit', seen(0), NOBODY, LATE, GONE],
  ['sessions were kept', 'exit', seen(3, { sessions_kept: 2 }), NOBODY, EARLY, { ...CUT, kept: 2 }],

  // ---- another process answers
  ['another pid', 'exit', seen(3), answers(0, { pid: 2 }), EARLY, CUT],
  ['another pid after the last session', 'exit', seen(0), answers(0, { pid: 2 }), EARLY, GONE],
  ['the pid of before, and no drain', 'exit', seen(3), answers(0, { drain: null }), EARLY, CUT],
  ['the pid of before, and no drain', 'stay', seen(3), answers(0, { drain: null }), EARLY, CUT],
  ['no drain, never seen', 'exit', undefined, answers(0, { drain: null }), EARLY, NOT_SEEN],
  ['the pid of before, and younger', 'exit', seen(3), answers(0, { uptime_seconds: 99.9 }), EARLY, CUT],
  ['no drain after the last session', 'exit', seen(0), answers(7, { drain: null }), EARLY, GONE],
  ['the same, and older', 'exit', seen(3), answers(2, { uptime_seconds: 100.1 }), EARLY, 'again'],
];

for (const [what, mode, last, look, leftMs, outcome] of STEPS) {
  test(`${mode}, ${leftMs} ms left: ${what}`, () => {
    const step = drainStep(last, look, leftMs, mode === 'exit');
    if (step.kind === 'again') {
      assert.is(outcome, 'again');
      assert.is(step.seen, look.kind === 'answer' ? look.status : last);
    } else {
      assert.equal(step.kind === 'done' ? step.result : `failed ${step.error.code}`, outcome);
    }
  });
}

const LINES: readonly (readonly [DrainResult, string])[] = [
  [GONE, 'All sessions have ended.'],
  [{ drained: true, left: 0, ended: false, kept: null }, 'All sessions have ended.'],
  [{ drained: false, left: 1, ended: false, kept: null }, '1 session had not ended.'],
  [NOT_SEEN, 'The gateway ended before it was seen whether sessions were left.'],
  [CUT, 'The gateway ended with 3 sessions: they ended with it.'],
  [{ ...CUT, kept: 2 }, 'The gateway ended with 3 sessions: 2 kept for the next process.'],
];

for (const [result, line] of LINES) {
  test(line, () => {
    assert.is(drainLine(result), line);
  });
}

test('nobody listens: only where the kernel says so', async () => {
  const error = await connectTo('/nowhere/c.sock')
    .get('/v1/status')
    .catch((reason: unknown) => reason);
  assert.instance(error, GatewayError);
  assert.ok(error instanceof GatewayError && hasNoListener(error));
  const because = (code: string): GatewayError =>
    new GatewayError('CONTROL_UNREACHABLE', '', { cause: Object.assign(new Error(code), { code }) });
  assert.ok(hasNoListener(because('ECONNREFUSED')));
  for (const code of ['ECONNRESET', 'EAGAIN', 'EACCES', 'EMFILE']) assert.not.ok(hasNoListener(because(code)), code);
  assert.not.ok(hasNoListener(new GatewayError('CONTROL_UNREACHABLE', 'no answer within 5 seconds')));
  assert.not.ok(hasNoListener(new GatewayError('CONTROL_BUSY', '')));
});

test.run();
