// SPDX-License-Identifier: MIT
// What a client of the metrics listener cannot do: keep a connection by saying little or
// nothing, by sending without end or reading nothing, or be answered as a browser's
// script of another origin. By a raw client, with the limits that there are in earnest.

import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';

import { startHttp } from '#src/http.js';
import type { HttpListener } from '#src/http.js';
import { createLogger } from '#src/log.js';
import { connectionsAt } from '../helpers/processes.js';
import { assert, suite } from '../helpers/suite.js';
import { eventually } from '../helpers/wait.js';

/** As src/http.ts has them, in milliseconds; a limit is looked at every five seconds. */
const LOOK = 5000;
const HEADERS = 5000 + LOOK;
const INACTIVE = 15_000;
const KEEP_ALIVE = 5000;
const SLACK = 6000;
/** Far more than the buffers between two sockets take. */
const BIG_BYTES = 16 * 1024 * 1024;

const test = suite('limits of the metrics listener');

/** A client that says what it is told and counts what comes. */
class Raw {
  readonly socket: Socket;
  text = '';
  readonly #begun = performance.now();
  endedAfterMs: number | undefined;

  constructor(address: string) {
    this.socket = connect(portOf(address), '127.0.0.1');
    this.socket.setEncoding('latin1').on('data', (chunk: string) => (this.text += chunk));
    this.socket.on('error', () => undefined);
    this.socket.on('close', () => (this.endedAfterMs = performance.now() - this.#begun));
  }

  say(text: string): void {
    if (this.endedAfterMs === undefined) this.socket.write(text);
  }

  ended(deadlineMs: number): Promise<number> {
    return eventually('the end of the connection', () => this.endedAfterMs, { deadlineMs });
  }

  answered(pattern: RegExp, deadlineMs = 10_000): Promise<boolean> {
    return eventually(String(pattern), () => pattern.test(this.text), { deadlineMs });
  }
}

async function withListener(use: (address: string) => Promise<void>, body = 'm 1\n'): Promise<void> {
  const listener: HttpListener = await startHttp({
    listen: { host: '127.0.0.1', port: 0 },
    render: () => Promise.resolve(body),
    contentType: 'text/plain',
    readiness: () => ({ ready: true, reason: '' }),
    logger: createLogger({ level: 'err', write: () => undefined }),
  });
  try {
    await use(listener.addresses[0] ?? '');
  } finally {
    await listener.close();
  }
}

const REQUEST = 'GET /metrics HTTP/1.1\r\nHost: x\r\n';

/** Says a part again and again until it is ended. */
function drip(raw: Raw, text: string): () => void {
  const timer = setInterval(() => raw.say(text), 250);
  return () => {
    clearInterval(timer);
  };
}

test('who is slow, silent or deaf is ended, all at the same time, while others are served', async () => {
  await withListener(async (address) => {
    const silent = new Raw(address);
    const slowHeader = new Raw(address);
    slowHeader.say('GET /metrics HTTP/1.1\r\nHost: x\r\n');
    const idle = new Raw(address);
    idle.say(`${REQUEST}\r\n`.replace('/metrics', '/healthz'));
    const deaf = new Raw(address);
    deaf.socket.pause();
    deaf.say(`${REQUEST}\r\n`);
    const stop = drip(slowHeader, 'X: y\r\n');
    try {
      await Promise.all([
        slowHeader.ended(HEADERS + SLACK),
        silent.ended(INACTIVE + LOOK + SLACK),
        idle.ended(KEEP_ALIVE + LOOK + SLACK),
      ]);
      // It does not see its end before it reads; the listener is in this process. After its first period Node looks
      // whether anything has been taken meanwhile.
      await eventually('the deaf one to be ended', () => connectionsAt(process.pid, portOf(address)) === 0, {
        deadlineMs: 2 * INACTIVE + SLACK,
        everyMs: 250,
      });
      assert.match(idle.text, /^HTTP\/1\.1 200 /);
      assert.match(slowHeader.text, /^HTTP\/1\.1 408 /);
      const other = new Raw(address);
      other.say('GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
      await other.ended(5000);
      assert.match(other.text, /^HTTP\/1\.1 200 /);
    } finally {
      stop();
      for (const { socket } of [silent, slowHeader, idle, deaf]) socket.destroy();
    }
  }, 'x'.repeat(BIG_BYTES));
});

function portOf(address: string): number {
  return Number(/:(\d+)$/.exec(address)?.[1]);
}

const BODIES: readonly (readonly [what: string, head: string, status: number])[] = [
  ['a length', 'GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n', 413],
  ['chunks', 'GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n', 413],
  ['of a method that is not allowed', 'POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n', 405],
  ['for a path that is not there', 'PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n', 404],
];

for (const [what, head, status] of BODIES) {
  test(`a body is not taken: ${what}`, async () => {
    await withListener(async (address) => {
      const raw = new Raw(address);
      raw.say(`${head}\r\n`);
      const stop = drip(raw, '1\r\na\r\n');
      try {
        await raw.ended(3000); // long before any time limit
        assert.match(raw.text, new RegExp(`^HTTP/1\\.1 ${status.toString()} `));
        assert.match(raw.text, /^Connection: close\r$/m);
      } finally {
        stop();
      }
    });
  });
}

const REFUSED: readonly (readonly [what: string, request: string, status: number])[] = [
  ['a header of more than 8 KiB', `${REQUEST}X: ${'y'.repeat(9000)}\r\n\r\n`, 431],
  ['many headers of more than 8 KiB', `${REQUEST}${'X-Some: thing\r\n'.repeat(1000)}\r\n`, 431],
  ['a target of more than 8 KiB', `GET /${'y'.repeat(9000)} HTTP/1.1\r\nHost: x\r\n\r\n`, 431],
  ['no host', 'GET /metrics HTTP/1.1\r\n\r\n', 400],
  ['two lengths', `${REQUEST}Content-Length: 1\r\nContent-Length: 2\r\n\r\n`, 400],
  ['a length and chunks', `${REQUEST}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n`, 400],
  ['a folded header', `${REQUEST}X: y\r\n z\r\n\r\n`, 400],
  ['another protocol', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400],
  ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400],
  ['a method that there is not', 'STEAL /metrics HTTP/1.1\r\nHost: x\r\n\r\n', 400],
];

for (const [what, request, status] of REFUSED) {
  test(`${what}: ${status.toString()}, and the end`, async () => {
    await withListener(async (address) => {
      const raw = new Raw(address);
      raw.say(request);
      await raw.ended(5000);
      assert.match(raw.text, new RegExp(`^HTTP/1\\.1 ${status.toString()} `));
    });
  });
}

test('CONNECT is no tunnel, and an upgrade no other protocol', async () => {
  await withListener(async (address) => {
    const tunnel = new Raw(address);
    tunnel.say('CONNECT 127.0.0.1:5432 HTTP/1.1\r\nHost: x\r\n\r\n');
    await tunnel.ended(5000);
    assert.not.match(tunnel.text, /^HTTP\/1\.1 2/);
    const upgrade = new Raw(address);
    upgrade.say('GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n');
    await upgrade.answered(/ok\n$/);
    assert.match(upgrade.text, /^HTTP\/1\.1 200 /);
    upgrade.socket.destroy();
  });
});

test('a connection is ended after 1000 requests, however fast they come', async () => {
  await withListener(async (address) => {
    const raw = new Raw(address);
    raw.say('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(1100));
    await raw.ended(20_000);
    assert.is(raw.text.match(/^HTTP\/1\.1 200 /gm)?.length, 1000);
  });
});

test('no browser lets a script of another origin read an answer', async () => {
  await withListener(async (address) => {
    const raw = new Raw(address);
    const origin = 'Origin: http://evil.example\r\nAccess-Control-Request-Method: GET\r\n';
    for (const method of ['GET', 'OPTIONS']) raw.say(`${method} /metrics HTTP/1.1\r\nHost: x\r\n${origin}\r\n`);
    await raw.answered(/method not allowed\n$/);
    assert.not.match(raw.text, /access-control/i);
    raw.socket.destroy();
  });
});

test('a place that becomes free is taken by the next', async () => {
  await withListener(async (address) => {
    const all = Array.from({ length: 64 }, () => new Raw(address));
    await Promise.all(all.map(({ socket }) => once(socket, 'connect')));
    const turnedAway = new Raw(address);
    await turnedAway.ended(5000);
    assert.is(turnedAway.text, '');
    all[0]?.socket.destroy();
    await eventually('the next to be served', async () => {
      const next = new Raw(address);
      next.say('GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
      await next.ended(5000);
      return next.text.startsWith('HTTP/1.1 200 ');
    });
    for (const { socket } of all) socket.destroy();
  });
});

test.run();
