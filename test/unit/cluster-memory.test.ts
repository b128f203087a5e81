// SPDX-License-Identifier: MIT
// What is remembered of the cluster: note and file together, and what happens when
// the file cannot be written.

import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
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

function setUp(folder: string, noted: Memory = memoryOf(null), runtime?: string) {
  const lines: string[] = [];
  const timers = new FakeTimers();
  const note = new ProcessMemoryStore();
  note.save(noted);
  const file = new WatchedFile(folder, runtime);
  const logger = createLogger({ level: 'info', journal: true, write: (line) => lines.push(line.trimEnd()) });
  const open = (): ClusterMemory => new ClusterMemory({ note, file, remembered: file.read(), logger, timers });
  return { lines, timers, note, file, open };
}

async function write(file: ClusterFile, cluster: RememberedCluster): Promise<void> {
  file.stage(cluster);
  await file.commit();
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
    if (kept !== null) await write(file, kept);
    const memory = open();
    assert.equal(memory.load(), { ...memoryOf(expected), epoch });
    assert.equal(note.load(), { ...memoryOf(expected), epoch }, 'in the note');
    assert.equal(file.read(), expected, 'in the file');
    await eventually('it to be on the disk', () => memory.state().saved);
    assert.equal(file.read(), expected);
    await memory.close();
  });
}

test('two clusters: neither is believed, and both are left', async ({ folder }) => {
  const { file, note, open } = setUp(folder, memoryOf(A3));
  await write(file, B3);
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

test('a process that ends at once waits for the disk, and for what came last', async ({ folder }) => {
  const { file, lines, open, timers } = setUp(folder);
  const memory = open();
  memory.save(memoryOf(A2));
  const closed = memory.close();
  assert.is(memory.close(), closed);
  memory.save(memoryOf(A3));
  await closed;
  assert.equal(decodeCluster(readFileSync(file.path, 'latin1')), A3);
  assert.ok(memory.state().saved);
  assert.is(timers.pending, 0);
  assert.not.match(lines.join('\n'), '<3>');
});

test('a write that fails is told of, counted and tried again until it succeeds', async ({ folder }) => {
  const { file, lines, note, open, timers } = setUp(folder);
  const memory = open();
  const obstacle = join(folder, 'cluster.json.part');
  mkdirSync(obstacle);
  memory.save(memoryOf(A3));
  assert.equal(note.load().cluster, A3, 'the gateway goes on');
  await Promise.allSettled(file.commits);
  await setImmediate();
  assert.equal(memory.state(), { saved: false, writeFailures: 1 });
  assert.match(
    lines.join('\n'),
    /^<3>the cluster cannot be remembered beyond a stop code=STATE_WRITE_FAILED path=\S+ error="/,
  );
  for (let tries = 2; tries <= 12; tries += 1) {
    timers.advance(5000);
    assert.is(file.commits.length, tries);
    await eventually('it to fail', () => memory.state().writeFailures === tries);
    assert.is(timers.pending, 1);
  }
  assert.is(lines.length, 1, 'one line in a minute');
  timers.advance(5000);
  await eventually('another line', () => lines.length === 2);
  assert.match(lines[1] ?? '', /similar suppressed/);
  rmSync(obstacle, { recursive: true });
  timers.advance(5000);
  await eventually('it to be on the disk', () => memory.state().saved);
  assert.equal(file.read(), A3);
  assert.is(timers.pending, 0);
});

test('closing tries a last time, and never again', async ({ folder }) => {
  const { file, lines, open, timers } = setUp(folder);
  const memory = open();
  const obstacle = join(folder, 'cluster.json.part');
  mkdirSync(obstacle);
  memory.save(memoryOf(A2));
  await memory.close();
  assert.match(lines.join('\n'), /^<3>the cluster cannot be remembered beyond a stop /);
  assert.is(timers.pending, 0);
  rmSync(obstacle, { recursive: true });
  timers.advance(60_000);
  assert.is(file.commits.length, 1);
});

test('a disk that does not answer holds up neither a failover nor for long a stop', async ({ folder }) => {
  const [disk, runtime] = [join(folder, 'disk'), join(folder, 'memory')];
  for (const directory of [disk, runtime]) mkdirSync(directory);
  const { lines, open, timers } = setUp(disk, memoryOf(null), runtime);
  const memory = open();
  // Whoever opens it waits for a reader.
  const part = join(disk, 'cluster.json.part');
  execFileSync('mkfifo', [part]);
  memory.save(memoryOf(A2));
  memory.save(memoryOf(A3));
  assert.equal(new ClusterFile(disk, runtime).read(), A3, 'the next process knows it');
  const closed = memory.close();
  timers.advance(3000);
  await closed;
  assert.match(lines.join('\n'), /^<3>the cluster cannot be remembered beyond a stop .*the disk did not answer/);
  assert.not.ok(memory.state().saved);
  const reader = openSync(part, 'r+'); // which waits for nobody: fifo(7)
  rmSync(part);
  await eventually('the disk to have it after all', () => memory.state().saved);
  closeSync(reader);
  assert.equal(new ClusterFile(disk).read(), A3);
  assert.is(timers.pending, 0);
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
