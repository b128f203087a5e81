// SPDX-License-Identifier: MIT
// What a message costs in system calls.
//
// Needs strace, and a place where it may trace.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { run } from '../helpers/child.js';
import { Gateway } from '../helpers/gateway.js';
import { temporaryFolder } from '../helpers/paths.js';
import { createCluster } from '../helpers/postgres.js';
import type { Cluster } from '../helpers/postgres.js';
import { clientProgram } from '../helpers/psql.js';
import { assert, suite } from '../helpers/suite.js';
import { eventually } from '../helpers/wait.js';

const test = suite('cost');
let cluster: Cluster;

test.before(async () => {
  cluster = await createCluster(0);
});

test.after(async () => {
  await cluster.close();
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
