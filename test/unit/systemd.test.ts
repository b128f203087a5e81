// SPDX-License-Identifier: MIT

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { GatewayError } from '#src/errors.js';
import { createLogger, type Logger } from '#src/log.js';
import { createNotifier, inheritedSockets, type InheritedSockets, type SdNotify } from '#src/systemd.js';
import { FakeTimers } from '../helpers/fake-timers.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('systemd');
const MODULES = new URL('../../../dist/', import.meta.url);

// ---- sockets handed over ----------------------------------------------------

const PID = 4711;

function errorOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    assert.instance(error, GatewayError);
    if (error instanceof GatewayError) return `${error.code}: ${error.message}`;
  }
  return 'no error';
}

const NOTHING: InheritedSockets = { clients: [], metrics: [], control: [], stored: [] };
const NOT_HANDED_OVER: readonly (readonly [what: string, env: NodeJS.ProcessEnv])[] = [
  ['no variables', {}],
  ['another process', { LISTEN_PID: '1', LISTEN_FDS: '2', LISTEN_FDNAMES: 'primary:metrics' }],
  ['another process, nonsense for us', { LISTEN_PID: '1', LISTEN_FDS: 'x' }],
  ['no count', { LISTEN_PID: '4711' }],
  ['count without pid', { LISTEN_FDS: '1' }],
  ['count 0', { LISTEN_PID: '4711', LISTEN_FDS: '0' }],
  ['count 0 and empty names', { LISTEN_PID: '4711', LISTEN_FDS: '0', LISTEN_FDNAMES: '' }],
];

for (const [what, given] of NOT_HANDED_OVER) {
  test(`sockets: none with ${what}`, () => {
    const env = { ...given, PATH: '/bin' };
    assert.equal(inheritedSockets(env, PID), NOTHING);
    assert.equal(env, { PATH: '/bin' }, 'the variables are gone');
  });
}

const MALFORMED: readonly (readonly [env: NodeJS.ProcessEnv, message: RegExp])[] = [
  [{ LISTEN_PID: 'x', LISTEN_FDS: '1' }, /^LISTEN_FDS_INVALID: LISTEN_PID="x": a whole number expected$/],
  [{ LISTEN_PID: '', LISTEN_FDS: '1' }, /LISTEN_PID="": a whole number/],
  [{ LISTEN_PID: '4711', LISTEN_FDS: '1x' }, /LISTEN_FDS="1x": a whole number/],
  [{ LISTEN_PID: '4711', LISTEN_FDS: '-1' }, /LISTEN_FDS="-1": a whole number/],
  [{ LISTEN_PID: '4711', LISTEN_FDS: '100000' }, /LISTEN_FDS=100000: at most 65536/],
  [{ LISTEN_PID: '4711', LISTEN_FDS: '2', LISTEN_FDNAMES: 'primary' }, /holds 1 names for the 2 sockets/],
  [{ LISTEN_PID: '4711', LISTEN_FDS: '1', LISTEN_FDNAMES: '' }, /holds 0 names for the 1 sockets/],
  [{ LISTEN_PID: '4711', LISTEN_FDS: '1', LISTEN_FDNAMES: 'a:b' }, /holds 2 names for the 1 sockets/],
  [
    { LISTEN_PID: '4711', LISTEN_FDS: '1', LISTEN_FDNAMES: 'ssh' },
    /descriptor 3 is named "ssh": one of pg-gateway.socket, primary, metrics, pg-gateway-metrics.socket, control, pg-gateway-control.socket expected/,
  ],
  [{ LISTEN_PID: '4711', LISTEN_FDS: '1', LISTEN_FDNAMES: 'unknown' }, /descriptor 3 is named "unknown"/],
];

for (const [given, message] of MALFORMED) {
  test(`sockets: refused ${JSON.stringify(given)}`, () => {
    const env = { ...given };
    assert.match(
      errorOf(() => inheritedSockets(env, PID)),
      message,
    );
    assert.equal(env, {}, 'the variables are gone all the same');
  });
}

