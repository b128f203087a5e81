// SPDX-License-Identifier: MIT

import { spawn } from 'node:child_process';
import dns from 'node:dns/promises';
import { once } from 'node:events';
import { existsSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { request, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { syncBuiltinESMExports } from 'node:module';
import { connect, createServer, Server, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GatewayError } from '#src/errors.js';
import { startHttp, type HttpListener, type HttpOptions } from '#src/http.js';
import { createLogger } from '#src/log.js';
import { assert, suite } from '../helpers/suite.js';

interface Context {
  log: string[];
  open: { close(): Promise<void> }[];
}

const test = suite<Context>('http', { log: [], open: [] });
const HTTP_MODULE = new URL('../../../dist/http.js', import.meta.url).href;
const LOOPBACK = { host: '127.0.0.1', port: 0 };

test.before.each((context) => {
  context.log = [];
  context.open = [];
});
test.after.each(async (context) => {
  for (const listener of context.open) await listener.close();
});

async function start(context: Context, options: Partial<HttpOptions> = {}): Promise<HttpListener> {
  const listener = await startHttp({
    listen: LOOPBACK,
    render: () => Promise.resolve('a_metric 1\n'),
    contentType: 'text/plain; version=0.0.4; charset=utf-8',
    readiness: () => ({ ready: true, reason: 'primary is a:5432' }),
    logger: createLogger({ level: 'debug', journal: true, write: (line) => context.log.push(line.trimEnd()) }),
    ...options,
  });
  context.open.push(listener);
  return listener;
}

interface Reply {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
}

async function fetchFrom(address: string, path: string, method = 'GET'): Promise<Reply> {
  const where = address.startsWith('/') ? { socketPath: address } : hostAndPort(address);
  const sent = request({ ...where, path, method, agent: false, timeout: 10_000 }).end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  let body = '';
  response.setEncoding('utf8').on('data', (chunk: string) => (body += chunk));
  await once(response, 'end');
  return { status: response.statusCode ?? 0, headers: response.headers, body };
}

function hostAndPort(address: string): { host: string; port: number } {
  const [, host = '', port = ''] = /^\[?(.*?)\]?:(\d+)$/.exec(address) ?? [];
  return { host: host === '::' ? '::1' : host, port: Number(port) };
}

function only(listener: HttpListener): string {
  assert.is(listener.addresses.length, 1);
  return listener.addresses[0] ?? '';
}

async function codeAndMessage(run: Promise<unknown>): Promise<string> {
  try {
    await run;
  } catch (error) {
    if (error instanceof GatewayError) return `${error.code}: ${error.message}`;
    throw error;
  }
  return 'no error';
}

const ROUTES: readonly (readonly [method: string, target: string, status: number, body: string])[] = [
  ['GET', '/metrics', 200, 'a_metric 1\n'],
  ['GET', '/metrics?name[]=x', 200, 'a_metric 1\n'],
  ['GET', 'http://gateway:9090/metrics', 200, 'a_metric 1\n'],
  ['HEAD', '/metrics', 200, ''],
  ['GET', '/healthz', 200, 'ok\n'],
  ['HEAD', '/healthz', 200, ''],
  ['GET', '/readyz', 200, 'primary is a:5432\n'],
  ['GET', '/', 404, 'not found\n'],
  ['GET', '/metrics/', 404, 'not found\n'],
  ['GET', '/METRICS', 404, 'not found\n'],
  ['GET', '//metrics', 404, 'not found\n'],
  ['GET', '/x/../metrics', 404, 'not found\n'],
  ['POST', '/x', 404, 'not found\n'],
  ['POST', '/metrics', 405, 'method not allowed\n'],
  ['OPTIONS', '/readyz', 405, 'method not allowed\n'],
  ['DELETE', '/healthz', 405, 'method not allowed\n'],
];

for (const [method, target, status, body] of ROUTES) {
  test(`${method} ${target} -> ${status.toString()}`, async (context) => {
    const reply = await fetchFrom(only(await start(context)), target, method);
    assert.is(reply.status, status);
    assert.is(reply.body, body);
    const length = method === 'HEAD' ? (target === '/metrics' ? 11 : 3) : Buffer.byteLength(body);
    assert.is(reply.headers['content-length'], length.toString());
    assert.is(reply.headers['cache-control'], 'no-store');
    assert.is(reply.headers['x-content-type-options'], 'nosniff');
    assert.is(reply.headers.allow, status === 405 ? 'GET, HEAD' : undefined);
    assert.match(
      reply.headers['content-type'] ?? '',
      status === 200 && target.includes('metrics') ? /0\.0\.4/ : /^text/,
    );
  });
}

const PAGE = { body: '<!DOCTYPE html>\n', headers: { 'Content-Security-Policy': "default-src 'none'" } };

test('the page is there for GET and HEAD, with what it is sent with, if there is one', async (context) => {
  const address = only(await start(context, { page: () => PAGE }));
  for (const method of ['GET', 'HEAD']) {
    const { status, body, headers } = await fetchFrom(address, '/?x', method);
    assert.equal([status, body], [200, method === 'GET' ? PAGE.body : '']);
    assert.is(headers['content-type'], 'text/html; charset=utf-8');
    assert.is(headers['content-security-policy'], "default-src 'none'");
    assert.is(headers['cache-control'], 'no-store');
    assert.is(headers['x-content-type-options'], 'nosniff');
  }
  assert.is((await fetchFrom(address, '/', 'POST')).status, 405);
  assert.is((await fetchFrom(address, '//')).status, 404);
});

test('a page that fails is 500 and one log line, and the rest goes on', async (context) => {
  const page = (): never => {
    throw new Error('no status');
  };
  const address = only(await start(context, { page }));
  for (let i = 0; i < 3; i += 1) assert.is((await fetchFrom(address, '/')).status, 500);
  assert.equal(context.log, ['<4>metrics: the status page could not be rendered reason="Error: no status"']);
  assert.is((await fetchFrom(address, '/metrics')).status, 200);
});

test('readyz: 503 and one line without a primary', async (context) => {
  const readiness = () => ({ ready: false, reason: 'no primary:\r\nall are standbys' });
  const reply = await fetchFrom(only(await start(context, { readiness })), '/readyz');
  assert.is(reply.status, 503);
  assert.is(reply.body, 'no primary: all are standbys\n');
});

test('scrapes that come together are rendered once, later ones anew', async (context) => {
  let renders = 0;
  let finish: (text: string) => void = () => undefined;
  const render = () => {
    renders += 1;
    return new Promise<string>((resolve) => (finish = resolve));
  };
  const address = only(await start(context, { render }));
  const both = [fetchFrom(address, '/metrics'), fetchFrom(address, '/metrics')];
  while (renders === 0) await fetchFrom(address, '/healthz');
  for (let i = 0; i < 20; i += 1) await fetchFrom(address, '/healthz'); // the second scrape has surely arrived
  finish('first');
  assert.equal(
    (await Promise.all(both)).map(({ body }) => body),
    ['first', 'first'],
  );
  assert.is(renders, 1);
  const third = fetchFrom(address, '/metrics');
  while (renders === 1) await fetchFrom(address, '/healthz');
  finish('second');
  assert.is((await third).body, 'second');
});

test('a render that fails is 500 and one log line, and the next may succeed', async (context) => {
  let fail = true;
  const render = () => {
    if (fail) throw new Error('no statistics');
    return Promise.resolve('fine\n');
  };
  const address = only(await start(context, { render }));
  for (let i = 0; i < 3; i += 1) assert.is((await fetchFrom(address, '/metrics')).status, 500);
  assert.equal(context.log, ['<4>metrics: the metrics could not be rendered reason="Error: no statistics"']);
  fail = false;
  assert.is((await fetchFrom(address, '/metrics')).body, 'fine\n');
});

test('a readiness that fails breaks one connection, not the process', async (context) => {
  const readiness = () => {
    throw new Error('no verdict');
  };
  const address = only(await start(context, { readiness }));
  await fetchFrom(address, '/readyz').then(
    () => assert.unreachable('no answer was expected'),
    () => undefined,
  );
  assert.match(context.log.join(), /could not be answered/);
  assert.is((await fetchFrom(address, '/healthz')).status, 200);
});

async function rawReply(address: string, text: string): Promise<string> {
  const socket = connect(hostAndPort(address));
  let reply = '';
  socket.setEncoding('latin1').on('data', (chunk: string) => (reply += chunk));
  socket.on('error', () => undefined); // a reset after the answer is fine
  socket.setTimeout(10_000, () => socket.destroy());
  socket.write(text);
  await once(socket, 'close');
  return reply;
}

test('headers are limited to 8 KiB, nonsense is refused, and the listener lives on', async (context) => {
  const address = only(await start(context));
  const big = `GET /healthz HTTP/1.1\r\nHost: x\r\nX: ${'y'.repeat(9000)}\r\n\r\n`;
  assert.match(await rawReply(address, big), /^HTTP\/1\.1 431 /);
  assert.match(await rawReply(address, 'nonsense\r\n\r\n'), /^HTTP\/1\.1 400 /);
  assert.is((await fetchFrom(address, '/healthz')).status, 200);
});

test('at most 64 connections', async (context) => {
  const { host, port } = hostAndPort(only(await start(context)));
  const sockets: Socket[] = [];
  for (let i = 0; i < 64; i += 1) {
    const socket = connect(port, host).on('error', () => undefined);
    await once(socket, 'connect');
    sockets.push(socket);
  }
  const extra = connect(port, host).on('error', () => undefined);
  await once(extra, 'close'); // hangs if it were served
  for (const socket of sockets) assert.not.ok(socket.destroyed);
  for (const socket of sockets) socket.destroy();
});

test('listening: :: serves IPv6 and IPv4', async (context) => {
  const address = only(await start(context, { listen: { host: '::', port: 0 } }));
  const { port } = hostAndPort(address);
  assert.is((await fetchFrom(`127.0.0.1:${port.toString()}`, '/healthz')).status, 200);
  if (address.startsWith('[::]')) assert.is((await fetchFrom(address, '/healthz')).status, 200);
});

for (const code of ['EAFNOSUPPORT', 'EADDRNOTAVAIL']) {
  test(`listening: :: falls back to 0.0.0.0 on ${code}`, async (context) => {
    // eslint-disable-next-line @typescript-eslint/unbound-method -- it is called with its server below
    const { listen } = Server.prototype;
    const without6 = function (this: Server, where: { host?: string }, done: () => void): Server {
      if (where.host !== '::') return listen.call(this, where, done);
      queueMicrotask(() => this.emit('error', Object.assign(new Error('listen'), { code })));
      return this;
    };
    Server.prototype.listen = without6 as typeof listen;
    try {
      const address = only(await start(context, { listen: { host: '', port: 0 } }));
      assert.match(address, /^0\.0\.0\.0:\d+$/);
      assert.is((await fetchFrom(address, '/healthz')).status, 200);
    } finally {
      Server.prototype.listen = listen;
    }
  });
}

test('listening: a name is bound on every address it has', async (context) => {
  const listener = await start(context, { listen: { host: 'localhost', port: 0 } });
  assert.ok(listener.addresses.length >= 1);
  for (const address of listener.addresses) assert.is((await fetchFrom(address, '/healthz')).status, 200);
});

test('listening: a free port that is taken on the next address is let go', async (context) => {
  const { lookup } = dns;
  // eslint-disable-next-line @typescript-eslint/unbound-method -- it is called with its server below
  const { listen } = Server.prototype;
  const asked: number[] = [];
  const takenOnce = function (this: Server, where: { host?: string; port?: number }, done: () => void): Server {
    if (where.host !== '127.0.0.2') return listen.call(this, where, done);
    asked.push(where.port ?? 0);
    if (asked.length > 1) return listen.call(this, where, done);
    queueMicrotask(() => this.emit('error', Object.assign(new Error('listen'), { code: 'EADDRINUSE' })));
    return this;
  };
  const addresses = ['127.0.0.1', '127.0.0.2'].map((address) => ({ address, family: 4 }));
  Object.assign(dns, { lookup: () => Promise.resolve(addresses) });
  syncBuiltinESMExports();
  Server.prototype.listen = takenOnce as typeof listen;
  try {
    const listener = await start(context, { listen: { host: 'two-addresses', port: 0 } });
    const [first = 0, second = 0] = asked;
    assert.equal(listener.addresses, [`127.0.0.1:${second}`, `127.0.0.2:${second}`]);
    for (const address of listener.addresses) assert.is((await fetchFrom(address, '/healthz')).status, 200);
    if (first !== second) {
      const refused = await once(connect(first, '127.0.0.1'), 'connect').catch((error: unknown) => error);
      assert.is(refused instanceof Error && 'code' in refused && refused.code, 'ECONNREFUSED');
    }
  } finally {
    Server.prototype.listen = listen;
    Object.assign(dns, { lookup });
    syncBuiltinESMExports();
  }
});

test('listening: what fails names the address and the reason', async (context) => {
  const taken = only(await start(context));
  const { port } = hostAndPort(taken);
  assert.is(
    await codeAndMessage(start(context, { listen: { host: '127.0.0.1', port } })),
    `LISTEN_FAILED: cannot serve metrics on ${taken}: EADDRINUSE (address already in use)`,
  );
  assert.is(
    await codeAndMessage(start(context, { listen: { host: '2001:db8::1', port: 9 } })),
    'LISTEN_FAILED: cannot serve metrics on [2001:db8::1]:9: EADDRNOTAVAIL (address not available)',
  );
  assert.match(
    await codeAndMessage(start(context, { listen: { host: 'no-such-host.invalid', port: 0 } })),
    /^LISTEN_FAILED: cannot serve metrics on the name no-such-host\.invalid: /,
  );
  assert.match(
    await codeAndMessage(start(context, { listen: { fds: [1000] } })),
    /^LISTEN_FAILED: cannot serve metrics on descriptor 1000: E/,
  );
});

/** Serves, in a process of its own, on these sockets as descriptors from 3 on; ends when stdin ends. */
async function serveInChild(servers: readonly Server[]): Promise<{ addresses: unknown; end(): Promise<unknown> }> {
  const program = `
    import { startHttp } from ${JSON.stringify(HTTP_MODULE)};
    const fds = ${JSON.stringify(servers.map((_, index) => index + 3))};
    const listener = await startHttp({ listen: { fds }, render: async () => 'm 1\\n', contentType: 'text/plain',
      readiness: () => ({ ready: true, reason: '' }), logger: console });
    console.log(JSON.stringify(listener.addresses));
    process.stdin.on('end', () => listener.close()).resume();`;
  // The descriptor behind a server is not part of Node's public API; a test may look.
  const fds = servers.map((server) => (server as unknown as { _handle: { fd: number } })._handle.fd);
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: ['pipe', 'pipe', 2, ...fds] });
  const deadline = setTimeout(() => child.kill('SIGKILL'), 20_000);
  const closed = once(child, 'close').finally(() => {
    clearTimeout(deadline);
  });
  const { stdin, stdout } = child;
  if (stdin === null || stdout === null) throw new Error('pipes were asked for');
  const line = await new Promise<string>((resolve) => stdout.setEncoding('utf8').once('data', resolve));
  return {
    addresses: JSON.parse(line),
    end: () => {
      stdin.end();
      return closed;
    },
  };
}

