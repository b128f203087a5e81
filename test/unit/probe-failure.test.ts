// SPDX-License-Identifier: MIT

import { faultOf, ProbeFault } from '#src/probe/failure.js';
import type { ProbeStage } from '#src/probe/failure.js';
import type { ProbeFailureReason } from '#src/probe/observation.js';
import { assert, suite } from '../helpers/suite.js';

/** An ErrorResponse as pg throws it. */
function sql(code: string, message = 'says the server'): Error {
  return Object.assign(new Error(message), { code, severity: 'FATAL' });
}

/** A system call's error, or one of OpenSSL's. */
function coded(code: string): Error {
  return Object.assign(new Error(`connect ${code} 192.0.2.1:5432`), { code });
}

const ROWS: readonly (readonly [unknown, ProbeStage, ProbeFailureReason])[] = [
  // connect(2)
  [coded('ECONNREFUSED'), 'connect', 'refused'],
  [coded('EHOSTUNREACH'), 'connect', 'unreachable'],
  [coded('ENETUNREACH'), 'connect', 'unreachable'],
  [coded('EHOSTDOWN'), 'connect', 'unreachable'],
  [coded('EADDRNOTAVAIL'), 'connect', 'unreachable'],
  [coded('EACCES'), 'connect', 'unreachable'],
  [coded('ETIMEDOUT'), 'connect', 'connect_timeout'],
  [coded('EMFILE'), 'connect', 'error'],
  // A connection that was there
  [coded('ECONNRESET'), 'login', 'broken'],
  [coded('ECONNRESET'), 'query', 'broken'],
  [coded('EPIPE'), 'query', 'broken'],
  [coded('ETIMEDOUT'), 'query', 'broken'],
  [new Error('Connection terminated unexpectedly'), 'query', 'broken'],
  [new Error('Connection terminated unexpectedly'), 'login', 'broken'],
  // Names
  [coded('ENOTFOUND'), 'lookup', 'dns'],
  [coded('EAI_AGAIN'), 'lookup', 'dns'],
  [new Error('whatever'), 'lookup', 'dns'],
  [coded('ENOTFOUND'), 'connect', 'dns'],
  // TLS, by the stage and, once log-in has begun (TLS 1.3 refuses a client certificate only then), by the code
  [new Error('socket hang up'), 'tls', 'tls'],
  [coded('ECONNRESET'), 'tls', 'tls'],
  [coded('ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED'), 'login', 'tls'],
  [coded('ERR_TLS_CERT_ALTNAME_INVALID'), 'tls', 'tls'],
  [coded('CERT_HAS_EXPIRED'), 'login', 'tls'],
  [coded('DEPTH_ZERO_SELF_SIGNED_CERT'), 'login', 'tls'],
  [coded('SELF_SIGNED_CERT_IN_CHAIN'), 'login', 'tls'],
  [coded('UNABLE_TO_VERIFY_LEAF_SIGNATURE'), 'login', 'tls'],
  // ErrorResponse
  [sql('28P01'), 'login', 'auth'],
  [sql('28000'), 'login', 'auth'],
  [sql('3D000'), 'login', 'auth'],
  [sql('42501'), 'login', 'auth'],
  [sql('42501'), 'query', 'error'],
  [sql('57P03'), 'login', 'starting'],
  [sql('57P01'), 'query', 'shutdown'],
  [sql('57P02'), 'query', 'shutdown'],
  [sql('57P05'), 'query', 'broken'],
  [sql('53300'), 'login', 'too_many'],
  [sql('53200'), 'query', 'error'],
  [sql('57014'), 'query', 'error'],
  [sql('42883'), 'query', 'error'],
  [sql('XX001'), 'query', 'error'],
  [sql('08P01'), 'login', 'protocol'],
  [sql('0A000'), 'login', 'protocol'],
  [sql('08006'), 'query', 'broken'],
  // pg's own words
  [new Error('SASL: SCRAM-SERVER-FINAL-MESSAGE: server signature does not match'), 'login', 'auth'],
  [new Error('received invalid response: 48'), 'query', 'protocol'],
  // Nothing known
  [new Error('whatever'), 'query', 'error'],
  ['a text', 'connect', 'error'],
  [undefined, 'query', 'error'],
];

const test = suite('probe failures');

for (const [error, stage, reason] of ROWS) {
  test(`${String(error instanceof Error && 'code' in error ? error.code : error)} at ${stage} is ${reason}`, () => {
    assert.is(faultOf(error, stage).reason, reason);
  });
}

test('a fault stays what it is, at any stage', () => {
  const fault = new ProbeFault('query_timeout', 'late');
  assert.is(faultOf(fault, 'tls'), fault);
});

test('the detail of an ErrorResponse has severity and SQLSTATE', () => {
  const fault = faultOf(sql('57P03', 'the database system is starting up'), 'login');
  assert.is(fault.message, 'FATAL 57P03: the database system is starting up');
  assert.is(fault.sqlState, '57P03');
});

test('five capital letters are an SQLSTATE only in an ErrorResponse', () => {
  assert.is(faultOf(coded('EPIPE'), 'query').sqlState, undefined);
});

test('the detail is one line of bounded length', () => {
  const { message } = faultOf(new Error(`one\ntwo\r\n\tthree ${'x'.repeat(5000)}`), 'query');
  assert.match(message, /^one two three x+\.\.\.$/);
  assert.ok(message.length < 400);
});

test.run();
