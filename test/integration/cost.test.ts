// SPDX-License-Identifier: MIT
// What the gateway costs: descriptors, wake-ups, system calls.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { run } from '../helpers/child.js';
import { Gateway } from '../helpers/gateway.js';
import { temporaryFolder } from '../helpers/paths.js';
import { PgSession } from '../helpers/pg-session.js';
import { createCluster } from '../helpers/postgres.js';
import type { Cluster } from '../helpers/postgres.js';
import { descriptorsOf, wakeUps } from '../helpers/processes.js';
import { clientProgram } from '../helpers/psql.js';
import { assert, suite } from '../helpers/suite.js';
import { eventually, observeFor } from '../helpers/wait.js';

const IDLE_WAKE_UPS_PER_SECOND = 10;
const MEASURE_MS = 5000;

const test = suite('cost');
let cluster: Cluster;

test.before(async () => {
  cluster = await createCluster(2);
});

test.after(async () => {
  await cluster.close();
});

test('100 idle sessions hold 200 descriptors, and an idle gateway wakes at most 10 times a second', async () => {
  const gateway = await Gateway.start({
    candidates: cluster.servers.map(({ candidate }) => candidate),
    // As it comes: the default cadence.
    env: { CHECK_EVERY: undefined, NUM_THREADS: '2' },
  });
  try {
    const before = descriptorsOf(gateway.pid).length;
    const sessions = await Promise.all(Array.from({ length: 100 }, () => PgSession.open(gateway.clients)));
    // Of pipes, only those that each worker keeps for everybody.
    const idlePipes = (): number => descriptorsOf(gateway.pid).filter((what) => what.startsWith('pipe:')).length;
    const pipesBefore = idlePipes();
    await eventually('200 more descriptors', () => {
      const sockets = descriptorsOf(gateway.pid).length - before;
      return sockets >= 200 && sockets <= 200 + 2 * 2;
    });
    assert.ok(idlePipes() <= pipesBefore, 'idle sessions hold no pipe');

    const from = wakeUps(gateway.pid);
    const start = performance.now();
    await observeFor(MEASURE_MS);
    const rate = (wakeUps(gateway.pid) - from) / ((performance.now() - start) / 1000);
    assert.ok(rate <= IDLE_WAKE_UPS_PER_SECOND, `${rate.toFixed(1)} wake-ups a second`);
    for (const session of sessions) session.close();
  } finally {
    await gateway.close();
  }
});

// ptrace(2) is forbidden in some containers.
const canTrace = (await run(['strace', '-D', '-o', '/dev/null', 'true'])).status === 0;
const register = (title: string, body: () => Promise<void>): void => (canTrace ? test(title, body) : test.skip(title));
register('a message costs two splice calls and no epoll_ctl or ioctl', async () => {
  const folder = await temporaryFolder();
  const output = join(folder.path, 'calls');
  // -D: the program stays the child of the test.
  const launcher = ['strace', '-D', '-f', '-c', '-o', output, process.execPath];
  const gateway = await Gateway.start({ candidates: [cluster.primary.candidate], launcher });
  try {
    const transactions = 4 * 1000;
    const init = await clientProgram(gateway.clients, 'pgbench', ['-i', '-q']);
    assert.is(init.status, 0, init.stderr);
    const bench = await clientProgram(gateway.clients, 'pgbench', ['-n', '-S', '-c', '4', '-t', '1000']);
    assert.is(bench.status, 0, bench.stderr);
    assert.is((await gateway.stop()).status, 0);
    const calls = await eventually('the summary of strace', async () => parseSummary(await readFile(output, 'utf8')));
    // A query and its answer are two messages.
    const splices = (calls.get('splice') ?? 0) / (2 * transactions);
    assert.ok(splices >= 1.9 && splices <= 2.6, `${splices.toFixed(2)} splice calls for a message`);
    for (const call of ['epoll_ctl', 'ioctl', 'recvfrom', 'sendto', 'fcntl']) {
      const each = (calls.get(call) ?? 0) / (2 * transactions);
      assert.ok(each < 0.1, `${each.toFixed(2)} ${call} calls for a message`);
    }
  } finally {
    await gateway.close();
    await folder.close();
  }
});

/** `% time  seconds  usecs/call  calls  [errors]  syscall`; undefined before the last line has come. */
function parseSummary(text: string): ReadonlyMap<string, number> | undefined {
  if (!text.includes(' total\n')) return undefined;
  const rows = [...text.matchAll(/^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$/gm)];
  return new Map(rows.map(([, count, name = '']) => [name, Number(count)]));
}

test.run();
