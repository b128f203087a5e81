// SPDX-License-Identifier: MIT
// The files of a log-in: nobody waits for one beyond his deadline, and there is one read of each at a time.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { readPassfile } from '#src/probe/passfile.js';
import { readProbeFile } from '#src/probe/probe-file.js';
import { failureOf, probeOnce } from '../helpers/probes.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite<{ folder: string; path: string }>('files of a probe');

const FOR_EVER = new AbortController().signal;
const KEY = { host: 'db1', port: 5432, database: 'postgres', user: 'probe' };

test.before.each((context) => {
  context.folder = mkdtempSync(join(tmpdir(), 'pg-gateway-files-'));
  context.path = join(context.folder, 'file');
});
test.after.each(({ folder }) => {
  rmSync(folder, { recursive: true, force: true });
});

test('all who ask at one time share one read, and the next ones have another', async ({ path }) => {
  writeFileSync(path, 'old', { mode: 0o600 });
  const [one, other] = await Promise.all([readProbeFile(path, FOR_EVER), readProbeFile(path, FOR_EVER)]);
  assert.is(one, other);
  assert.is(one.text, 'old');
  assert.is(one.mode & 0o777, 0o600);
  writeFileSync(path, 'new');
  assert.is((await readProbeFile(path, FOR_EVER)).text, 'new');
});

test('who does not wait any longer leaves the others alone', async ({ path }) => {
  writeFileSync(path, 'text', { mode: 0o600 });
  const late = new Error('late');
  const reasonOf = (work: Promise<unknown>): Promise<unknown> => work.catch((error: unknown) => error);
  for (const read of [
    (signal: AbortSignal): Promise<unknown> => readProbeFile(path, signal),
    (signal: AbortSignal): Promise<unknown> => readPassfile(path, KEY, signal),
  ]) {
    const impatient = new AbortController();
    const [abandoned, whole] = [reasonOf(read(impatient.signal)), readProbeFile(path, FOR_EVER)];
    impatient.abort(late);
    assert.is(await abandoned, late);
    assert.is((await whole).text, 'text');
    assert.is(await reasonOf(read(impatient.signal)), late, 'before it began');
  }
});

test('what is no plain file, or far too long, is refused and not waited for', async ({ folder, path }) => {
  execFileSync('mkfifo', ['-m', '600', path]);
  for (const file of ['rootCert', 'cert', 'key'] as const) {
    const seen = await probeOnce({ port: 1 }, { tls: { mode: 'require', [file]: path } });
    assert.is(failureOf(seen), 'tls');
    assert.match(JSON.stringify(seen), 'not a plain file');
  }
  const long = join(folder, 'long');
  writeFileSync(long, '');
  truncateSync(long, 8 * 1024 * 1024 + 1);
  for (const [name, words] of [
    [folder, 'not a plain file'],
    [long, 'larger than 8 MiB'],
    [join(folder, 'none'), 'ENOENT'],
  ] as const) {
    const error: unknown = await readProbeFile(name, FOR_EVER).catch((reason: unknown) => reason);
    assert.match(String(error), words);
  }
});

test.run();
