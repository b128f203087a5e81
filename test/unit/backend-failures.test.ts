// SPDX-License-Identifier: MIT
// Which failed connections speak against a server, and what is logged of them.

import { BackendFailures } from '#src/backend-failures.js';
import { createLogger } from '#src/log.js';
import { FakeTimers } from '../helpers/fake-timers.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('backend failures');

const RESET = { epoch: 1, server: 0, error: 'Connection reset by peer', relayed: true };
const REFUSED = { epoch: 1, server: 0, error: 'Connection refused', relayed: false };

function setUp() {
  const lines: string[] = [];
  const timers = new FakeTimers();
  const logger = createLogger({ level: 'info', journal: true, write: (line) => lines.push(line.trimEnd()) });
  return { lines, timers, failures: new BackendFailures(logger, timers) };
}

test('a session that is reset speaks against its server once a second, whoever has brought it about', () => {
  const { failures, timers } = setUp();
  assert.ok(failures.observe(RESET, 'a:5432'));
  let counted = 0;
  for (let i = 0; i < 400; i += 1) {
    timers.advance(25);
    if (failures.observe(RESET, 'a:5432')) counted += 1;
  }
  assert.is(counted, 10, 'in ten seconds');
});

test('a server that accepts nobody speaks against itself each time', () => {
  const { failures } = setUp();
  assert.ok(failures.observe(RESET, 'a:5432'));
  for (let i = 0; i < 3; i += 1) assert.ok(failures.observe(REFUSED, 'a:5432'));
  assert.not(failures.observe(RESET, 'a:5432'));
});

test('one line in five seconds for each server, of those that do not count too', () => {
  const { failures, lines, timers } = setUp();
  for (let i = 0; i < 3; i += 1) failures.observe(RESET, 'a:5432');
  failures.observe(REFUSED, 'b:5432');
  timers.advance(5000);
  failures.observe(REFUSED, undefined);
  failures.observe(RESET, 'a:5432');
  assert.equal(lines, [
    '<6>a backend connection failed server=a:5432 error="Connection reset by peer"',
    '<6>a backend connection failed server=b:5432 error="Connection refused"',
    '<6>a backend connection failed server=0 error="Connection refused"',
    '<6>a backend connection failed (2 similar suppressed) server=a:5432 error="Connection reset by peer"',
  ]);
});

test.run();
