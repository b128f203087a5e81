// SPDX-License-Identifier: MIT
// pg-gatewayctl status: what it looks like, and what it tells of the data plane.

import { run, succeed } from '../helpers/child.js';
import { CTL, withCluster } from '../helpers/ctl.js';
import { freezeIfPermitted, threadIds } from '../helpers/freeze-thread.js';
import { descriptorsOf } from '../helpers/processes.js';
import { RawClient } from '../helpers/raw-client.js';
import { assert, suite } from '../helpers/suite.js';
import { eventually } from '../helpers/wait.js';

const test = suite('status');

test('colours are for a terminal alone, and not for one that wants none', async () => {
  await withCluster(
    {},
    async (_, controlled) => {
      assert.not.match((await controlled.ctl('status')).stdout, '\u001b');
      // pty.spawn(): the program has a terminal, whose other end is read.
      const inTerminal = 'import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))';
      const command = ['python3', '-c', inTerminal, process.execPath, CTL, '--socket', controlled.socket, 'status'];
      for (const [more, colours] of [
        [{}, true],
        [{ NO_COLOR: '1' }, false],
        [{ TERM: 'dumb' }, false],
      ] as const) {
        const { stdout } = await run(command, {
          env: { PATH: process.env['PATH'], HOME: '/', TERM: 'xterm', ...more },
        });
        assert.match(stdout, 'pg-gateway');
        assert.is(stdout.includes('\u001b[32mOK\u001b[0m'), colours, JSON.stringify(more));
      }
    },
    0,
  );
});

test('status: a worker that stands still, where no watchdog ends that, for as long as it does', async () => {
  await withCluster({ env: { NUM_THREADS: '2' } }, async (_, controlled) => {
    const stalled = async (): Promise<boolean> =>
      (await controlled.status()).problems.some((problem) =>
        /^worker [01] stands still, with 0 sessions: /.test(problem),
      );
    assert.is(await stalled(), false);
    const [, thread = 0] = threadIds(controlled.gateway.pid, /^pg-gw-worker$/);
    const frozen = await freezeIfPermitted(thread, 'that status tells of a worker that stands still');
    if (frozen === undefined) return;
    try {
      await eventually('it to be told', stalled);
      assert.is((await controlled.ctl('status')).status, 1);
    } finally {
      await frozen.thaw();
    }
    await eventually('it to be over', async () => !(await stalled()));
  });
});

test('status: descriptors that had run out, when they are there again', async () => {
  await withCluster({}, async (_, controlled) => {
    const { gateway } = controlled;
    const told = async (): Promise<boolean> =>
      (await controlled.status()).problems.some((problem) => problem.includes('descriptors or memory had run out'));
    assert.is(await told(), false);
    const limit = (soft: number): Promise<unknown> =>
      succeed(['prlimit', '--pid', String(gateway.pid), `--nofile=${soft}:`]);
    await limit(descriptorsOf(gateway.pid).length);
    const client = await RawClient.connect(gateway.clients);
    try {
      await gateway.logged('descriptors or memory have run out: clients wait or are turned away');
      await limit(1024);
      await eventually('it to be told', told);
    } finally {
      client.close();
    }
  });
});

test.run();
