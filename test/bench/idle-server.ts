// SPDX-License-Identifier: MIT
// A server for thousands of sessions that do nothing: it logs everybody in and gives any query the same row. A real
// server would start a process for each. Whoever calls itself by the gateway's name is a probe, and must see a real
// server: it is handed on to the one at PORT.
//
//   node idle-server.js PORT
//
// Prints its own port, and ends with its standard input.

import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';

import { message } from '../helpers/pg-session.js';

const PROBE_NAME = Buffer.from('application_name\0pg-gateway\0');
const ENCRYPTION_REQUEST_BYTES = 8;
const BACKLOG = 4096;

const READY = message('Z', Buffer.from('I'));
const LOGIN = Buffer.concat([
  message('R', Buffer.alloc(4)),
  ...[
    ['server_version', '15.0'],
    ['server_encoding', 'UTF8'],
    ['client_encoding', 'UTF8'],
    ['DateStyle', 'ISO, MDY'],
    ['TimeZone', 'UTC'],
    ['standard_conforming_strings', 'on'],
    ['integer_datetimes', 'on'],
  ].map(([name = '', value = '']) => message('S', Buffer.from(`${name}\0${value}\0`))),
  message('K', Buffer.alloc(8, 1)),
  READY,
]);
/** RowDescription of one integer, one row with 1, CommandComplete: PostgreSQL chapter "Message Formats". */
const ANSWER = Buffer.concat([
  message('T', Buffer.from('0001' + '3f00' + '00000000' + '0000' + '00000017' + '0004' + 'ffffffff' + '0000', 'hex')),
  message('D', Buffer.from('0001' + '00000001' + '31', 'hex')),
  message('C', Buffer.from('SELECT 1\0')),
  READY,
]);

function serve(socket: Socket, realPort: number): void {
  socket.setNoDelay(true);
  socket.on('error', () => socket.destroy());
  const start = (chunk: Buffer): void => {
    if (chunk.length === ENCRYPTION_REQUEST_BYTES) {
      socket.write('N');
      socket.once('data', start);
    } else if (chunk.includes(PROBE_NAME)) {
      handOn(socket, chunk, realPort);
    } else {
      socket.write(LOGIN);
      // A query of these sessions is small and sent alone: it comes in one piece.
      socket.on('data', (query: Buffer) => {
        if (query[0] === 'Q'.charCodeAt(0)) socket.write(ANSWER);
      });
    }
  };
  socket.once('data', start);
}

function handOn(socket: Socket, startup: Buffer, realPort: number): void {
  const real = connect({ port: realPort, host: '127.0.0.1' });
  real.write(startup);
  socket.pipe(real).pipe(socket);
  real.on('error', () => socket.destroy());
  socket.on('close', () => real.destroy());
}

const realPort = Number(process.argv[2]);
const server = createServer((socket) => {
  serve(socket, realPort);
});
server.listen({ port: 0, host: '127.0.0.1', backlog: BACKLOG }, () => {
  console.log((server.address() as AddressInfo).port);
});
process.stdin.on('end', () => process.exit()).resume();
