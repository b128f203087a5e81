// SPDX-License-Identifier: MIT
// `pg-gatewayctl top` in a terminal: what is on the screen, and that it is as before afterwards.

import { statusDocument } from '#src/control/status-document.js';
import { ControlledGateway, CTL, runCtl } from '../helpers/ctl.js';
import { FakeControl } from '../helpers/fake-control.js';
import { PgSession } from '../helpers/pg-session.js';
import { createCluster } from '../helpers/postgres.js';
import type { Cluster } from '../helpers/postgres.js';
import { childrenOf } from '../helpers/processes.js';
import { statusInput } from '../helpers/status-input.js';
import { assert, suite } from '../helpers/suite.js';
import { Tmux } from '../helpers/tmux.js';
import { eventually, timed } from '../helpers/wait.js';

const test = suite('control top');
/** After so long a question is given up: src/ctl/client.ts. */
const GIVEN_UP_MS = 5000;
let cluster: Cluster;
let controlled: ControlledGateway;

test.before(async () => {
  cluster = await createCluster(0);
  controlled = await ControlledGateway.start({ candidates: [cluster.primary.candidate] });
});

test.after(async () => {
  await controlled.close();
  await cluster.close();
});

/** `top`, and then a shell that tells how it has ended, and waits. */
async function inTerminal(use: (tmux: Tmux) => Promise<void>, socket = controlled.socket): Promise<void> {
  const top = `'${process.execPath}' '${CTL}' --socket '${socket}' top --interval 0.2`;
  const tmux = await Tmux.start(`echo before; ${top}; echo "ended with $?"; stty -a | grep -o ' echo '; cat`);
  try {
    await tmux.shows('the first screen', (lines) => lines[0]?.startsWith('OK  pg-gateway 0.1.0, up ') === true);
    await use(tmux);
  } finally {
    await tmux.close();
  }
}

async function programIn(tmux: Tmux): Promise<number> {
  const [pid] = childrenOf(Number(await tmux.state('#{pane_pid}')));
  assert.ok(pid);
  return pid;
}

/** The terminal is as it was: its text, its cursor, its echo. */
async function isRestored(tmux: Tmux): Promise<void> {
  const lines = await tmux.shows('the shell again', (screen) => screen.some((line) => line.includes('echo')));
  assert.equal(
    lines.filter((line) => line !== '').map((line) => line.trim()),
    ['before', 'ended with 0', 'echo'],
  );
  assert.is(await tmux.state('#{alternate_on} #{cursor_flag} #{wrap_flag}'), '0 1 1');
}

test('it shows servers and sessions, follows them, and q restores the terminal', async () => {
  const session = await PgSession.open(controlled.gateway.clients);
  await inTerminal(async (tmux) => {
    assert.is(await tmux.state('#{alternate_on} #{cursor_flag}'), '1 0');
    const [one] = (await controlled.sessions()).sessions;
    assert.ok(one);
    const screen = await tmux.shows(
      'the session',
      (lines) => lines.some((line) => line.includes(`:${one.client_port} `)) && lines[2]?.includes('send -') === false,
    );
    assert.is(screen[1], `primary ${cluster.primary.candidate}, timeline 1`);
    assert.match(screen[2] ?? '', /^1 session, 0 waiting; clients send \d/u);
    assert.match(screen.at(-1) ?? '', /^q quit {3}s sort \(by rate\)/u);
    assert.ok(screen.length <= 24);

    await tmux.keys('s');
    await tmux.shows('the other order', (lines) => lines.at(-1)?.includes('(by age)') === true);
    await tmux.resize(60, 12);
    await tmux.shows(
      'the keys in the last row',
      (lines) => lines.length === 12 && lines[11]?.startsWith('q quit') === true,
    );
    session.close();
    await tmux.shows('the session gone', (lines) => lines.some((line) => line.startsWith('0 sessions, 0 waiting')));
    await tmux.keys('q');
    await isRestored(tmux);
  });
});

for (const name of ['SIGTERM', 'SIGHUP', 'SIGINT'] as const) {
  test(`${name} restores the terminal`, async () => {
    await inTerminal(async (tmux) => {
      process.kill(await programIn(tmux), name);
      await isRestored(tmux);
    });
  });
}

for (const how of ['q', 'SIGTERM', 'SIGHUP'] as const) {
  test(`${how} while the gateway does not answer: it ends at once, and draws no more`, async () => {
    let asked = 0;
    // The first look has its two answers.
    const control = await FakeControl.start((question) => {
      asked += 1;
      if (asked > 2) return 'silence';
      const status = statusDocument(statusInput({ version: '0.1.0' }));
      return { document: question === 'GET /v1/status' ? status : { matching: 0, sessions: [] } };
    });
    try {
      await inTerminal(async (tmux) => {
        await eventually('the second look', () => control.unanswered === 2);
        if (how === 'q') await tmux.keys('q');
        else process.kill(await programIn(tmux), how);
        // Not only when the question would be given up.
        assert.ok((await timed(() => isRestored(tmux))) < GIVEN_UP_MS - 1000);
        await eventually('the connections to be closed', () => control.unanswered === 0);
        assert.is(asked, 4);
      }, control.socket);
    } finally {
      await control.close();
    }
  });
}

test('while the gateway cannot be asked the last picture stays, and says so', async () => {
  const other = await ControlledGateway.start({ candidates: [cluster.primary.candidate] });
  const top = `'${process.execPath}' '${CTL}' --socket '${other.socket}' top --interval 0.2`;
  const tmux = await Tmux.start(`${top}; cat`);
  try {
    await tmux.shows('the first screen', (lines) => lines[0]?.startsWith('OK ') === true);
    await other.gateway.stop();
    const screen = await tmux.shows('the trouble', (lines) => lines[3]?.startsWith('cannot ask the gateway') === true);
    assert.match(screen[0] ?? '', /^OK /u);
    await tmux.keys('C-c');
    await eventually('the end', async () => (await tmux.state('#{alternate_on}')) === '0');
  } finally {
    await tmux.close();
    await other.close();
  }
});

test('without a terminal it says so', async () => {
  const { status, stderr } = await runCtl(controlled.socket, ['top']);
  assert.is(status, 64);
  assert.match(stderr, /USAGE: top: needs a terminal/u);
});

test.run();