test('listening: several inherited sockets, TCP and AF_UNIX; a socket file is not unlinked', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'pg-gateway-http-'));
  const [bound, path] = [join(folder, 'bound'), join(folder, 'metrics.sock')];
  const servers = [createServer().listen(0, '127.0.0.1'), createServer().listen(bound)];
  for (const server of servers) if (!server.listening) await once(server, 'listening');
  const tcp = servers[0]?.address() as AddressInfo;
  const child = await serveInChild(servers);
  // From here on only the child has them. Node unlinks the path it bound, so the file is moved away first.
  renameSync(bound, path);
  for (const server of servers) server.close();
  const address = `127.0.0.1:${tcp.port.toString()}`;
  assert.equal(child.addresses, [address, 'fd:4']);
  assert.is((await fetchFrom(address, '/metrics')).body, 'm 1\n');
  assert.is((await fetchFrom(path, '/metrics')).body, 'm 1\n');
  assert.equal(await child.end(), [0, null]);
  assert.ok(existsSync(path));
  rmSync(folder, { recursive: true });
});

test('close: idempotent, ends idle connections at once and slow ones at the deadline', async (context) => {
  const render = () => new Promise<string>(() => undefined);
  const listener = await start(context, { render, closeTimeoutMs: 200 });
  const { host, port } = hostAndPort(only(listener));
  const idle = connect(port, host);
  idle.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
  await once(idle, 'data');
  const slow = connect(port, host);
  slow.write('GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n');
  await fetchFrom(only(listener), '/healthz'); // it was accepted after the slow one
  const begun = performance.now();
  const idleClosed = once(idle.resume(), 'close');
  const slowClosed = once(slow.resume(), 'close');
  const closing = [listener.close(), listener.close()];
  await idleClosed;
  await Promise.all([...closing, slowClosed]);
  const took = performance.now() - begun;
  assert.ok(took > 150 && took < 5000, took.toString());
  await fetchFrom(only(listener), '/healthz').then(
    () => assert.unreachable('it still listens'),
    (error: unknown) => assert.match(String(error), /ECONNREFUSED/),
  );
});

test.run();
