// SPDX-License-Identifier: MIT
// What a client is told while there is no primary, and what becomes of clients
// that do not speak as they should.

import { Gateway } from '../helpers/gateway.js';
import {
  cancelRequest,
  errorFields,
  gssEncryptionRequest,
  readMessage,
  sslRequest,
  startupMessage,
} from '../helpers/pg-session.js';
import { freePort } from '../helpers/ports.js';
import { connectionsAt } from '../helpers/processes.js';
import { psql } from '../helpers/psql.js';
import { RawClient } from '../helpers/raw-client.js';
import { assert, suite } from '../helpers/suite.js';
import { eventually } from '../helpers/wait.js';

const test = suite('no primary');
let gateway: Gateway;

test.before(async () => {
  gateway = await Gateway.start({ candidates: [`127.0.0.1:${await freePort()}`] });
});

test.after(async () => {
  await gateway.close();
});

const PSQL_MODES: readonly (readonly [string, Readonly<Record<string, string>>])[] = [
  ['plain', { PGSSLMODE: 'disable', PGGSSENCMODE: 'disable' }],
  ['sslmode=prefer', { PGSSLMODE: 'prefer', PGGSSENCMODE: 'disable' }],
  ['sslmode=allow', { PGSSLMODE: 'allow', PGGSSENCMODE: 'disable' }],
  ['the defaults', {}],
];
for (const [mode, env] of PSQL_MODES) {
  test(`psql shows the text: ${mode}`, async () => {
    const { status, stderr } = await psql({ ...gateway.clients, env }, 'SELECT 1');
    assert.is(status, 2);
    assert.match(stderr, 'FATAL:  no PostgreSQL primary is available');
  });
}

test('psql with sslmode=require is told that there is no SSL', async () => {
  const { status, stderr } = await psql({ ...gateway.clients, env: { PGSSLMODE: 'require' } }, 'SELECT 1');
  assert.is(status, 2);
  assert.match(stderr, 'server does not support SSL, but SSL was required');
});

const PREFIXES: readonly (readonly [string, readonly Buffer[]])[] = [
  ['a startup message', []],
  ['SSL first', [sslRequest()]],
  ['GSS first', [gssEncryptionRequest()]],
  ['GSS, then SSL', [gssEncryptionRequest(), sslRequest()]],
  ['SSL, then GSS', [sslRequest(), gssEncryptionRequest()]],
];
for (const [what, requests] of PREFIXES) {
  test(`FATAL 57P03 and a FIN, never a reset: ${what}`, async () => {
    const client = await RawClient.connect(gateway.clients);
    try {
      for (const request of requests) {
        client.send(request);
        assert.is((await client.read(1)).toString(), 'N');
      }
      client.send(startupMessage());
      const fields = errorFields(await readMessage(client));
      assert.is(fields.get('S'), 'FATAL');
      assert.is(fields.get('V'), 'FATAL');
      assert.is(fields.get('C'), '57P03');
      assert.match(fields.get('M') ?? '', 'no PostgreSQL primary is available');
      assert.is(await client.ended(), 'fin');
      assert.is(client.pending.length, 0);
    } finally {
      client.close();
    }
  });
}

test('a startup message that comes byte by byte is understood', async () => {
  const client = await RawClient.connect(gateway.clients);
  for (const byte of Buffer.concat([sslRequest(), startupMessage()])) await client.sendAll(Buffer.of(byte));
  assert.is((await client.read(1)).toString(), 'N');
  assert.is(errorFields(await readMessage(client)).get('C'), '57P03');
  client.close();
});

test('the answer is not lost when the client sends more than the startup message', async () => {
  const client = await RawClient.connect(gateway.clients);
  client.send(Buffer.concat([startupMessage(), Buffer.alloc(100_000, 'x')]));
  assert.is(errorFields(await readMessage(client)).get('C'), '57P03');
  client.close();
});

test('the answer is not lost on a client that has sent its FIN', async () => {
  const client = await RawClient.connect(gateway.clients);
  client.send(startupMessage());
  client.halfClose();
  assert.is(errorFields(await readMessage(client)).get('C'), '57P03');
  await client.ended();
});

test('a cancel request is dropped without an answer', async () => {
  const client = await RawClient.connect(gateway.clients);
  client.send(cancelRequest(1, 2));
  assert.is(await client.ended(), 'fin');
  assert.is(client.received, 0);
  client.close();
});

const MALFORMED: readonly (readonly [string, Buffer])[] = [
  ['HTTP', Buffer.from('GET / HTTP/1.1\r\nHost: db\r\n\r\n')],
  ['a length of 0', Buffer.from([0, 0, 0, 0, 0, 3, 0, 0])],
  ['a length of 2 GB', Buffer.from([0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0])],
  ['a TLS hello without a request', Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03])],
];
for (const [what, bytes] of MALFORMED) {
  test(`what is no startup message ends the connection and is counted: ${what}`, async () => {
    const rejected = (await gateway.samples()).get('pg_gateway_clients_rejected_total', { reason: 'startup' });
    const client = await RawClient.connect(gateway.clients);
    client.send(bytes);
    await client.ended();
    await gateway.metric('pg_gateway_clients_rejected_total', { reason: 'startup' }, (value) => value === rejected + 1);
    client.close();
  });
}

test('a client that says nothing and leaves is forgotten', async () => {
  const held = (): number => connectionsAt(gateway.pid, gateway.clients.port);
  await eventually('the clients of earlier tests to be gone', () => held() === 0);
  const clients = await Promise.all(Array.from({ length: 20 }, () => RawClient.connect(gateway.clients)));
  await eventually('20 connections', () => held() === 20);
  for (const client of clients) client.close();
  await eventually('none of them', () => held() === 0);
});

test('a client that is told is counted', async () => {
  const before = await gateway.samples();
  await psql({ ...gateway.clients, env: { PGSSLMODE: 'disable', PGGSSENCMODE: 'disable' } }, 'SELECT 1');
  await gateway.metric(
    'pg_gateway_clients_rejected_total',
    { reason: 'no_primary' },
    (value) => value === before.get('pg_gateway_clients_rejected_total', { reason: 'no_primary' }) + 1,
  );
});

test.run();
