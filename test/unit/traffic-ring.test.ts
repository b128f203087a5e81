// SPDX-License-Identifier: MIT
// The traffic of the last hour: what a point says, and that there are never more than an hour of them.

import { MAX_POINTS, POINT_MS, TrafficRing } from '#src/status/traffic-ring.js';
import type { Traffic } from '#src/status/traffic-ring.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('traffic ring');

function traffic(active: number, held: number, sent = 0, received = 0): Traffic {
  return { active, held, bytesClientToBackend: BigInt(sent), bytesBackendToClient: BigInt(received) };
}

test('nothing was seen', () => {
  assert.equal(new TrafficRing().points(1e9), []);
});

test('a point has the last sessions, the most clients that waited, and bytes a second', () => {
  const ring = new TrafficRing();
  ring.observe(20_000, traffic(5, 0, 1000, 50_000));
  ring.observe(22_000, traffic(9, 40, 3000, 50_000));
  ring.observe(24_000, traffic(7, 3, 5000, 90_000));
  assert.equal(ring.points(26_000), [{ from: 6, to: 2, sessions: 7, held: 40, sent: 1000, received: 10_000 }]);
});

test('what was moved before the first look is not of this hour', () => {
  const ring = new TrafficRing();
  ring.observe(20_000, traffic(1, 0, 1e12, 1e12));
  assert.equal(ring.points(20_000), [{ from: 0, to: 0, sessions: 1, held: 0, sent: 0, received: 0 }]);
});

test('each ten seconds have a point, with the bytes since the look before', () => {
  const ring = new TrafficRing();
  ring.observe(9000, traffic(1, 2, 0, 0));
  ring.observe(11_000, traffic(2, 0, 4000, 0));
  ring.observe(13_000, traffic(3, 0, 4000, 0));
  assert.equal(ring.points(13_000), [
    { from: 13, to: 4, sessions: 1, held: 2, sent: 0, received: 0 },
    { from: 3, to: 0, sessions: 3, held: 0, sent: 1000, received: 0 },
  ]);
});

test('a time in which nobody looked is missing, and its bytes are spread over it', () => {
  const ring = new TrafficRing();
  ring.observe(0, traffic(1, 0, 0, 0));
  ring.observe(100_000, traffic(2, 0, 1000, 0));
  assert.equal(
    ring.points(100_000).map(({ from, sent }) => [from, sent]),
    [
      [100, 0],
      [0, 10],
    ],
  );
});

test('counters beyond 2^53 are told apart', () => {
  const ring = new TrafficRing();
  const many = 2n ** 60n;
  ring.observe(0, { ...traffic(0, 0), bytesClientToBackend: many });
  ring.observe(1000, { ...traffic(0, 0), bytesClientToBackend: many + 7n });
  assert.is(ring.points(1000)[0]?.sent, 7);
});

test('it holds an hour and no more, however long it goes on', () => {
  const ring = new TrafficRing();
  for (let at = 0; at < 3 * 3_600_000; at += 2000) ring.observe(at, traffic(at / 2000, 0));
  const points = ring.points(3 * 3_600_000 - 1);
  assert.is(points.length, MAX_POINTS);
  assert.ok((points[0]?.from ?? Infinity) <= 3600);
  assert.is(points.at(-1)?.sessions, (3 * 3_600_000) / 2000 - 1);
});

test('what is older than an hour is not shown, also if nobody has looked since', () => {
  const ring = new TrafficRing();
  ring.observe(0, traffic(1, 0));
  assert.is(ring.points(MAX_POINTS * POINT_MS - 1).length, 1);
  assert.is(ring.points(MAX_POINTS * POINT_MS).length, 0);
});

test.run();
