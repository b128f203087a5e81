// SPDX-License-Identifier: MIT
// The control socket itself: its file, what a bad client can do, and its end.

import { once } from 'node:events';
import { existsSync, lstatSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type { Desk } from '#src/control/api.js';
import { startControl } from '#src/control/server.js';
import type { ControlListener } from '#src/control/server.js';
import { GatewayError } from '#src/errors.js';
import { createLogger } from '#src/log.js';
import { run } from '../helpers/child.js';
import { assert, suite } from '../helpers/suite.js';
import { within } from '../helpers/wait.js';

interface Context {
  folder: string;
  path: string;
  log: string[];
  open: ControlListener[];
}

const test = suite<Context>('control socket');

test.before.each((context) => {
  context.folder = mkdtempSync(join(tmpdir(), 'pggw-'));
  context.path = join(context.folder, 'c.sock');
  context.log = [];
  context.open = [];
});
test.after.each(async ({ folder, open }) => {
  for (const listener of open) await listener.close();
  rmSync(folder, { recursive: true });
});

/** Answers `version` and fails at `status`; nobody asks it anything else. */
const desk = {
  version: () => ({ version: '1', node: 'v', pid: 1 }),
  status: () => {
    throw new TypeError('a fault of ours');
  },
} as unknown as Desk;

async function start(context: Context, path: string | undefined = context.path): Promise<ControlListener> {
  const logger = createLogger({ level: 'debug', journal: true, write: (line) => context.log.push(line) });
  const listener = await startControl({ fds: [], path, desk, logger, closeTimeoutMs: 300 });
  context.open.push(listener);
  return listener;
}

async function ask(path: string, target: string, method = 'GET', body?: string): Promise<readonly [number, unknown]> {
  const sent = request({ socketPath: path, path: target, method, agent: false, timeout: 10_000 }).end(body);
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  let text = '';
  response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  await once(response, 'end');
  return [response.statusCode ?? 0, JSON.parse(text)];
}

async function raw(path: string, bytes: string): Promise<string> {
  const socket = connect(path);
  let text = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  socket.on('error', () => undefined);
  socket.write(bytes);
  await within(20_000, 'the end of the connection', once(socket, 'close'));
  return text;
}

test('its file lets the owner and the group in, and goes with it', async (context) => {
  const listener = await start(context);
  assert.equal(listener.addresses, [context.path]);
  assert.is(lstatSync(context.path).mode & 0o777, 0o660);
  assert.equal(await ask(context.path, '/v1/version'), [200, { version: '1', node: 'v', pid: 1 }]);
  await listener.close();
  await listener.close();
  assert.not.ok(existsSync(context.path));
});

test('off is off', async (context) => {
  const logger = createLogger({ level: 'debug', write: () => undefined });
  const listener = await startControl({ fds: [], path: undefined, desk, logger, closeTimeoutMs: 300 });
  context.open.push(listener);
  assert.equal(listener.addresses, []);
});

test('what a killed process has left is taken away; what somebody uses, or is no socket, is not', async (context) => {
  const program = `require('net').createServer().listen(${JSON.stringify(context.path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  assert.is((await run([process.execPath, '-e', program])).signal, 'SIGKILL');
  assert.ok(existsSync(context.path));
  await start(context);
  assert.is((await ask(context.path, '/v1/version'))[0], 200);

  const refused = async (path: string): Promise<string> => {
    try {
      await start(context, path);
    } catch (error) {
      if (error instanceof GatewayError) return `${error.code}: ${error.message}`;
    }
    return 'it listens';
  };
  assert.match(await refused(context.path), /^LISTEN_FAILED: cannot serve administrators on .*EADDRINUSE/u);
  const file = join(context.folder, 'file');
  writeFileSync(file, 'precious');
  assert.match(await refused(file), /EADDRINUSE/u);
  assert.ok(lstatSync(file).isFile());
  assert.match(await refused(join(context.folder, 'none', 'x')), /^LISTEN_FAILED: .*(?:EACCES|ENOENT)/u);
});

test('a fault of ours is one line in the log, and a document for the asker', async (context) => {
  await start(context);
  for (let count = 0; count < 3; count += 1) {
    const [status, document] = await ask(context.path, '/v1/status');
    assert.is(status, 500);
    assert.equal(document, { error: { code: 'INTERNAL', message: 'a fault of the gateway: the log has it' } });
  }
  assert.is(context.log.length, 1);
  assert.match(context.log[0] ?? '', /a fault of ours/u);
});

test('what is too long, or nonsense, harms nobody', async (context) => {
  await start(context);
  const [status, document] = await ask(context.path, '/v1/kill', 'POST', 'x'.repeat(70_000));
  assert.equal(
    [status, document],
    [413, { error: { code: 'CONTROL_REQUEST', message: 'at most 65536 bytes expected' } }],
  );
  assert.match(await raw(context.path, 'nonsense\r\n\r\n'), /^HTTP\/1\.1 400 /u);
  assert.match(
    await raw(context.path, `GET /v1/version HTTP/1.1\r\nX: ${'x'.repeat(9000)}\r\n\r\n`),
    /^HTTP\/1\.1 431 /u,
  );
  const half = connect(context.path);
  await once(half, 'connect');
  half.write('POST /v1/hold HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{');
  half.destroy();
  assert.is((await ask(context.path, '/v1/version'))[0], 200);
  assert.equal(context.log, []);
});

test('more connections than there may be are closed, and the end waits for nobody', async (context) => {
  const listener = await start(context);
  const sockets = Array.from({ length: 30 }, () => connect(context.path));
  const closed = sockets.map(
    (socket) => new Promise((resolve) => socket.on('error', () => undefined).once('close', resolve)),
  );
  await within(10_000, 'some to be closed', Promise.race(closed));
  await within(5000, 'the end', listener.close());
  await within(5000, 'the end of all', Promise.all(closed));
});

test.run();
