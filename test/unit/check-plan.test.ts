// SPDX-License-Identifier: MIT
// What the gateway says it would do, and what speaks against that before any server
// is asked.

import type { LocalFacts, NameFacts } from '#src/check/facts.js';
import { planEntries, planFindings } from '#src/check/plan.js';
import { findingsText, planText } from '#src/check/report.js';
import { parseToml } from '#src/config.js';
import { serviceOf } from '#src/installed-service.js';
import { expanded } from '#src/names.js';
import { configOf, DAY_MS, localFacts, NOW } from '../helpers/check-facts.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('plan');

const LOCALHOST: NameFacts = { kind: 'found', addresses: ['127.0.0.1', '::1'] };
const NOWHERE: NameFacts = { kind: 'failed', why: 'ENOTFOUND' };

/** As it is gathered: the candidates are those that follow from the names. */
function factsOf(
  env: NodeJS.ProcessEnv,
  names: Readonly<Record<string, NameFacts>>,
  rest: Partial<LocalFacts> = {},
): LocalFacts {
  const config = configOf({ PGUSER: 'probe', ...env });
  const addressesOf = (host: string): readonly string[] => {
    const found = names[host];
    return found?.kind === 'found' ? found.addresses : [];
  };
  return localFacts(config, {
    names: new Map(Object.entries(names)),
    ...expanded(config.candidates, addressesOf),
    ...rest,
  });
}

test('the whole plan', () => {
  const env = { CANDIDATES: 'db1,db2:5433,gone,[::1]:7', PGPASSWORD: 'hunter2', MAX_CONNECTIONS_PER_CLIENT: '7' };
  const names = {
    localhost: LOCALHOST,
    db1: { kind: 'found', addresses: ['192.0.2.1'] },
    db2: { kind: 'found', addresses: ['192.0.2.2', '192.0.2.3'] },
    gone: NOWHERE,
  } as const;
  const facts = factsOf(env, names);
  const text = planText(planEntries(facts));
  assert.equal(Object.keys(parseToml(text)), [], 'it is all comments');
  assert.not.match(text, 'hunter2');
  assert.is(
    text,
    `
# What the gateway does with it:
#   clients     127.0.0.1:5432, [::1]:5432 (localhost), unless systemd hands sockets over
#   metrics     port 9090 of every address, IPv6 and IPv4, unless systemd hands sockets over
#   candidates  db1:5432  192.0.2.1
#               db2:5433  192.0.2.2, 192.0.2.3: each is a candidate of its own
#               gone:5432  cannot be looked up: ENOTFOUND
#               [::1]:7
#   limits      as many clients at once as fit (max_connections = "auto"), 7 from one address; 1000 may wait for a primary, 15000 ms at most
#               320 clients fit under a limit of 1024 open files (here; the service has its own, LimitNOFILE=)
#   log-in      as probe to the database postgres, with a password (environment PGPASSWORD)
#   encryption  prefer: if the server can (the certificate is not verified)
#   memory      none beyond a stop, without STATE_DIRECTORY (the service has /var/lib/pg-gateway)
`,
  );
  assert.is(
    findingsText(planFindings(facts)),
    `
# 1 warning:
#   warning: gone: it cannot be looked up: ENOTFOUND.
#       Remedy: correct it in candidates, or make it known to this machine (DNS, /etc/hosts).
`,
  );
});

/** Environment, names, the entry, its first line. */
const ENTRIES: readonly (readonly [NodeJS.ProcessEnv, Readonly<Record<string, NameFacts>>, string, string])[] = [
  [{ LISTEN_HOST: '::', LISTEN_PORT: '0' }, {}, 'clients', 'any free port of every address, IPv6 and IPv4'],
  [{ LISTEN_HOST: '::1', LISTEN_PORT: '0' }, {}, 'clients', 'any free port of ::1'],
  [{ LISTEN_HOST: '::1' }, {}, 'clients', '[::1]:5432'],
  [{ LISTEN_PORT: '0' }, { localhost: LOCALHOST }, 'clients', 'any free port of 127.0.0.1, ::1 (localhost)'],
  [{ METRICS_HOST: 'gone' }, { gone: NOWHERE }, 'metrics', 'port 9090 of gone, which cannot be looked up'],
  [{ STATE_DIRECTORY: '/s' }, {}, 'memory', '/s'],
  [{}, {}, 'log-in', 'as probe to the database postgres, with no password'],
  [{ PGSSLMODE: 'disable' }, {}, 'encryption', 'disable: never'],
];

for (const [env, names, term, expected] of ENTRIES) {
  test(`${term}: ${expected}`, () => {
    const [, lines = []] = planEntries(factsOf(env, names)).find(([found]) => found === term) ?? [];
    assert.is(lines[0]?.replace(', unless systemd hands sockets over', ''), expected);
  });
}

