// SPDX-License-Identifier: MIT
// The role and the line of pg_hba.conf for the probes.

import { hbaLine, hbaText, quotedInSql } from '#src/check/hba.js';
import type { Inspected, Source } from '#src/check/facts.js';
import type { ProbeConfig } from '#src/config.js';
import { serviceOf } from '#src/installed-service.js';
import { configOf } from '../helpers/check-facts.js';
import { candidate, failed } from '../helpers/observations.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('pg_hba.conf');

const HERE: Source = { address: '192.0.2.1', toldBy: 'server' };
const CERTIFICATE = { cert: '/c', key: '/k' };

/** Settings of the probes, where they come from, the line. */
const LINES: readonly (readonly [Partial<ProbeConfig>, string | undefined, string])[] = [
  [{}, '192.0.2.1', 'host  postgres  probe  192.0.2.1/32  scram-sha-256'],
  [{}, '2001:db8::1', 'host  postgres  probe  2001:db8::1/128  scram-sha-256'],
  [{}, undefined, 'host  postgres  probe  GATEWAY_ADDRESS/32  scram-sha-256'],
  [{ tls: { mode: 'disable' } }, '192.0.2.1', 'host  postgres  probe  192.0.2.1/32  scram-sha-256'],
  [{ tls: { mode: 'require' } }, '192.0.2.1', 'hostssl  postgres  probe  192.0.2.1/32  scram-sha-256'],
  [{ tls: { mode: 'verify-full', rootCert: '/r' } }, '::1', 'hostssl  postgres  probe  ::1/128  scram-sha-256'],
  [{ tls: { mode: 'require', ...CERTIFICATE } }, '::1', 'hostssl  postgres  probe  ::1/128  cert'],
  [{ tls: { mode: 'prefer', ...CERTIFICATE } }, '::1', 'host  postgres  probe  ::1/128  scram-sha-256'],
  [
    { tls: { mode: 'require', ...CERTIFICATE }, passfile: '/p' },
    '::1',
    'hostssl  postgres  probe  ::1/128  scram-sha-256',
  ],
  [{ user: 'All', database: 'my db' }, '::1', 'host  "my db"  "All"  ::1/128  scram-sha-256'],
  [{ user: 'a"b', database: '+group' }, '::1', 'host  "+group"  "a""b"  ::1/128  scram-sha-256'],
  [
    { user: 'a\nhost all all all trust' },
    '::1',
    'host  postgres  "a\\u000ahost all all all trust"  ::1/128  scram-sha-256',
  ],
  [{ user: undefined }, '::1', 'host  postgres  PROBE_USER  ::1/128  scram-sha-256'],
];

for (const [probe, address, line] of LINES) {
  test(line, () => {
    assert.is(hbaLine(configOf({}, probe).probe, address === undefined ? undefined : { address }), line);
  });
}

test('a name is quoted in SQL unless it surely need not be', () => {
  const names = ['probe', 'pg_2', 'Probe', 'pro be', 'a"b', 'user', '2a', 'größe', 'a$b'];
  assert.equal(names.map(quotedInSql), [
    'probe',
    'pg_2',
    '"Probe"',
    '"pro be"',
    '"a""b"',
    '"user"',
    '"2a"',
    '"größe"',
    '"a$b"',
  ]);
});

function inspectedFrom(label: string, source: Source | undefined): Inspected {
  return { candidate: candidate(label), inspection: { observation: failed(label) }, source };
}

test('servers that see one address have one line together, and who told it is said', () => {
  const text = hbaText(configOf({ PGPASSWORD: 'hunter2' }).probe, [
    inspectedFrom('a', HERE),
    inspectedFrom('b', { address: '192.0.2.2', toldBy: 'route' }),
    inspectedFrom('c', HERE),
    inspectedFrom('d', undefined),
  ]);
  assert.is(
    text,
    `-- The role of the probes: in psql on the primary, as a superuser. Standbys get
-- it from there.
SET password_encryption = 'scram-sha-256';
CREATE ROLE probe LOGIN;
-- Asks for the password, which so is in no log and no history.
\\password probe
-- Not needed: it lets the gateway see which timeline a standby streams.
GRANT pg_read_all_stats TO probe;

# pg_hba.conf: of each server, above lines that catch the same; then SELECT
# pg_reload_conf();
# a:5432, c:5432: the address is the one that the server sees.
host  postgres  probe  192.0.2.1/32  scram-sha-256
# b:5432: the address is the one that this machine would use; behind NAT the server sees another.
host  postgres  probe  192.0.2.2/32  scram-sha-256
# d:5432: where the gateway comes from could not be told: put its address in the place of GATEWAY_ADDRESS/32.
host  postgres  probe  GATEWAY_ADDRESS/32  scram-sha-256
# Clients of the gateway come from there too: they need lines of their own, by a
# password or a certificate, never by trust.
`,
  );
});

test('for the service it is the role of its user, and says so', () => {
  const service = serviceOf(undefined);
  assert.ok(service);
  const text = hbaText(configOf({}, { user: service.user }).probe, [inspectedFrom('a', HERE)], service);
  assert.match(text, /^-- For pg-gateway\.service, which is the user pg-gateway\.\n-- The role/);
  assert.match(text, /^CREATE ROLE "pg-gateway" LOGIN;$/m);
  assert.match(text, /^host {2}postgres {2}"pg-gateway" {2}192\.0\.2\.1\/32 {2}scram-sha-256$/m);
});

test('who logs in by a certificate has no password', () => {
  const { probe } = configOf({}, { tls: { mode: 'require', ...CERTIFICATE } });
  const text = hbaText(probe, [inspectedFrom('a', HERE)]);
  assert.not.match(text, 'password_encryption');
  assert.match(text, 'whose CN is the name of the role');
  assert.match(text, /^CREATE ROLE probe LOGIN;$/m);
});

test.run();
