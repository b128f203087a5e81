// SPDX-License-Identifier: MIT
// What is said of a candidate that does not answer: the right thing, and what mends it.

import { failureFinding } from '#src/check/failure-advice.js';
import type { LoadedConfig } from '#src/config.js';
import { serviceOf } from '#src/installed-service.js';
import type { ProbeFailureReason } from '#src/probe/observation.js';
import { answeredWith, configOf, failedBy } from '../helpers/check-facts.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('advice on failures');

const HBA = 'host  postgres  probe  192.0.2.1/32  scram-sha-256';

/** What failed, what is said, what is in the remedy, lines to take over. */
const ADVICE: readonly (readonly [
  what: string,
  reason: ProbeFailureReason,
  rest: Parameters<typeof failedBy>[1],
  says: RegExp,
  fix: RegExp,
  lines?: readonly string[],
])[] = [
  ['no such name', 'dns', {}, /looked up/, /\/etc\/hosts/],
  ['refused', 'refused', {}, /nothing listens/, /listen_addresses/],
  ['unreachable', 'unreachable', {}, /no way/, /IPAddressAllow=/],
  ['late connection', 'connect_timeout', {}, /800 ms/, /CONNECT_TIMEOUT_MS/],
  ['late answer', 'query_timeout', {}, /500 ms/, /QUERY_TIMEOUT_MS/],
  ['no PostgreSQL', 'protocol', {}, /no PostgreSQL/, /host and port in candidates/],
  ['broken', 'broken', {}, /did not hold/, /log/],
  ['expired', 'tls', { errorCode: 'CERT_HAS_EXPIRED' }, /not valid/, /renew/],
  ['another name', 'tls', { errorCode: 'ERR_TLS_CERT_ALTNAME_INVALID' }, /not made out for a$/, /verify-ca/],
  ['unknown root', 'tls', { errorCode: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' }, /nobody who is trusted/, /PGSSLROOTCERT/],
  ['self-signed', 'tls', { errorCode: 'DEPTH_ZERO_SELF_SIGNED_CERT' }, /nobody who is trusted/, /PGSSLROOTCERT/],
  [
    'no TLS on the server',
    'tls',
    { detail: 'the server does not encrypt, and sslmode is require' },
    /does not encrypt/,
    /ssl = on/,
  ],
  ['another fault of TLS', 'tls', { errorCode: 'ERR_SSL_UNSUPPORTED_PROTOCOL' }, /no TLS/, /TLS 1\.2/],
  ['no password', 'auth', {}, /asks for a password/, /^put it into PGPASSWORD .*as root$/],
  [
    'a wrong password',
    'auth',
    { refusal: { sqlState: '28P01' } },
    /password of probe/,
    /none is set/,
    ["SET password_encryption = 'scram-sha-256';", '\\password probe'],
  ],
  [
    'no line in pg_hba.conf',
    'auth',
    { refusal: { sqlState: '28000', routine: 'ClientAuthentication' } },
    /does not let the probes in/,
    /pg_reload_conf/,
    [HBA],
  ],
  [
    'another method in pg_hba.conf',
    'auth',
    { refusal: { sqlState: '28000', routine: 'auth_failed' } },
    /another kind of log-in/,
    /above any/,
    [HBA],
  ],
  [
    'no such role',
    'auth',
    { refusal: { sqlState: '28000', routine: 'InitializeSessionUserId' } },
    /no role probe/,
    /--print-hba/,
    ['CREATE ROLE probe LOGIN;', 'ALTER ROLE probe LOGIN;'],
  ],
  ['no such database', 'auth', { refusal: { sqlState: '3D000' } }, /no database postgres/, /PGDATABASE/],
  [
    'no CONNECT',
    'auth',
    { refusal: { sqlState: '42501' } },
    /may not connect/,
    /let it/,
    ['GRANT CONNECT ON DATABASE postgres TO probe;'],
  ],
  [
    'no EXECUTE',
    'error',
    { refusal: { sqlState: '42501', toQuery: true } },
    /may not run/,
    /let everybody/,
    ['GRANT EXECUTE ON FUNCTION pg_control_system(), pg_control_checkpoint(), pg_control_recovery() TO probe;'],
  ],
  ['starting', 'starting', { refusal: { sqlState: '57P03' } }, /starting/, /wait/],
  ['shut down', 'shutdown', { refusal: { sqlState: '57P01' } }, /ended the connection/, /again/],
  ['full', 'too_many', { refusal: { sqlState: '53300' } }, /as many connections/, /max_connections/],
  ['cancelled', 'query_timeout', { refusal: { sqlState: '57014' } }, /500 ms/, /QUERY_TIMEOUT_MS/],
  ['any other error', 'error', { refusal: { sqlState: 'XX000' } }, /an error/, /log/],
];

for (const [what, reason, rest, says, fix, lines] of ADVICE) {
  test(`${what}: the remedy fits`, () => {
    const finding = failureFinding(configOf(), failedBy(reason, rest));
    assert.is(finding?.level, 'warning');
    assert.is(finding?.about, 'a:5432');
    assert.match(finding?.what ?? '', says);
    assert.match(finding?.fix ?? '', fix);
    assert.equal(finding?.lines, lines);
  });
}

const CREDENTIALS: readonly (readonly [string, LoadedConfig, string, RegExp])[] = [
  ['no user', configOf({}, { user: undefined }), 'no user name', /PGUSER/],
  [
    'a password file that others may read',
    configOf({}, { passfile: '/p' }),
    'password file /p can be read by others: expected permissions 0600 or less',
    /chmod 600 \/p$/,
  ],
  [
    'a password file without a line for it',
    configOf({}, { passfile: '/p' }),
    'the server asks for a password: PGPASSWORD is not set, and none in /p fits',
    /PGPASSWORD/,
  ],
  [
    'a server that cannot prove itself',
    configOf({ PGPASSWORD: 'hunter2' }),
    'SASL: SCRAM-SERVER-FINAL-MESSAGE: server signature does not match',
    /environment PGPASSWORD/,
  ],
];

for (const [what, config, detail, fix] of CREDENTIALS) {
  test(`${what}: the remedy names where it is`, () => {
    const finding = failureFinding(config, failedBy('auth', { detail }));
    assert.match(finding?.fix ?? '', fix);
    assert.not.match(JSON.stringify(finding), 'hunter2');
  });
}

test('a password that the service lacks belongs where its unit has it from', () => {
  const sales = serviceOf('/etc/pg-gateway/sales.toml');
  assert.ok(sales);
  const finding = failureFinding(configOf(), failedBy('auth'), sales);
  assert.match(finding?.fix ?? '', /^put it into \/etc\/pg-gateway\/sales\.pgpassword, .*pg-gateway@sales\.service/);
});

test('a refused password is named by its source, never by itself', () => {
  const config = configOf({ PGPASSWORD: 'hunter2' });
  const finding = failureFinding(config, failedBy('auth', { refusal: { sqlState: '28P01' } }));
  assert.match(finding?.fix ?? '', '(environment PGPASSWORD)');
  assert.not.match(JSON.stringify(finding), 'hunter2');
});

test('there is nothing to say of one that answers', () => {
  assert.is(failureFinding(configOf(), answeredWith({})), undefined);
});

test.run();