test('each finding of the plan', () => {
  const many = Array.from({ length: 9 }, (_, index) => `192.0.2.${index + 1}`);
  const facts = factsOf(
    { CANDIDATES: 'many', MAX_CONNECTIONS: '321', LISTEN_HOST: 'here' },
    { many: { kind: 'found', addresses: many }, here: NOWHERE },
    {
      certificates: [
        { what: 'root certificate', path: '/r', validUntil: NOW + 30 * DAY_MS },
        { what: 'client certificate', path: '/c', validUntil: NOW - 1 },
        { what: 'root certificate', path: '/x', validUntil: undefined },
      ],
    },
  );
  assert.equal(
    planFindings(facts).map(({ level, about, what }) => `${level} ${about}: ${what}`),
    [
      'warning here: it cannot be looked up: ENOTFOUND',
      'warning many:5432: 1 of its addresses are not watched',
      'note sessions.max_connections: 321 clients are more than fit under the limit of open files here, 320',
      'warning /c: the client certificate has expired on 2026-11-29',
      'warning /x: the root certificate cannot be read as one',
    ],
  );
  const [, candidates = []] = planEntries(facts).find(([term]) => term === 'candidates') ?? [];
  assert.match(candidates[0] ?? '', /192\.0\.2\.9: each is a candidate of its own, 1 more are not watched$/);
});

const MAIN_SERVICE = serviceOf(undefined);

test('what is judged for the service says so, and where it listens and keeps its memory', () => {
  const entries = new Map(planEntries(factsOf({}, {}, { service: serviceOf('/etc/pg-gateway/sales.toml') })));
  assert.equal(entries.get('judged'), [
    'as pg-gateway@sales.service would: it is the user pg-gateway, has its password from /etc/pg-gateway/sales.pgpassword, and no home directory',
  ]);
  assert.equal(entries.get('memory'), ['/var/lib/pg-gateway-sales, as the service would']);
  assert.equal(entries.get('clients'), [
    'where pg-gateway@sales.socket listens (systemctl cat pg-gateway@sales.socket); without that port 5432 of localhost, which cannot be looked up',
  ]);
  assert.equal(entries.get('metrics'), ['port 9090 of every address, IPv6 and IPv4']);
  const main = new Map(planEntries(factsOf({}, {}, { service: MAIN_SERVICE })));
  assert.match(main.get('clients')?.[0] ?? '', /^where pg-gateway\.socket listens /);
  assert.match(main.get('metrics')?.[0] ?? '', /^where pg-gateway-metrics\.socket listens /);
  assert.is(new Map(planEntries(factsOf({}, {}))).has('judged'), false);
});

const OWN = [
  ['probe.passfile', '/root/.pgpass'],
  ['probe.sslrootcert', '/root/.postgresql/root.crt'],
] as const;

/** Environment, files of root, what is found. */
const OF_SERVICE: readonly (readonly [NodeJS.ProcessEnv, Partial<LocalFacts>, readonly string[]])[] = [
  [{}, {}, []],
  [{ PGUSER: '' }, {}, ['note probe.user: pg-gateway, --print-hba']],
  [
    {},
    { ownFiles: new Map(OWN) },
    ['note /root/.pgpass: /etc/pg-gateway/pgpassword', 'note /root/.postgresql/root.crt: probe.sslrootcert'],
  ],
  [{ PGPASSWORD: 'hunter2', PGSSLMODE: 'disable' }, { ownFiles: new Map(OWN) }, []],
  [
    {},
    {
      hiddenFiles: new Map([
        ['probe.passfile', '/etc/passfile'],
        ['probe.sslkey', '/etc/key'],
      ]),
    },
    ['warning /etc/passfile: /etc/pg-gateway/pgpassword', 'warning /etc/key: SupplementaryGroups='],
  ],
  [{}, { passwordIsExposed: true }, ['warning /etc/pg-gateway/pgpassword: nobody but root']],
  [{}, { hiddenSources: ['/etc/a.toml'] }, ['warning /etc/a.toml: chmod a+r, /etc/pg-gateway/pgpassword']],
];

for (const [env, facts, expected] of OF_SERVICE) {
  test(`root is not the service: ${expected.join(', ') || 'nothing to say'}`, () => {
    const found = planFindings(factsOf(env, {}, { service: MAIN_SERVICE, ...facts }));
    assert.equal(
      found.map(({ level, about }) => `${level} ${about}`),
      expected.map((line) => line.replace(/: .*/, '')),
    );
    found.forEach(({ what, fix }, at) => {
      for (const word of expected[at]?.replace(/^.*?: /, '').split(', ') ?? [])
        assert.ok(`${what} ${fix}`.includes(word), fix);
    });
    assert.equal(planFindings(factsOf(env, {}, facts)), [], 'who asks for himself is told nothing of it');
  });
}

test('what a server says stays in its line', () => {
  const text = findingsText([{ level: 'note', about: 'a', what: 'b\nport = 1', fix: 'c\u2028d' }]);
  assert.equal(Object.keys(parseToml(text)), []);
  assert.is(text.split('\n').length, 5);
});

test.run();
