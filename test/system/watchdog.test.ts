// SPDX-License-Identifier: MIT
// A gateway that hangs is restarted by systemd's watchdog, whichever of its threads
// hangs, and the journal says which.

import { testFile } from '../helpers/paths.js';
import { assert, suite } from '../helpers/suite.js';
import type { Cluster } from './cluster.js';
import { bootWithGateway, mainPid, restarted, SERVICE, threads, WORKER } from './gateway-package.js';
import type { Machine } from './machine.js';

const FAULT = '/root/thread-fault.py';

const test = suite('watchdog');

let machine: Machine;
let cluster: Cluster;

test.before(async () => {
  ({ machine, cluster } = await bootWithGateway());
  await machine.copyIn(testFile('helpers/thread-fault.py'), FAULT);
  // The shipped one would only make the test long.
  await machine.write('/etc/systemd/system/pg-gateway.service.d/test.conf', '[Service]\nWatchdogSec=2\n');
  await machine.systemctl('daemon-reload');
  await machine.systemctl('start', SERVICE);
});

test.after(() => machine.close());

async function freezeAndSee(thread: number, said: RegExp): Promise<void> {
  const before = await mainPid(machine);
  const mark = await machine.mark();
  const freezer = machine.start(['python3', FAULT, 'freeze', String(thread)]);
  try {
    await freezer.output('the thread to stand still', (stdout) => /^frozen\n/.exec(stdout) ?? undefined);
    await machine.logged(/Watchdog timeout/, { unit: SERVICE, after: mark }, { deadlineMs: 30_000 });
  } finally {
    // It would keep systemd from hearing of the end (ptrace(2)).
    await freezer.close();
  }
  await restarted(machine, before);
  await machine.logged(said, { unit: SERVICE, after: mark });
  assert.is(await cluster.query('SELECT 1'), '1');
}

test('it lives longer than the watchdog lets it without a ping', async () => {
  const pid = await mainPid(machine);
  await machine.succeed(['sleep', '5']);
  assert.is(await mainPid(machine), pid);
});

test('a frozen event loop is restarted', async () => {
  await freezeAndSee(await mainPid(machine), /Failed with result 'watchdog'/);
});

test('a frozen worker thread is restarted, and the log names it', async () => {
  const [worker] = await threads(machine, WORKER);
  if (worker === undefined) throw new Error('no worker thread');
  await freezeAndSee(worker, /no heartbeat from a worker/);
});

test.run();