/** Runs inheritedSockets in a process that was really given these descriptors from 3 on. */
async function inChild(fds: readonly number[], names: string | undefined): Promise<string> {
  const program = `
    import { inheritedSockets } from ${JSON.stringify(new URL('systemd.js', MODULES).href)};
    process.env.LISTEN_PID = String(process.pid);
    try { console.log(JSON.stringify(inheritedSockets(process.env, process.pid))); }
    catch (error) { console.log(error.code + ': ' + error.message); }`;
  const { LISTEN_FDNAMES: _, ...env } = process.env;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit', ...fds],
    env: { ...env, LISTEN_FDS: fds.length.toString(), ...(names === undefined ? {} : { LISTEN_FDNAMES: names }) },
  });
  return (await output(child)).trim();
}

async function output(child: ChildProcess): Promise<string> {
  let text = '';
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  const deadline = setTimeout(() => child.kill('SIGKILL'), 20_000);
  await once(child, 'close');
  clearTimeout(deadline);
  return text;
}

async function listening(): Promise<{ server: Server; fd: number }> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  // The descriptor behind a server is not part of Node's public API; a test may look.
  const handle = (server as unknown as { _handle: { fd: number } })._handle;
  return { server, fd: handle.fd };
}

test('sockets: several of one name, told apart by name, in order', async () => {
  const { server, fd } = await listening();
  const names = 'primary:metrics:pg-gateway.socket:pg-gateway-metrics.socket:control:pg-gateway-control.socket';
  assert.is(
    await inChild([fd, fd, fd, fd, fd, fd], names),
    '{"clients":[3,5],"metrics":[4,6],"control":[7,8],"stored":[]}',
  );
  assert.is(
    await inChild([fd, fd], undefined),
    '{"clients":[3,4],"metrics":[],"control":[],"stored":[]}',
    'no names: all for clients',
  );
  server.close();
});

test('sockets: what an earlier process stored comes back in any order, by name', async () => {
  const { server, fd } = await listening();
  const names = 'lot-12-out:primary:ledger:lot-12-in';
  const stored = '[{"name":"lot-12-out","fd":3},{"name":"ledger","fd":5},{"name":"lot-12-in","fd":6}]';
  assert.is(await inChild([fd, fd, fd, fd], names), `{"clients":[4],"metrics":[],"control":[],"stored":${stored}}`);
  server.close();
});

test('sockets: a descriptor that is no socket, and one that is not open', async () => {
  const file = openSync('/dev/null', 'r');
  assert.is(
    await inChild([file], 'primary'),
    'LISTEN_FDS_INVALID: descriptor 3 (primary) was announced as a socket but is not one',
  );
  closeSync(file);
  const env = { LISTEN_PID: '4711', LISTEN_FDS: '256' };
  assert.match(
    errorOf(() => inheritedSockets(env, PID)),
    /was announced as a socket but is not/,
  );
});

// ---- notifications ----------------------------------------------------------

function recorder(): { logger: Logger; log: string[] } {
  const log: string[] = [];
  return { log, logger: createLogger({ level: 'debug', journal: true, write: (line) => log.push(line.trimEnd()) }) };
}

function fakeSd(sent: string[]): SdNotify {
  return {
    ready: () => sent.push('READY=1'),
    stopping: (pid) => sent.push(`STOPPING=1 of ${pid.toString()}`),
    watchdog: () => sent.push('WATCHDOG=1'),
    watchdogInterval: () => 3000,
    sendState: (state) => sent.push(state),
    sendStatus: (text) => sent.push(`STATUS=${text}`),
  };
}

const ENV = { NOTIFY_SOCKET: '/run/systemd/notify' };

