// SPDX-License-Identifier: MIT
// What is remembered of the cluster: note and file together, and what happens when
// the file cannot be written.

import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';

import { ClusterFile, decodeCluster } from '#src/cluster-file.js';
import { ClusterMemory } from '#src/cluster-memory.js';
import { GatewayError } from '#src/errors.js';
import { createLogger } from '#src/log.js';
import { memoryOf, ProcessMemoryStore } from '#src/memory.js';
import type { Memory, RememberedCluster } from '#src/memory.js';
import { FakeTimers } from '../helpers/fake-timers.js';
import { assert, suite } from '../helpers/suite.js';
import { eventually } from '../helpers/wait.js';

const test = suite<{ folder: string }>('cluster memory');

const A2: RememberedCluster = { systemId: '7000000000000000001', timeline: 2 };
const A3: RememberedCluster = { ...A2, timeline: 3 };
const B3: RememberedCluster = { systemId: '7000000000000000002', timeline: 3 };

test.before.each((context) => {
  context.folder = mkdtempSync(join(tmpdir(), 'pg-gateway-state-'));
});
test.after.each(({ folder }) => {
  rmSync(folder, { recursive: true, force: true });
});

/** Its commits can be waited for. */
class WatchedFile extends ClusterFile {
  readonly commits: Promise<boolean>[] = [];

  override commit(): Promise<boolean> {
    const commit = super.commit();
    this.commits.push(commit);
    return commit;
  }
}

function setUp(folder: string, noted: Memory = memoryOf(null)) {
  const lines: string[] = [];
  const timers = new FakeTimers();
  const note = new ProcessMemoryStore();
  note.save(noted);
  const file = new WatchedFile(folder);
  const logger = createLogger({ level: 'info', journal: true, write: (line) => lines.push(line.trimEnd()) });
  const open = (): ClusterMemory => new ClusterMemory({ note, file, remembered: file.read(), logger, timers });
  return { lines, timers, note, file, open };
}

/** note, file, what holds. */
const BOTH: readonly (readonly [
  string,
  RememberedCluster | null,
  RememberedCluster | null,
  RememberedCluster | null,
])[] = [
  ['neither knows', null, null, null],
  ['a first start after a stop: the file', null, A3, A3],
  ['the file was lost: the note', A3, null, A3],
  ['they agree', A3, A3, A3],
  ['the file could not be written: the note', A3, A2, A3],
  ['a process without sessions came between: the file', A2, A3, A3],
];
for (const [what, noted, kept, expected] of BOTH) {
  test(what, async ({ folder }) => {
    const epoch = 7;
    const { file, note, open } = setUp(folder, { ...memoryOf(noted), epoch });
    if (kept !== null) file.write(kept);
    const memory = open();
    assert.equal(memory.load(), { ...memoryOf(expected), epoch });
    assert.equal(note.load(), { ...memoryOf(expected), epoch }, 'in the note');
    assert.equal(file.read(), expected, 'in the file');
    await eventually('it to be on the disk', () => memory.state().saved);
    assert.equal(file.read(), expected);
    memory.close();
  });
}

test('two clusters: neither is believed, and both are left', ({ folder }) => {
  const { file, note, open } = setUp(folder, memoryOf(A3));
  file.write(B3);
  try {
    open();
    assert.unreachable('one of them was believed');
  } catch (error) {
    assert.instance(error, GatewayError);
    assert.is((error as GatewayError).code, 'STATE_INVALID');
    assert.match((error as GatewayError).message, /7000000000000000002.*7000000000000000001/s);
  }
  assert.equal([file.read(), note.load().cluster], [B3, A3]);
});

test('each change outlives the process when save() returns, and soon a power cut', async ({ folder }) => {
  const { file, lines, open } = setUp(folder);
  const memory = open();
  for (const cluster of [A2, A3]) {
    memory.save(memoryOf(cluster)); // A3 while A2 is on its way to the disk
    assert.equal(file.read(), cluster);
    assert.not.ok(memory.state().saved);
  }
  await eventually('it to be on the disk', () => memory.state().saved);
  assert.equal(file.read(), A3);
  const told = lines.length;
  assert.match(
    lines[told - 1] ?? '',
    /^<6>the cluster is remembered path=\S+cluster\.json system_identifier=7000000000000000001 timeline=3 /,
  );
  memory.save({ ...memoryOf(A3), epoch: 1 });
  assert.ok(memory.state().saved, 'what is no news of the cluster is not written');
  assert.is(lines.length, told);
});

test('a process that ends at once waits for the disk', ({ folder }) => {
  const { file, open } = setUp(folder);
  const memory = open();
  memory.save(memoryOf(A3));
  memory.close();
  assert.equal(decodeCluster(readFileSync(file.path, 'latin1')), A3);
});

test('a write that fails is told of, counted and tried again until it succeeds', async ({ folder }) => {
  const { file, lines, note, open, timers } = setUp(folder);
  const memory = open();
  const obstacle = join(folder, 'cluster.json.part');
  mkdirSync(obstacle);
  memory.save(memoryOf(A3));
  assert.equal(note.load().cluster, A3, 'the gateway goes on');
  assert.equal(memory.state(), { saved: false, writeFailures: 1 });
  assert.match(
    lines.join('\n'),
    /^<3>the cluster cannot be remembered beyond a stop code=STATE_WRITE_FAILED path=\S+ error="/,
  );
  timers.advance(59_000);
  assert.ok(memory.state().writeFailures > 5);
  assert.is(lines.length, 1, 'one line in a minute');
  timers.advance(6000);
  assert.match(lines[1] ?? '', /similar suppressed/);
  rmSync(obstacle, { recursive: true });
  timers.advance(5000);
  assert.equal(file.read(), A3);
  await eventually('it to be on the disk', () => memory.state().saved);
  assert.is(timers.pending, 0);
});

test('closing while the disk is waited for writes all itself, and nothing is told as failed', async ({ folder }) => {
  const { file, lines, open, timers } = setUp(folder);
  const memory = open();
  memory.save(memoryOf(A2)); // the disk is waited for in another thread
  assert.is(file.commits.length, 1);
  memory.close();
  assert.equal(file.read(), A2);
  await Promise.allSettled(file.commits);
  await setImmediate();
  assert.equal(lines, []);
  assert.equal(file.read(), A2);
  assert.is(timers.pending, 0);
});

test('closing tries a last time, and never again', ({ folder }) => {
  const { file, open, timers } = setUp(folder);
  const memory = open();
  const obstacle = join(folder, 'cluster.json.part');
  mkdirSync(obstacle);
  memory.save(memoryOf(A2));
  memory.close();
  assert.is(timers.pending, 0);
  rmSync(obstacle, { recursive: true });
  timers.advance(60_000);
  assert.is(file.read(), null);
});

test('without a directory it is never saved, and nothing fails', () => {
  const note = new ProcessMemoryStore();
  const logger = createLogger({ level: 'info', write: () => undefined });
  const memory = new ClusterMemory({ note, file: undefined, remembered: null, logger, timers: new FakeTimers() });
  memory.save(memoryOf(A3));
  assert.equal(note.load().cluster, A3);
  assert.equal(memory.state(), { saved: false, writeFailures: 0 });
});

test.run();
