// SPDX-License-Identifier: MIT
// The file that remembers the cluster: what was written comes back, and what is not
// exactly that is refused, whatever the damage.

import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
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

/** Whether this process has it open. */
function isOpen(path: string): boolean {
  return readdirSync('/proc/self/fd').some((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === path;
    } catch {
      return false; // the one of the listing itself
    }
  });
}

test('what was staged while the one before was synced does not get its name', async ({ file }) => {
  const later = { ...CLUSTER, timeline: 4 };
  file.stage(CLUSTER);
  const commit = file.commit();
  while (!isOpen(`${file.path}.new`)); // in another thread; this one goes on with the loop only
  file.stage(later);
  assert.is(await commit, false);
  assert.not.ok(existsSync(file.path));
  assert.equal(file.read(), later);
  assert.is(await file.commit(), true);
  assert.ok(existsSync(file.path));
  assert.not.ok(existsSync(`${file.path}.new`));
  assert.equal(file.read(), later);
});

test('an absent file remembers nothing', ({ file }) => {
  assert.is(file.read(), null);
  assert.is(file.remove(), false);
});

test('comes back as it went, up to the largest', ({ file, folder }) => {
  for (const cluster of [CLUSTER, { systemId: '18446744073709551615', timeline: 2 ** 32 - 1 }]) {
    file.write(cluster);
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

test('a write that fails leaves what was there', ({ file, folder }) => {
  file.write(CLUSTER);
  mkdirSync(join(folder, 'cluster.json.part'));
  assert.throws(() => {
    file.write({ ...CLUSTER, timeline: 4 });
  });
  assert.throws(() => {
    file.stage({ ...CLUSTER, timeline: 4 });
  });
  assert.equal(file.read(), CLUSTER);
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
  file.stage({ ...CLUSTER, timeline: 5 });
  file.write({ ...CLUSTER, timeline: 6 });
  assert.equal([file.read(), readdirSync(folder)], [{ ...CLUSTER, timeline: 6 }, ['cluster.json']]);
});

test('what is staged counts only for more than there is, and is forgotten with it', ({ file, folder }) => {
  file.write(CLUSTER);
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

test('the rest of a write that was cut off is overwritten', ({ file, folder }) => {
  file.write(CLUSTER);
  for (const rest of ['cluster.json.new', 'cluster.json.part']) writeFileSync(join(folder, rest), 'half of');
  assert.equal(file.read(), CLUSTER);
  file.write({ ...CLUSTER, timeline: 4 });
  assert.equal(file.read(), { ...CLUSTER, timeline: 4 });
  assert.equal(readdirSync(folder), ['cluster.json']);
});

test.run();
