// SPDX-License-Identifier: MIT
// Questions to the workers: who gets which answer, and what becomes of one that does not come.

import { GatewayError } from '#src/errors.js';
import { SessionInquiries } from '#src/session-inquiries.js';
import type { SessionListing } from '#src/session-inquiries.js';
import { FakeTimers } from '../helpers/fake-timers.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('session inquiries');
const EMPTY: SessionListing = { sessions: [], matching: 0 };

function setUp() {
  const timers = new FakeTimers();
  const posted: unknown[] = [];
  const inquiries = new SessionInquiries(
    {
      listSessions: (number, query) => posted.push(['list', number, query]),
      killSessions: (number, ids) => posted.push(['kill', number, ids]),
    },
    timers,
  );
  return { timers, posted, inquiries };
}

async function failure(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    if (error instanceof GatewayError) return `${error.code}: ${error.message}`;
    throw error;
  }
  return 'none';
}

test('answers find their questions, in any order', async () => {
  const { timers, posted, inquiries } = setUp();
  const listing = inquiries.list({ client: '10.0.0.7', limit: 5 });
  const unix = inquiries.list({ client: 'unix', limit: 6 });
  const killed = inquiries.kill([4, 5]);
  assert.equal(posted, [
    ['list', 1, { client: '10.0.0.7', limit: 5 }],
    ['list', 2, { unix: true, limit: 6 }],
    ['kill', 3, [4, 5]],
  ]);
  inquiries.answered(3, [5]);
  inquiries.answered(1, { ...EMPTY, matching: 1 });
  inquiries.answered(2, EMPTY);
  inquiries.answered(2, EMPTY); // nobody asks any more
  assert.equal(await killed, [5]);
  assert.is((await listing).matching, 1);
  assert.is((await unix).matching, 0);
  assert.is(timers.pending, 0);
});

test('a worker that stands still is given up on, and its late answer is nobody’s', async () => {
  const { timers, inquiries } = setUp();
  const listing = inquiries.list({ limit: 1 });
  timers.advance(3000);
  assert.is(await failure(listing), 'CONTROL_BUSY: a worker thread has not answered for 3 seconds');
  inquiries.answered(1, EMPTY);
});

test('what the workers have not answered is bounded, also when nobody waits for it', async () => {
  const { timers, posted, inquiries } = setUp();
  const waiting = Array.from({ length: 8 }, () => failure(inquiries.list({ limit: 1 })));
  const full = 'CONTROL_BUSY: too many questions about sessions have not been answered yet';
  assert.is(await failure(inquiries.kill([1])), full);
  timers.advance(3000);
  await Promise.all(waiting);
  assert.is(await failure(inquiries.kill([1])), full);
  assert.is(posted.length, 8);
  inquiries.answered(1, EMPTY);
  const killed = inquiries.kill([1]);
  inquiries.answered(9, []);
  assert.equal(await killed, []);
});

test('a question that the addon does not take is its asker’s fault, and takes no place', async () => {
  const timers = new FakeTimers();
  const inquiries = new SessionInquiries(
    {
      listSessions: () => {
        throw new TypeError('not an address');
      },
      killSessions: (number, ids) => {
        inquiries.answered(number, ids);
      },
    },
    timers,
  );
  for (let question = 0; question < 20; question += 1) {
    const refused = await inquiries.list({ client: 'nonsense', limit: 1 }).catch((error: unknown) => error);
    assert.instance(refused, TypeError);
  }
  assert.is(timers.pending, 0);
  assert.equal(await inquiries.kill([4]), [4], 'there is room for others');
});

test('the end of the workers is an answer', async () => {
  const { timers, inquiries } = setUp();
  const listing = failure(inquiries.list({ limit: 1 }));
  inquiries.close();
  inquiries.close();
  assert.is(await listing, 'CONTROL_BUSY: the gateway stops');
  assert.is(await failure(inquiries.kill([1])), 'CONTROL_BUSY: the gateway stops');
  assert.is(timers.pending, 0);
});

test.run();
