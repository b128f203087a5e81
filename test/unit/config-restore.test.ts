// SPDX-License-Identifier: MIT
// The configuration of an earlier process, of what it has left of it.

import { ConfigError, restoreConfig } from '#src/config.js';
import type { GivenSetting, LoadedConfig, LoadInput } from '#src/config.js';
import { ConfigMachine } from '../helpers/config-input.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite<{ machine: ConfigMachine }>('config, restored');

test.before.each((context) => {
  context.machine = new ConfigMachine();
});
test.after.each(({ machine }) => {
  machine.close();
});

/** As it comes out of the note. */
function left({ given }: LoadedConfig): readonly GivenSetting[] {
  return JSON.parse(JSON.stringify(given)) as readonly GivenSetting[];
}

/** Each problem, or none. */
function problems(given: readonly GivenSetting[], input: LoadInput): readonly string[] {
  try {
    restoreConfig(given, input);
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
}

test('it is the same, with the source of each value, and needs no file and no variable any more', ({ machine }) => {
  machine.write('etc/pg-gateway.toml', 'candidates = ["db1", "db2:5433"]\n[probe]\ncheck_every = 0.5\n');
  machine.write('etc/conf.d/more.toml', '[failover]\ncut_policy = "eager"\n[metrics]\nstatus_page = false\n');
  const env = { LISTEN_PORT: '6000', NUM_THREADS: 'auto' };
  const before = machine.load(env, { overrides: [{ key: 'log.level', value: 'debug', option: '--log-level' }] });
  machine.close();
  const { sources: _, ...config } = before;
  const { sources, ...restored } = restoreConfig(left(before), machine.input({}));
  assert.equal(restored, config);
  assert.equal(sources, []);
});

const PASSWORDS: readonly (readonly [
  what: string,
  env: NodeJS.ProcessEnv,
  file: string,
  password: string | undefined,
])[] = [
  ['in the environment', { PGPASSWORD: 'new', LISTEN_PORT: 'x' }, '', 'new'],
  ['in a file with another fault', {}, '[probe]\npassword = "new"\ncheck_every = "x"\n', 'new'],
  ['nowhere', { LISTEN_PORT: 'x' }, '', undefined],
  ['in a file that is no TOML', {}, '[probe]\npassword = "new"\n[[', undefined],
  ['one that is none', {}, '[probe]\npassword = 7\n', undefined],
];
for (const [what, env, file, password] of PASSWORDS) {
  test(`the password is not left, it is what the sources have now: ${what}`, ({ machine }) => {
    const before = left(machine.load({ CANDIDATES: 'db1', PGPASSWORD: 'old' }));
    assert.not.match(JSON.stringify(before), 'old');
    machine.write('etc/pg-gateway.toml', file);
    const restored = restoreConfig(before, machine.input(env));
    assert.is(restored.probe.password, password);
    assert.is(restored.listen.port, 5432);
    assert.is(restored.probe.checkEveryMs, 2000);
  });
}

test('a file that it names and that cannot be read is found out when it is used', ({ machine }) => {
  const rootCert = machine.write('root.crt', '');
  const env = { CANDIDATES: 'db1', PGSSLMODE: 'verify-full', PGSSLROOTCERT: rootCert };
  const before = machine.load(env);
  machine.close();
  assert.equal(restoreConfig(left(before), machine.input({})).probe.tls, before.probe.tls);
});

test('a setting that is none any more is left out', ({ machine }) => {
  const given: readonly GivenSetting[] = [
    ['candidates', ['db1'], 'environment CANDIDATES'],
    ['listen.colour', 'red', 'environment LISTEN_COLOUR'],
  ];
  assert.equal(restoreConfig(given, machine.input({})).given, given.slice(0, 1));
});

test('a value that cannot be is a problem, and so is a list without candidates', ({ machine }) => {
  const candidates: GivenSetting = ['candidates', ['db1'], 'environment CANDIDATES'];
  assert.equal(problems([candidates, ['listen.port', 70_000, 'environment LISTEN_PORT']], machine.input({})), [
    'environment LISTEN_PORT: listen.port = 70000: expected a port from 1 to 65535, or 0 for any free port',
  ]);
  assert.equal(problems([], machine.input({})), ['candidates: none are set']);
});

test.run();
