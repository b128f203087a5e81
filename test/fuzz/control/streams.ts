// SPDX-License-Identifier: MIT
// Targets that read a stream: the metrics listener and the control socket, whose clients, and the probe, whose server
// says anything at all.

import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { AddressInfo, NetConnectOpts, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { startControl } from '#src/control/server.js';
import { startHttp } from '#src/http.js';
import { createLogger } from '#src/log.js';
import type { Logger } from '#src/log.js';
import { Prober } from '#src/probe/prober.js';
import { Resolver } from '#src/probe/resolver.js';
import { systemTimers } from '#src/timers.js';
import { within } from '../../helpers/wait.js';

import { strictDesk } from './requests.js';
import { require, requireOneLine } from './target.js';
import type { Target } from './target.js';

const LOOPBACK = '127.0.0.1';
const ANSWER_DEADLINE_MS = 5000;
const QUIET_MS = 10;

const HTTP_WORDS = [
  ...['GET ', 'HEAD ', 'POST ', '?', '#', ' HTTP/1.1\r\n', ' HTTP/1.0\r\n', 'Host: a\r\n', 'Connection: close\r\n'],
  ...['Content-Length: ', 'Transfer-Encoding: chunked\r\n', 'Expect: 100-continue\r\n', 'Upgrade: h2c\r\n'],
  ...['\r\n\r\n', '0\r\n\r\n', 'OPTIONS * HTTP/1.1\r\n', 'CONNECT a:1 HTTP/1.1\r\n'],
];

/** All that comes until the other side ends. Who is reset has got an answer too. */
async function everythingFrom(socket: Socket): Promise<string> {
  let all = '';
  socket.setEncoding('latin1').on('data', (chunk: string) => (all += chunk));
  socket.on('error', () => undefined);
  await within(ANSWER_DEADLINE_MS, 'the end of the connection', once(socket, 'close'));
  return all;
}

/** The bytes of a client, then its end; now and then another client, who asks for `healthy`. */
function httpClient(to: NetConnectOpts, healthy: string, lines: string[]): Pick<Target, 'run'> {
  const ask = async (bytes: Buffer | string): Promise<string> => {
    const socket = connect(to);
    socket.end(bytes);
    return everythingFrom(socket);
  };
  let asked = 0;
  return {
    run: async (input) => {
      const answer = await ask(input);
      require(answer === '' ||
        /^HTTP\/1\.1 [1-5]\d\d /.test(answer), `an answer is one: ${JSON.stringify(answer.slice(0, 99))}`);
      require(!/^HTTP\/1\.1 500 /m.test(answer), 'nothing fails inside');
      lines.splice(0).forEach(requireOneLine);
      asked += 1;
      if (asked % 32 !== 0) return;
      const next = await ask(`GET ${healthy} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
      require(next.startsWith('HTTP/1.1 200 '), 'others are served afterwards');
    },
  };
}

function loggerTo(lines: string[]): Logger {
  return createLogger({ level: 'debug', journal: false, write: (line) => lines.push(line.trimEnd()) });
}

/** What comes to the metrics listener. */
export async function http(): Promise<Target> {
  const lines: string[] = [];
  const listener = await startHttp({
    listen: { host: LOOPBACK, port: 0 },
    render: () => Promise.resolve('a_metric 1\n'),
    contentType: 'text/plain; version=0.0.4; charset=utf-8',
    readiness: () => ({ ready: true, reason: 'primary is a:5432' }),
    page: () => ({ body: '<!DOCTYPE html>\n', headers: { 'X-Frame-Options': 'DENY' } }),
    logger: loggerTo(lines),
  });
  const port = Number(/:(\d+)$/.exec(listener.addresses[0] ?? '')?.[1]);
  return {
    name: 'http',
    modules: ['http', 'strict-http'],
    words: [...HTTP_WORDS, '/metrics', '/healthz', '/readyz', 'http://a/metrics'],
    ...httpClient({ host: LOOPBACK, port, noDelay: true }, '/healthz', lines),
    close: () => listener.close(),
  };
}

/** What comes to the control socket; its desk takes nothing that is out of bounds. */
export async function controlSocket(): Promise<Target> {
  const lines: string[] = [];
  const folder = mkdtempSync(join(tmpdir(), 'pggw-fuzz-'));
  const path = join(folder, 'control');
  const listener = await startControl({
    fds: [],
    path,
    desk: strictDesk(),
    logger: loggerTo(lines),
    closeTimeoutMs: ANSWER_DEADLINE_MS,
  });
  return {
    name: 'control-socket',
    modules: ['control/server', 'control/api', 'control/requests', 'strict-http'],
    words: [
      ...HTTP_WORDS,
      '/v1/status',
      '/v1/sessions?limit=1',
      '/v1/kill',
      '{"ids":[1]}',
      '/v1/hold',
      '{"seconds":1}',
    ],
    ...httpClient({ path }, '/v1/status', lines),
    close: async () => {
      await listener.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** What a server says to a probe: up to a line `---` as soon as it is connected to, then a part for each message. */
export async function probe(): Promise<Target> {
  let parts: readonly Buffer[] = [];
  const server = createServer({ noDelay: true }, (socket) => {
    const left = [...parts];
    const say = (): void => {
      const part = left.shift();
      if (part !== undefined) socket.write(part);
      if (left.length === 0) socket.end();
    };
    // A probe that waits for more would do so until its time is over.
    socket.setTimeout(QUIET_MS, () => socket.end());
    socket.on('data', say).on('error', () => undefined);
  });
  server.listen(0, LOOPBACK);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const probeOnce = async (): Promise<void> => {
    const prober = new Prober({
      candidate: { host: LOOPBACK, port, name: `${LOOPBACK}:${port}` },
      settings: () => ({
        user: 'probe',
        password: 'secret-of-the-probe',
        passfile: undefined,
        database: 'postgres',
        connectTimeoutMs: 1000,
        queryTimeoutMs: 1000,
        checkEveryMs: 2000,
        tls: { mode: 'disable' },
      }),
      timers: systemTimers,
      onBroken: () => undefined,
      resolver: new Resolver({ host: LOOPBACK, timers: systemTimers }),
    });
    try {
      const seen = await within(ANSWER_DEADLINE_MS, 'an observation', prober.probe());
      if (seen.kind === 'failed') require(!seen.detail.includes('secret-of-the-probe'), 'no secret is told');
    } finally {
      await prober.close();
    }
  };
  return {
    name: 'probe',
    modules: ['probe/'],
    words: [
      ...[
        'R\0\0\0\x08\0\0\0\0',
        'R\0\0\0\x08\0\0\0\x03',
        'R\0\0\0\x0c\0\0\0\x05salt',
        'Z\0\0\0\x05I',
        'E\0\0\0\x0aC57P03\0\0',
        '\n---\n',
      ],
      ...[
        'S\0\0\0\x16application_name\0\0',
        'K\0\0\0\x0c\0\0\0\x01\0\0\0\x02',
        'T\0\0\0\x06\0\0',
        'D\0\0\0\x06\0\0',
        'C\0\0\0\x0dSELECT 1\0',
      ],
      ...['R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0', 'R\0\0\0\x0c\0\0\0\x0br=,s=,i=1', '\xff\xff\xff\xff', '\0\0\0\x04'],
    ],
    run: async (input) => {
      parts = input
        .toString('latin1')
        .split('\n---\n')
        .map((part) => Buffer.from(part, 'latin1'));
      await probeOnce();
    },
    close: async () => {
      server.close();
      await once(server, 'close');
    },
  };
}
