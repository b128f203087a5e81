// SPDX-License-Identifier: MIT
// The file that remembers the cluster: what was written comes back, and what is not
// exactly that is refused, whatever the damage.

import { execFileSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { ClusterFile, decodeCluster, encodeCluster } from '#src/cluster-file.js';
import { GatewayError } from '#src/errors.js';
import type { RememberedCluster } from '#src/memory.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite<{ folder: string; file: ClusterFile }>('cluster file');

const CLUSTER: RememberedCluster = { systemId: '7000000000000000001', timeline: 3 };

test.before.each((context) => {
  context.folder = mkdtempSync(join(tmpdir(), 'pg-gateway-state-'));
  context.file = new ClusterFile(context.folder);
});
test.after.each(({ folder }) => {
  rmSync(folder, { recursive: true, force: true });
});

/** Code and message of the refusal; undefined if there is none. */
function refusal(file: ClusterFile): readonly [string, string] | undefined {
  try {
    file.read();
    return undefined;
  } catch (error) {
    if (error instanceof GatewayError) return [error.code, error.message];
    throw error;
  }
}

async function save(file: ClusterFile, cluster: RememberedCluster): Promise<void> {
  file.stage(cluster);
  assert.is(await file.commit(), true);
}

test('what is staged while the one before is on its way is committed in its turn', async ({ file, folder }) => {
  const later = { ...CLUSTER, timeline: 4 };
  file.stage(CLUSTER);
  const commit = file.commit();
  file.stage(later);
  assert.is(await commit, false);
  assert.equal(file.read(), later);
  assert.is(await file.commit(), true);
  assert.equal([file.read(), readdirSync(folder)], [later, ['cluster.json']]);
  assert.is(await file.commit(), true, 'there is nothing left to do');
});

test('a disk that does not answer holds up no staging: it is in the runtime directory', async ({ folder }) => {
  const [disk, memory] = [join(folder, 'disk'), join(folder, 'memory')];
  for (const directory of [disk, memory]) mkdirSync(directory);
  const file = new ClusterFile(disk, memory);
  await save(file, CLUSTER);
  assert.equal(readdirSync(memory), [], 'it is on the disk');
  // Whoever opens it waits for a reader.
  const part = join(disk, 'cluster.json.part');
  execFileSync('mkfifo', [part]);
  const later = { ...CLUSTER, timeline: 4 };
  file.stage(later);
  const commit = file.commit();
  assert.equal(new ClusterFile(disk, memory).read(), later, 'for the next process, whatever becomes of this one');
  assert.equal(new ClusterFile(disk).read(), CLUSTER, 'after a power cut');
  const reader = openSync(part, 'r+'); // which waits for nobody: fifo(7)
  assert.match(String(await commit.catch(String)), 'EINVAL'); // such a file has nothing to sync
  closeSync(reader);
  rmSync(part);
  assert.is(await file.commit(), true);
  assert.equal([new ClusterFile(disk).read(), readdirSync(memory)], [later, []]);
});

test('what a process without a runtime directory has staged counts', async ({ folder }) => {
  const [disk, memory] = [join(folder, 'disk'), join(folder, 'memory')];
  for (const directory of [disk, memory]) mkdirSync(directory);
  new ClusterFile(disk).stage({ ...CLUSTER, timeline: 4 });
  const file = new ClusterFile(disk, memory);
  assert.is(file.read()?.timeline, 4);
  file.stage({ ...CLUSTER, timeline: 5 });
  assert.is(file.read()?.timeline, 5);
  await file.commit();
  assert.equal([file.read()?.timeline, readdirSync(memory), readdirSync(disk)], [5, [], ['cluster.json']]);
  new ClusterFile(disk).stage({ ...CLUSTER, timeline: 6 });
  file.stage({ ...CLUSTER, timeline: 5 });
  assert.is(file.read()?.timeline, 6, 'the higher one');
  assert.ok(file.remove());
  assert.equal([file.read(), readdirSync(memory), readdirSync(disk)], [null, [], []]);
});

test('an absent file remembers nothing', ({ file }) => {
  assert.is(file.read(), null);
  assert.is(file.remove(), false);
});

test('comes back as it went, up to the largest', async ({ file, folder }) => {
  for (const cluster of [CLUSTER, { systemId: '18446744073709551615', timeline: 2 ** 32 - 1 }]) {
    await save(file, cluster);
    assert.equal(file.read(), cluster);
  }
  assert.equal(readdirSync(folder), ['cluster.json'], 'nothing is left beside it');
  assert.is(statSync(file.path).mode & 0o777, 0o600);
  assert.is(file.remove(), true);
  assert.is(file.read(), null);
});

test('people can read it', () => {
  assert.match(
    encodeCluster(CLUSTER),
    /^\{\n {2}"version": 1,\n {2}"system_identifier": "7000000000000000001",\n {2}"timeline": 3,\n/,
  );
});

test('each of its bits matters', () => {
  const good = Buffer.from(encodeCluster(CLUSTER), 'latin1');
  for (let at = 0; at < good.length; at += 1) {
    for (let bit = 0; bit < 8; bit += 1) {
      const damaged = Buffer.from(good);
      damaged[at] = (damaged[at] ?? 0) ^ (1 << bit);
      assert.type(decodeCluster(damaged.toString('latin1')), 'string', `bit ${bit} of byte ${at}`);
    }
  }
});

test('nothing can be missing or too much', () => {
  const good = encodeCluster(CLUSTER);
  for (let length = 0; length < good.length; length += 1) {
    assert.type(decodeCluster(good.slice(0, length)), 'string', `the first ${length} bytes`);
    assert.type(decodeCluster(good.slice(length + 1)), 'string', `without the first ${length + 1} bytes`);
    assert.type(decodeCluster(`${good.slice(0, length)} ${good.slice(length)}`), 'string', `a blank at ${length}`);
  }
  assert.type(decodeCluster(`${good}\n`), 'string');
  assert.equal(decodeCluster(good), CLUSTER);
});

test('one put together by hand is not taken', () => {
  const good = encodeCluster(CLUSTER);
  for (const [from, to] of [
    ['"timeline": 3', '"timeline": 2'],
    ['7000000000000000001', '7000000000000000002'],
    ['"timeline": 3', '"timeline": 3.5'],
    ['"timeline": 3', '"timeline": "3"'],
    ['"7000000000000000001"', '7000000000000000001'],
    ['{\n', '{\n  "__proto__": {},\n'],
  ] as const) {
    assert.match(good, from);
    assert.type(decodeCluster(good.replace(from, to)), 'string', to);
  }
});

test('a file of a later version says so', ({ file }) => {
  writeFileSync(file.path, encodeCluster(CLUSTER).replace('"version": 1', '"version": 2'));
  const [code, message] = refusal(file) ?? [];
  assert.is(code, 'STATE_INVALID');
  assert.match(message ?? '', `${file.path}: its version is 2, this gateway knows 1.`);
  assert.match(message ?? '', '--forget-cluster');
});

test('what is damaged is refused by name, and left as it is', ({ file }) => {
  for (const content of [
    '',
    '\0'.repeat(150),
    '[]',
    'null',
    '{"version":1}',
    `${' '.repeat(5000)}${encodeCluster(CLUSTER)}`,
  ]) {
    writeFileSync(file.path, content);
    const [code, message] = refusal(file) ?? [];
    assert.is(code, 'STATE_INVALID', JSON.stringify(content.slice(0, 20)));
    assert.match(message ?? '', `${file.path}: it is damaged`);
    assert.is(readFileSync(file.path, 'utf8'), content);
  }
});

test('what is no regular file is refused, and nobody waits for it', ({ file, folder }) => {
  mkdirSync(file.path);
  assert.is(refusal(file)?.[0], 'STATE_INVALID');
  rmSync(file.path, { recursive: true });
  execFileSync('mkfifo', [file.path]);
  assert.is(refusal(file)?.[0], 'STATE_INVALID');
  rmSync(file.path);
  writeFileSync(join(folder, 'elsewhere'), encodeCluster(CLUSTER));
  symlinkSync('elsewhere', file.path);
  assert.is(refusal(file)?.[0], 'STATE_UNREADABLE');
});

test('a write that fails leaves what was there, and can be tried again', async ({ file, folder }) => {
  await save(file, CLUSTER);
  const later = { ...CLUSTER, timeline: 4 };
  const obstacles = ['cluster.json.part', 'cluster.json.new.part'].map((name) => join(folder, name));
  for (const obstacle of obstacles) mkdirSync(obstacle);
  assert.throws(() => {
    file.stage(later);
  });
  assert.match(String(await file.commit().catch(String)), 'EISDIR');
  assert.equal(file.read(), CLUSTER);
  for (const obstacle of obstacles) rmSync(obstacle, { recursive: true });
  assert.is(await file.commit(), true, 'what could not be staged is committed all the same');
  assert.equal(file.read(), later);
});

test('what is staged counts at once, and is there for good when it is committed', async ({ file, folder }) => {
  file.stage(CLUSTER);
  assert.equal([file.read(), readdirSync(folder)], [CLUSTER, ['cluster.json.new']]);
  await file.commit();
  assert.equal([file.read(), readdirSync(folder)], [CLUSTER, ['cluster.json']]);
  const next = { ...CLUSTER, timeline: 4 };
  file.stage(next);
  assert.equal(file.read(), next, 'the process may end now');
  assert.equal(decodeCluster(readFileSync(file.path, 'latin1')), CLUSTER, 'and a power cut finds this');
});

test('what is staged counts only for more than there is, and is forgotten with it', async ({ file, folder }) => {
  await save(file, CLUSTER);
  file.stage({ ...CLUSTER, timeline: 2 });
  assert.equal(file.read(), CLUSTER);
  file.stage({ systemId: '7000000000000000002', timeline: 9 });
  assert.equal(file.read(), CLUSTER);
  assert.ok(file.remove());
  assert.equal([file.read(), readdirSync(folder)], [null, []]);
  file.stage(CLUSTER);
  assert.ok(file.remove());
  assert.is(file.read(), null);
});

test('a damaged file is refused though what is staged is whole', ({ file }) => {
  file.stage(CLUSTER);
  writeFileSync(file.path, '');
  assert.is(refusal(file)?.[0], 'STATE_INVALID');
});

test('the rest of a write that was cut off is overwritten', async ({ file, folder }) => {
  await save(file, CLUSTER);
  const rests = ['cluster.json.new', 'cluster.json.new.part', 'cluster.json.part'];
  for (const rest of rests) writeFileSync(join(folder, rest), 'half of'.repeat(100));
  assert.equal(file.read(), CLUSTER);
  await save(file, { ...CLUSTER, timeline: 4 });
  assert.equal(file.read(), { ...CLUSTER, timeline: 4 });
  assert.equal(readdirSync(folder), ['cluster.json']);
});

test.run();