async function fakeNotifier(sent: string[], hasRoom?: () => boolean) {
  const timers = new FakeTimers();
  const { logger, log } = recorder();
  const load = () => Promise.resolve({ default: fakeSd(sent) });
  return {
    timers,
    log,
    notifier: await createNotifier(logger, { env: ENV, load, timers, ...(hasRoom && { hasRoom }) }),
  };
}

test('notifier: each message, the pid with STOPPING, the clock with RELOADING', async () => {
  const sent: string[] = [];
  const { notifier } = await fakeNotifier(sent);
  const before = process.hrtime.bigint() / 1000n;
  notifier.starting(606_000);
  notifier.ready();
  notifier.watchdog();
  notifier.stopping();
  notifier.reloading();
  assert.equal(sent.slice(0, 4), [
    'EXTEND_TIMEOUT_USEC=606000000',
    'READY=1',
    'WATCHDOG=1',
    `STOPPING=1 of ${process.pid.toString()}`,
  ]);
  const usec = BigInt(/^RELOADING=1\nMONOTONIC_USEC=(\d+)$/.exec(sent[4] ?? '')?.[1] ?? 0);
  assert.ok(usec >= before && usec <= process.hrtime.bigint() / 1000n, 'microseconds of CLOCK_MONOTONIC');
  assert.is(notifier.watchdogIntervalMs, 3000);
});

test('notifier: a status is sent when it changed, once a second, the last one wins', async () => {
  const sent: string[] = [];
  const { notifier, timers } = await fakeNotifier(sent);
  notifier.status('a');
  notifier.status('a');
  for (let i = 0; i < 1000; i += 1) notifier.status(`b${i.toString()}`);
  assert.equal(sent, ['STATUS=a']);
  timers.advance(999);
  assert.equal(sent, ['STATUS=a']);
  timers.advance(1);
  assert.equal(sent, ['STATUS=a', 'STATUS=b999']);
  notifier.status('c');
  notifier.status('b999'); // back to what systemd shows: nothing to say
  timers.advance(5000);
  assert.equal(sent, ['STATUS=a', 'STATUS=b999']);
  notifier.status('d');
  assert.is(sent.at(-1), 'STATUS=d', 'after a quiet second at once');
});

test('notifier: a status cannot carry another assignment, and is bounded', async () => {
  const sent: string[] = [];
  const { notifier, timers } = await fakeNotifier(sent);
  notifier.status('a\nWATCHDOG=1\u0000\u2028b');
  timers.advance(1000);
  notifier.status('x'.repeat(100_000));
  assert.is(sent[0], 'STATUS=a WATCHDOG=1 b');
  assert.ok((sent[1] ?? '').length < 2000);
});

test('notifier: close drops the status that waits', async () => {
  const sent: string[] = [];
  const { notifier, timers } = await fakeNotifier(sent);
  notifier.status('a');
  notifier.status('b');
  notifier.close();
  notifier.close();
  notifier.status('c');
  timers.advance(5000);
  assert.equal(sent, ['STATUS=a']);
  assert.is(timers.pending, 0);
});

test('notifier: nothing is sent to a manager that does not read; what it must hear, it hears in the end', async () => {
  const sent: string[] = [];
  const manager = { reads: false };
  const { notifier, timers } = await fakeNotifier(sent, () => manager.reads);
  notifier.ready();
  notifier.status('a');
  notifier.watchdog();
  notifier.reloading();
  notifier.ready();
  timers.advance(60_000);
  assert.equal(sent, []);
  notifier.status('b');
  manager.reads = true;
  timers.advance(1000);
  assert.equal(
    sent.map((text) => text.replace(/\n.*/s, '')),
    ['READY=1', 'RELOADING=1', 'READY=1', 'STATUS=b'],
  );
  notifier.watchdog();
  assert.is(sent.at(-1), 'WATCHDOG=1');

  manager.reads = false;
  for (let reload = 0; reload < 1000; reload += 1) notifier.ready();
  notifier.stopping();
  manager.reads = true;
  timers.advance(100);
  assert.is(sent.length, 5 + 16, 'no more than some reloads wait');
  manager.reads = false;
  notifier.ready();
  notifier.close();
  manager.reads = true;
  timers.advance(60_000);
  assert.is(sent.length, 5 + 16);
  assert.is(timers.pending, 0);
});

