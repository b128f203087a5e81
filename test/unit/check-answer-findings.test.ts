// SPDX-License-Identifier: MIT
// What is said of a candidate that answers, and when nothing is.

import { answerFindings } from '#src/check/answer-findings.js';
import type { ProbeConfig } from '#src/config.js';
import type { Session } from '#src/probe/inspection.js';
import type { ServerDetails } from '#src/probe/server-details.js';
import { answeredWith, configOf, DAY_MS, DETAILS, failedBy, localFacts, NOW, SESSION } from '../helpers/check-facts.js';
import { primary } from '../helpers/observations.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('findings of answers');

function details(change: Partial<ServerDetails>): Partial<Session> {
  return { details: { ...DETAILS, ...change } };
}

function encryption(change: Partial<NonNullable<Session['encryption']>>): Partial<Session> {
  return { encryption: { protocol: 'TLSv1.3', chainVerified: true, validUntil: undefined, ...change } };
}

/** What is so, environment, what is said: the beginning of the level, and words of it. None: nothing is said. */
const CASES: readonly (readonly [string, NodeJS.ProcessEnv, Partial<Session>, ...RegExp[]])[] = [
  ['all is well', {}, {}],
  ['a slow log-in', {}, { connectMs: 400 }, /^warning: connecting and logging in took 400 ms of the 800 ms/],
  ['one that is just quick enough', {}, { connectMs: 399.9 }],
  ['a slow answer', {}, { answerMs: 250.4 }, /^warning: the answer took 250 ms of the 500 ms/],
  ['no TLS', {}, { encryption: undefined }, /^warning: the probe was not encrypted \(probe.sslmode = "prefer"\)/],
  ['an unverified certificate', {}, encryption({ chainVerified: false }), /^warning: its certificate is not verified/],
  [
    '29 days left',
    {},
    encryption({ validUntil: NOW + 30 * DAY_MS - 1 }),
    /^warning: .* expires on 2026-12-29, in 29 days/,
  ],
  [
    'one day left',
    {},
    encryption({ validUntil: NOW + DAY_MS }),
    /^warning: its certificate expires on 2026-12-01, in 1 day$/,
  ],
  ['30 days left', {}, encryption({ validUntil: NOW + 30 * DAY_MS })],
  ['none left', {}, encryption({ validUntil: NOW }), /^warning: its certificate has expired on 2026-11-30/],
  ['a clock ahead', {}, { clockAheadMs: 2001 }, /^warning: its clock is 2\.0 s ahead of/],
  ['a clock behind', {}, { clockAheadMs: -3_600_000 }, /^warning: its clock is 3600 s behind/],
  ['a clock that may be right', {}, { clockAheadMs: 2500, clockUncertaintyMs: 501 }],
  ['a tolerable clock', {}, { clockAheadMs: -2000 }],
  [
    'another port',
    {},
    details({ port: 5433 }),
    /^note: it listens on port 5433 .* from port 5432, .* this gateway itself/,
  ],
  ['room for all', { MAX_CONNECTIONS: '496' }, {}],
  ['no room for the probe', { MAX_CONNECTIONS: '497' }, {}, /^warning: it has places for 497 clients .* lets 497 in/],
  ['less room than fit here', {}, details({ maxConnections: 100 }), /^note: it has places for 97 clients/],
  [
    'hardly any room',
    { MAX_CONNECTIONS: '9' },
    details({ maxConnections: 4 }),
    /^warning: .* 1 clients .*MAX_CONNECTIONS\) to 1 or/,
  ],
  ['a password for ever', {}, details({ passwordUntil: null })],
  [
    'a password that ends',
    {},
    details({ passwordUntil: NOW + 2 * DAY_MS }),
    /^warning: the password of probe expires on/,
  ],
  ['a superuser', {}, details({ superuser: true, readsStatistics: true }), /^note: .* superuser, probe/],
  ['no pg_read_all_stats', {}, details({ readsStatistics: false }), /^note: probe may not see/],
  [
    'a server that tells no more',
    {},
    { details: undefined, detailsProblem: 'x' },
    /^note: more than a probe needs .*: x/,
  ],
];

for (const [what, env, session, ...says] of CASES) {
  test(what, () => {
    const findings = answerFindings(localFacts(configOf(env)), answeredWith(session));
    const texts = findings.map(
      ({ level, what: text, fix }) => `${level}: ${text}${fix.includes('MAX_CONN') ? ` ${fix}` : ''}`,
    );
    assert.is(texts.length, says.length, texts.join('\n'));
    for (const [index, pattern] of says.entries()) assert.match(texts[index] ?? '', pattern);
    for (const { about, fix } of findings) assert.ok(about === 'a:5432' && fix !== '');
  });
}

test('nobody is in between on a loopback address', () => {
  const here = answeredWith({}, primary('a', 1, { address: '127.0.0.1' }));
  const plain = { ...here, inspection: { ...here.inspection, session: { ...SESSION, encryption: undefined } } };
  assert.equal(answerFindings(localFacts(configOf()), plain), []);
});

test('names are quoted where SQL needs it', () => {
  const probe: Partial<ProbeConfig> = { user: 'Pro"be' };
  const [finding] = answerFindings(localFacts(configOf({}, probe)), answeredWith(details({ readsStatistics: false })));
  assert.equal(finding?.lines, ['GRANT pg_read_all_stats TO "Pro""be";']);
});

test('there is nothing to say of one that does not answer', () => {
  assert.equal(answerFindings(localFacts(configOf()), failedBy('refused')), []);
});

test.run();
