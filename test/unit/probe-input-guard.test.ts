// SPDX-License-Identifier: MIT
// What is let through to pg's parser, whoever is on the other end.

import { Socket } from 'node:net';

import { guardInput } from '#src/probe/input-guard.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('probe-input-guard');

/** A message of the protocol. */
function message(type: string, body: string): Buffer {
  const text = Buffer.from(body, 'latin1');
  const head = Buffer.alloc(5);
  head.write(type, 'latin1');
  head.writeUInt32BE(text.length + 4, 1);
  return Buffer.concat([head, text]);
}

const WELCOME = message('R', '\0\0\0\0');
const NOTICE = message('N', 'SNOTICE\0C00000\0Mhello\0\0');

/** What was let through of these chunks, and the fault that ended it. */
function guarded(chunks: readonly Buffer[]): { passed: Buffer; fault: string | undefined } {
  const socket = new Socket();
  const passed: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => passed.push(chunk)).on('error', () => undefined);
  guardInput(socket);
  for (const chunk of chunks) if (!socket.destroyed) socket.emit('data', chunk);
  return { passed: Buffer.concat(passed), fault: socket.errored?.message };
}

test('whole messages pass, in pieces of any size', () => {
  const all = Buffer.concat([WELCOME, NOTICE, message('Z', 'I'), NOTICE, message('E', 'SFATAL\0\0')]);
  for (let size = 1; size <= all.length; size += 1) {
    const chunks: Buffer[] = [];
    for (let at = 0; at < all.length; at += size) chunks.push(all.subarray(at, at + size));
    assert.equal(guarded(chunks), { passed: all, fault: undefined }, `pieces of ${size}`);
  }
});

test('an error without an end does not reach the parser, which would look for it for ever', () => {
  for (const body of ['SCRAM-', 'SFATAL\0', 'SFATAL\0M', 'SFATAL\0Mno zero at all', '']) {
    for (const type of ['E', 'N']) {
      const wrong = message(type, body);
      for (const chunks of [[WELCOME, wrong], [Buffer.concat([WELCOME, wrong, NOTICE])]]) {
        const { passed, fault } = guarded(chunks);
        assert.match(fault ?? '', 'an error without an end', JSON.stringify(body));
        assert.ok(passed.length <= WELCOME.length);
      }
    }
  }
});

test('an error without an end, at once or in pieces, is found before its last byte passes', () => {
  const wrong = message('E', 'SCRAM-');
  const { passed, fault } = guarded(Array.from(wrong, (_, at) => wrong.subarray(at, at + 1)));
  assert.match(fault ?? '', 'an error without an end');
  assert.is(passed.length, wrong.length - 1);
});

test('a message that is shorter than its own length is none', () => {
  const { fault } = guarded([WELCOME, Buffer.from('Z\0\0\0\x03', 'latin1')]);
  assert.match(fault ?? '', 'a message shorter than its own length');
});

test.run();