test('notifier: a package that cannot be loaded is one warning, and only if systemd waits', async () => {
  const load = () => Promise.reject(new Error('Could not locate the bindings file. Tried:\n -> /a\n -> /b'));
  for (const [env, lines] of [
    [ENV, 1],
    [{}, 0],
    [{ NOTIFY_SOCKET: '' }, 0],
  ] as const) {
    const { logger, log } = recorder();
    const notifier = await createNotifier(logger, { env, load });
    notifier.starting(1000);
    notifier.ready();
    notifier.reloading();
    notifier.stopping();
    notifier.status('x');
    notifier.watchdog();
    notifier.close();
    assert.is(notifier.watchdogIntervalMs, 0);
    assert.is(log.length, lines, log.join('\n'));
  }
});

test('notifier: a send that throws is one warning', async () => {
  const { logger, log } = recorder();
  const fail = () => {
    throw new Error('no');
  };
  const load = () => Promise.resolve({ default: { ...fakeSd([]), sendStatus: fail, ready: fail } });
  const notifier = await createNotifier(logger, { env: ENV, load, timers: new FakeTimers() });
  notifier.ready();
  notifier.status('x');
  assert.equal(log, ['<4>notifying systemd failed reason=no']);
});

// Node has no AF_UNIX datagram sockets; node-gyp needs python3, so it is there wherever sd-notify can be built.
const RECEIVER = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1]); s.settimeout(20)
print("bound", flush=True)
while True:
    m = s.recv(65536).decode(); print(repr(m), flush=True)
    if m.startswith("STOPPING=1"): break
`;

const SENDER = `
import { createNotifier } from ${JSON.stringify(new URL('systemd.js', MODULES).href)};
process.env.WATCHDOG_PID = String(process.pid);
const say = (text) => console.log('log: ' + text);
const logger = { debug: say, info: say, notice: say, warning: say, err: say, setLevel: say };
const notifier = await createNotifier(logger);
console.log('interval: ' + notifier.watchdogIntervalMs);
notifier.status('primary is a:5432\\nREADY=1'); notifier.ready(); notifier.reloading(); notifier.watchdog(); notifier.stopping();
notifier.status('waits, and must not keep the process alive');
`;

async function sdNotifyIsBuilt(): Promise<boolean> {
  const { logger, log } = recorder();
  await createNotifier(logger, { env: ENV });
  return log.length === 0;
}

test('notifier: what really arrives at a notification socket', async () => {
  if (!(await sdNotifyIsBuilt())) {
    console.log('skipped: the optional package sd-notify is not built here');
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'pg-gateway-notify-'));
  const path = join(folder, 'socket');
  const receiver = spawn('python3', ['-c', RECEIVER, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    await once(receiver.stdout, 'readable'); // bound
    const received = output(receiver);
    const sender = spawn(process.execPath, ['--input-type=module', '-e', SENDER], {
      cwd: fileURLToPath(MODULES),
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, NOTIFY_SOCKET: path, WATCHDOG_USEC: '9000000' },
    });
    assert.is(await output(sender), 'interval: 9000\n');
    const lines = (await received).trim().split('\n');
    assert.is(lines[0], 'bound');
    assert.is(lines[1], String.raw`'STATUS=primary is a:5432 READY=1\n'`);
    assert.is(lines[2], `'READY=1'`);
    assert.match(lines[3] ?? '', /^'RELOADING=1\\nMONOTONIC_USEC=\d{6,}'$/);
    assert.equal(lines.slice(4), [`'WATCHDOG=1'`, `'STOPPING=1'`]);
  } finally {
    receiver.kill();
    rmSync(folder, { recursive: true });
  }
});

test.run();
