// SPDX-License-Identifier: MIT
// `pg-gatewayctl drain` when the gateway cannot be asked for a while, crashes, or goes on in
// another process: it succeeds only if nobody was left.

import type { StatusDocument } from '#src/control/documents.js';
import { statusDocument } from '#src/control/status-document.js';
import { Child } from '../helpers/child.js';
import type { Ended } from '../helpers/child.js';
import { ControlledGateway, CTL, runCtl } from '../helpers/ctl.js';
import { FakeControl } from '../helpers/fake-control.js';
import type { ControlReply } from '../helpers/fake-control.js';
import { KeptGateway } from '../helpers/kept-gateway.js';
import { temporaryFolder } from '../helpers/paths.js';
import { PgSession } from '../helpers/pg-session.js';
import { createCluster } from '../helpers/postgres.js';
import type { Cluster } from '../helpers/postgres.js';
import { statusInput } from '../helpers/status-input.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('control drain');
let cluster: Cluster;

test.before(async () => {
  cluster = await createCluster(0);
});

test.after(async () => {
  await cluster.close();
});

/** What a gateway that drains says of itself; its pid is that of every process of a container. */
function draining(sessions: number, change: Partial<StatusDocument> = {}): ControlReply {
  const drain = { since: 0, until: 1_060_000, exits: true };
  const status = statusDocument(statusInput({ pid: 1, drain, keepsSessions: false }));
  return { document: { ...status, clients: { ...status.clients, sessions }, ...change } };
}

const BUSY: ControlReply = { status: 503, document: { error: { code: 'CONTROL_BUSY', message: 'not now' } } };

/** Drains a gateway that answers each look as told; how it ends, and how many looks were taken. */
async function drainOf(
  replies: readonly ControlReply[],
  ...args: readonly string[]
): Promise<Pick<Ended, 'status' | 'stdout'> & { readonly looks: number }> {
  let looks = 0;
  const control = await FakeControl.start((asked) => {
    if (asked === 'POST /v1/drain') {
      return { document: { since: '2026-11-30T12:00:00.000Z', until: '2026-11-30T12:01:00.000Z', exits: true } };
    }
    if (asked !== 'GET /v1/status') return 'break';
    looks += 1;
    return replies[looks - 1] ?? draining(1);
  });
  try {
    const { status, stdout } = await runCtl(control.socket, ['drain', ...args]);
    return { status, stdout, looks };
  } finally {
    await control.close();
  }
}

test('a gateway that breaks connections, is busy or stands still is asked again', async () => {
  const stay = await drainOf([draining(1), 'break', BUSY, 'silence', 'break', draining(1), draining(0)], '--stay');
  assert.equal(stay, { status: 0, stdout: 'All sessions have ended.\n', looks: 7 });
  const never: ControlReply[] = Array.from({ length: 1000 }, () => 'break');
  const { status, looks } = await drainOf([draining(1), ...never], '--stay', '--timeout', '0');
  assert.is(status, 1);
  assert.is(looks, 1);
  const late = await drainOf(never, '--stay', '--timeout', '0');
  assert.is(late.status, 3);
  assert.is(late.stdout, '');
});

test('another process with the pid of before is another process', async () => {
  const next = draining(0, { drain: null });
  assert.equal(await drainOf([draining(2), 'break', next]), {
    status: 1,
    stdout: 'The gateway ended with 2 sessions: they ended with it.\n',
    looks: 3,
  });
  assert.equal(await drainOf([draining(2), draining(0), 'break', next]), {
    status: 0,
    stdout: 'All sessions have ended.\n',
    looks: 4,
  });
});

test('a gateway that ends before it was seen is not taken for a drained one', async () => {
  assert.equal(await drainOf(['gone'], '--json'), {
    status: 1,
    stdout: `${JSON.stringify({ drained: false, left: null, ended: true, kept: null }, null, 2)}\n`,
    looks: 1,
  });
});

/** Begins a drain, and waits until it has seen the one session that there is. */
async function drainWithSession(socket: string, ...args: readonly string[]): Promise<Child> {
  const drain = new Child([process.execPath, CTL, '--socket', socket, 'drain', ...args]);
  await drain.output('the session to be seen', (_, stderr) => (stderr.includes(': 1 session\n') ? true : undefined));
  return drain;
}

test('a crash cuts sessions, and is no success', async () => {
  const controlled = await ControlledGateway.start({ candidates: [cluster.primary.candidate] });
  try {
    const session = await PgSession.open(controlled.gateway.clients);
    const drains = await Promise.all([
      drainWithSession(controlled.socket, '--timeout', '60'),
      drainWithSession(controlled.socket, '--timeout', '60', '--stay'),
    ]);
    controlled.gateway.kill('SIGKILL');
    for (const drain of drains) {
      const { status, stdout } = await drain.ended;
      assert.equal([status, stdout], [1, 'The gateway ended with 1 session: they ended with it.\n']);
    }
    session.close();
  } finally {
    await controlled.close();
  }
});

test('sessions that go on in the next process are told', async () => {
  const folder = await temporaryFolder();
  const socket = `${folder.path}/c.sock`;
  const kept = await KeptGateway.start({ candidates: [cluster.primary.candidate], env: { CONTROL_SOCKET: socket } });
  try {
    const session = await PgSession.open(kept.clients);
    const drain = await drainWithSession(socket, '--timeout', '60');
    await kept.restart('SIGKILL');
    const { status, stdout } = await drain.ended;
    assert.equal([status, stdout], [1, 'The gateway ended with 1 session: 1 kept for the next process.\n']);
    assert.equal(await session.query('SELECT 1'), ['1']);

    // Its time is over, and it ends by itself.
    const late = await drainWithSession(socket, '--timeout', '1');
    await kept.next();
    const over = await late.ended;
    assert.equal([over.status, over.stdout], [1, stdout]);
    assert.equal(await session.query('SELECT 1'), ['1']);
    session.close();
  } finally {
    await kept.close();
    await folder.close();
  }
});

test.run();
