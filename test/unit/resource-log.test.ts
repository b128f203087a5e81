// SPDX-License-Identifier: MIT
import { createLogger } from '#src/log.js';
import { ResourceLog } from '#src/resource-log.js';
import { FakeTimers } from '../helpers/fake-timers.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('resource log');
const OTHERS = { no_primary: 9n, connect_failed: 9n, too_many_held: 9n, gave_up: 9n, startup: 9n };

test('a growing count is one warning in half a minute, which has all since the one before', () => {
  const timers = new FakeTimers();
  const lines: string[] = [];
  const log = new ResourceLog(
    createLogger({ level: 'warning', journal: true, write: (line) => lines.push(line.trimEnd()) }),
    timers,
  );
  const observe = (acceptPauses: bigint, resources: bigint): string[] => {
    log.observe({ acceptPauses, rejected: { ...OTHERS, resources } });
    return lines.splice(0).map((line) => line.replace(/ hint=.*/, ''));
  };
  const words = '<4>descriptors or memory have run out: new clients wait or are turned away';

  assert.equal(observe(0n, 0n), []);
  assert.equal(observe(2n, 1n), [`${words} accept_pauses=2 clients_rejected=1`]);
  timers.advance(29_000);
  assert.equal(observe(5n, 1n), []);
  assert.equal(observe(6n, 3n), []);
  timers.advance(1000);
  assert.equal(observe(6n, 4n), [`${words} accept_pauses=4 clients_rejected=3`]);
  timers.advance(60_000);
  assert.equal(observe(6n, 4n), []);
});

test.run();
