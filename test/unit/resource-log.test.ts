// SPDX-License-Identifier: MIT
import { createLogger } from '#src/log.js';
import { ResourceLog } from '#src/resource-log.js';
import { FakeTimers } from '../helpers/fake-timers.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('resource log');
const OTHERS = { no_primary: 9n, connect_failed: 9n, too_many_held: 9n, gave_up: 9n, startup: 9n, killed: 9n };
const AHEAD = '<4>more clients come than are accepted in a second: they wait';
const NONE = { ...OTHERS, too_many_clients: 0n, too_many_per_client: 0n, resources: 0n };
const WORDS = '<4>descriptors or memory have run out: clients wait or are turned away';
const FULL = '<4>there are as many clients as there may be: more are turned away';
const FULL_OF_ONE = '<4>from an address there are as many clients as there may be: more are turned away';

/** What is logged of each count that is observed. */
function setUp(): {
  timers: FakeTimers;
  observe: (pauses: bigint, rejected: Partial<typeof NONE>, pipeWaits?: bigint, rateWaits?: bigint) => string[];
} {
  const timers = new FakeTimers();
  const lines: string[] = [];
  const log = new ResourceLog(
    createLogger({ level: 'warning', journal: true, write: (line) => lines.push(line.trimEnd()) }),
    timers,
  );
  const observe = (acceptPauses: bigint, rejected: Partial<typeof NONE>, pipeWaits = 0n, rateWaits = 0n): string[] => {
    log.observe({ acceptPauses, pipeWaits, rateWaits, rejected: { ...NONE, ...rejected } });
    return lines.splice(0).map((line) => line.replace(/ hint=.*/, ''));
  };
  return { timers, observe };
}

test('a growing count is one warning in half a minute, which has all since the one before', () => {
  const { timers, observe } = setUp();
  assert.equal(observe(0n, {}), []);
  assert.equal(observe(2n, { resources: 1n }), [`${WORDS} accept_pauses=2 pipe_waits=0 clients_rejected=1`]);
  timers.advance(29_000);
  assert.equal(observe(5n, { resources: 1n }), []);
  assert.equal(observe(6n, { resources: 3n }), []);
  timers.advance(1000);
  assert.equal(observe(6n, { resources: 4n }), [`${WORDS} accept_pauses=4 pipe_waits=0 clients_rejected=3`]);
  timers.advance(60_000);
  assert.equal(observe(6n, { resources: 4n }), []);
  assert.equal(observe(6n, { resources: 4n }, 20n), [`${WORDS} accept_pauses=0 pipe_waits=20 clients_rejected=0`]);
});

test('each limit has a line and a pace of its own', () => {
  const { timers, observe } = setUp();
  assert.equal(observe(0n, { too_many_clients: 5n }), [`${FULL} clients_rejected=5`]);
  assert.equal(observe(0n, { too_many_clients: 6n, too_many_per_client: 7n }), [`${FULL_OF_ONE} clients_rejected=7`]);
  timers.advance(30_000);
  assert.equal(observe(1n, { too_many_clients: 9n, too_many_per_client: 7n }), [
    `${WORDS} accept_pauses=1 pipe_waits=0 clients_rejected=0`,
    `${FULL} clients_rejected=4`,
  ]);
  assert.equal(observe(1n, { too_many_clients: 9n, too_many_per_client: 7n }, 0n, 3n), [`${AHEAD} accept_waits=3`]);
});

test.run();
