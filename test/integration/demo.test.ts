// SPDX-License-Identifier: MIT
// `npm run demo`: what it promises to whoever tries it, and that nothing of it stays.

import { chmod, readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { Child } from '../helpers/child.js';
import { temporaryFolder } from '../helpers/paths.js';
import { descendantsOf, isAlive, signal } from '../helpers/processes.js';
import { query } from '../helpers/psql.js';
import { assert, suite } from '../helpers/suite.js';
import { eventually, within } from '../helpers/wait.js';

const DEMO = fileURLToPath(new URL('../demo/main.js', import.meta.url));
const DEADLINE_MS = 60_000;
/** It promises two seconds; the machine may be busy. */
const SILENCE_MS = 4000;

const test = suite('demo');

/** What the demo makes is all in `folder`. */
async function withDemo(args: readonly string[], use: (demo: Child, folder: string) => Promise<void>): Promise<void> {
  const folder = await temporaryFolder();
  // The servers have a user of their own.
  await chmod(folder.path, 0o755);
  const demo = new Child([process.execPath, DEMO, ...args], { env: { ...process.env, TMPDIR: folder.path } });
  try {
    await use(demo, folder.path);
  } finally {
    await demo.close();
    await folder.close();
  }
}

/** Its story: writes before the failover and after it, and every row that was acknowledged is there. */
function expectStory(stdout: string): void {
  for (const when of ['before', 'after']) {
    const count = new RegExp(`^ +writes ${when} +(\\d+), `, 'm').exec(stdout)?.[1];
    assert.ok(Number(count) > 0, stdout);
  }
  for (const expected of ['killing the primary', 'promoting', 'the new primary']) assert.match(stdout, expected);
  const [, acknowledged, found] = /^ +rows +(\d+) acknowledged, (\d+) in the table$/m.exec(stdout) ?? [];
  assert.ok(Number(acknowledged) > 0 && Number(found) >= Number(acknowledged), stdout);
  assert.match(stdout, 'No acknowledged row was lost.');
}

test('it tells of writes before and after, ends with 0, and takes everything away', async () => {
  await withDemo([], async (demo, folder) => {
    const { status, stdout, stderr } = await within(DEADLINE_MS, 'the end of the demo', demo.ended);
    assert.is(status, 0, stderr);
    expectStory(stdout);
    assert.ok(demo.longestSilenceMs < SILENCE_MS, `silent for ${demo.longestSilenceMs} ms`);
    assert.equal(await readdir(folder), []);
  });
});

test('--keep leaves it running, says how to connect and how to end it, and that ends all of it', async () => {
  await withDemo(['--keep'], async (demo, folder) => {
    const { status, stdout, stderr } = await within(DEADLINE_MS, 'the demo to leave', demo.ended);
    assert.is(status, 0, stderr);
    expectStory(stdout);
    const keeper = Number(/kill (\d+)$/m.exec(stdout)?.[1]);
    assert.ok(keeper > 0, stdout);
    const processes = [keeper, ...descendantsOf(keeper)];
    try {
      const [, host = '', port] = /psql -h (\S+) -p (\d+) /.exec(stdout) ?? [];
      assert.is(await query({ host, port: Number(port) }, 'SELECT pg_is_in_recovery()'), 'f');
    } finally {
      signal(keeper, 'SIGTERM');
    }
    await eventually('all of its processes to end', () => !processes.some(isAlive));
    assert.ok(processes.length > 3, 'a gateway and two servers were among them');
    assert.equal(await readdir(folder), []);
  });
});

test('an argument that it does not know is status 64', async () => {
  await withDemo(['--forever'], async (demo) => {
    const { status, stderr } = await within(DEADLINE_MS, 'the end of the demo', demo.ended);
    assert.is(status, 64);
    assert.match(stderr, 'not understood: --forever');
  });
});

test.run();
