// SPDX-License-Identifier: MIT
// Probes of what stands in the place of a server.

import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';

import type { Lookup } from '#src/probe/resolver.js';
import { garbageServer, silentServer, slammingServer } from '../helpers/fake-servers.js';
import { deafAddress } from '../helpers/deaf-address.js';
import { freePort } from '../helpers/ports.js';
import { PostgresServer } from '../helpers/postgres.js';
import { assert, suite } from '../helpers/suite.js';
import { closeOpened, failureOf, keep, probeOnce, watch } from '../helpers/probes.js';
import type { Target } from '../helpers/probes.js';

const impostors = suite('probes of what is no server');
impostors.after.each(closeOpened);

const SHORT = { connectTimeoutMs: 200, queryTimeoutMs: 200 };

/** A server that answers the first bytes of a connection with `greeting`, and all that follow with `answer`. */
async function scriptedServer(greeting: Buffer, answer: (socket: Socket) => void = () => undefined): Promise<Target> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('data', () => {
      socket.write(greeting);
      socket.on('data', () => answer(socket));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo; // listening on TCP
  const close = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, 'close');
  };
  keep({ close });
  return { port };
}

/** "55.7. Message Formats": type, length, body. */
function message(type: string, body: Buffer | string = ''): Buffer {
  const bytes = Buffer.from(body);
  const head = Buffer.from(`${type}0000`, 'latin1');
  head.writeInt32BE(bytes.length + 4, 1);
  return Buffer.concat([head, bytes]);
}

function errorResponse(code: string): Buffer {
  return message('E', `SFATAL\0VFATAL\0C${code}\0Mas the test says\0\0`);
}

const LOGGED_IN = Buffer.concat([message('R', Buffer.alloc(4)), message('Z', 'I')]);

impostors('nobody listens', async () => {
  assert.is(failureOf(await probeOnce({ port: await freePort() })), 'refused');
});

for (const mode of ['disable', 'prefer', 'require'] as const) {
  impostors(`one that never answers, ${mode}`, async () => {
    const silent = keep(await silentServer());
    const seen = await probeOnce(silent, { ...SHORT, tls: { mode } });
    assert.is(failureOf(seen), 'connect_timeout');
    assert.ok(seen.tookMs >= 199 && seen.tookMs < 1000, String(seen.tookMs));
  });

  impostors(`one that answers garbage for ever, ${mode}`, async () => {
    const garbage = keep(await garbageServer());
    const seen = await probeOnce(garbage, { tls: { mode } });
    assert.is(failureOf(seen), 'protocol');
    assert.ok(seen.tookMs < 1000, String(seen.tookMs));
  });

  impostors(`one that closes at once, ${mode}`, async () => {
    const slamming = keep(await slammingServer());
    assert.is(failureOf(await probeOnce(slamming, { tls: { mode } })), 'broken');
  });
}

const SQLSTATES: readonly (readonly [string, string])[] = [
  ['57P03', 'starting'],
  ['53300', 'too_many'],
  ['28P01', 'auth'],
  ['XX000', 'error'],
];

for (const [code, reason] of SQLSTATES) {
  impostors(`log-in refused with ${code} is ${reason}`, async () => {
    const server = await scriptedServer(errorResponse(code));
    assert.is(failureOf(await probeOnce(server)), reason);
  });
}

const ANSWERS: readonly (readonly [string, Buffer, string])[] = [
  ['no row', Buffer.concat([message('C', 'SELECT 0\0'), message('Z', 'I')]), 'protocol'],
  ['a row that lies about its length', message('D', Buffer.from([0x7f, 0xff, 0, 0])), 'protocol'],
  ['columns that are not there', message('T', Buffer.from([0x7f, 0xff, 0])), 'protocol'],
  ['a type that does not exist', message('?', 'what'), 'protocol'],
  ['an SQL error', errorResponse('42883'), 'error'],
  ['a shutdown', errorResponse('57P01'), 'shutdown'],
];

for (const [what, answer, reason] of ANSWERS) {
  impostors(`the query is answered by ${what}`, async () => {
    const server = await scriptedServer(LOGGED_IN, (socket) => socket.end(answer));
    assert.is(failureOf(await probeOnce(server)), reason);
  });
}

impostors('the query is not answered', async () => {
  const server = await scriptedServer(LOGGED_IN);
  assert.is(failureOf(await probeOnce(server, SHORT)), 'query_timeout');
});

impostors('notices without end are cut off', async () => {
  const notice = message('N', `SNOTICE\0C00000\0M${'x'.repeat(10_000)}\0\0`);
  const server = await scriptedServer(LOGGED_IN, (socket) => {
    const flood = (): void => {
      while (socket.writable && socket.write(notice));
    };
    socket.on('drain', flood);
    flood();
  });
  assert.is(failureOf(await probeOnce(server)), 'protocol');
});

impostors('more than one byte to an SSLRequest is not believed', async () => {
  const server = await scriptedServer(Buffer.concat([Buffer.from('S'), message('R', Buffer.alloc(4))]));
  assert.is(failureOf(await probeOnce(server, { tls: { mode: 'require' } })), 'protocol');
});

impostors('a name that is not known, and one whose look-up does not end', async () => {
  const unknown: Lookup = () =>
    Promise.reject(Object.assign(new Error('getaddrinfo ENOTFOUND'), { code: 'ENOTFOUND' }));
  assert.is(failureOf(await probeOnce({ host: 'db.example', port: 1 }, {}, unknown)), 'dns');
  const none: Lookup = () => Promise.resolve([]);
  assert.is(failureOf(await probeOnce({ host: 'db.example', port: 1 }, {}, none)), 'dns');
  let begun = 0;
  let finish: (addresses: readonly string[]) => void = () => undefined;
  const slow: Lookup = () => {
    begun += 1;
    return new Promise((resolve) => {
      finish = resolve;
    });
  };
  const { prober } = watch({ host: 'db.example', port: await freePort() }, SHORT, slow);
  assert.is(failureOf(await prober.probe()), 'dns');
  assert.is(failureOf(await prober.probe()), 'dns');
  finish(['127.0.0.1']);
  assert.is(failureOf(await prober.probe()), 'refused');
  assert.is(begun, 1, 'a look-up that hangs must not be begun again and again');
});

impostors("a system's real look-up", async () => {
  const seen = await probeOnce({ host: 'localhost', port: await freePort() });
  assert.is(failureOf(seen), 'refused');
  assert.is(failureOf(await probeOnce({ host: 'does-not-exist.invalid', port: 1 })), 'dns');
});

impostors('the addresses of a name are tried in turn, also when one of them is dead', async () => {
  const { port } = keep(await PostgresServer.create());
  const deaf = keep(await deafAddress('127.0.0.3', port));
  const lookup: Lookup = () => Promise.resolve(['127.0.0.2', deaf.host, '::1', '127.0.0.1']);
  const seen = await probeOnce({ host: 'db.example', port }, {}, lookup);
  assert.equal(seen.kind === 'answered' && seen.address, { address: '127.0.0.1', port });
  assert.ok(seen.tookMs < 1000, String(seen.tookMs));
});

impostors('a host that takes no connection is given up in time', async () => {
  const deaf = keep(await deafAddress('127.0.0.3', await freePort()));
  const seen = await probeOnce({ host: deaf.host, port: deaf.port }, SHORT);
  assert.is(failureOf(seen), 'connect_timeout');
});

impostors.run();
