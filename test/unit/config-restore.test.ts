// SPDX-License-Identifier: MIT
// The configuration of an earlier process, of what it has left of it.

import { ConfigError, restoreConfig } from '#src/config.js';
import type { GivenSetting, LoadedConfig } from '#src/config.js';
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
function problems(given: readonly GivenSetting[], env: NodeJS.ProcessEnv): readonly string[] {
  try {
    restoreConfig(given, env);
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
}

test('it is the same, with the source of each value, and needs no file and no variable any more', ({ machine }) => {
  machine.write('etc/pg-gateway.toml', 'candidates = ["db1", "db2:5433"]\n[probe]\npassword = "secret"\ncheck_every = 0.5\n');
  machine.write('etc/conf.d/more.toml', '[failover]\ncut_policy = "eager"\n[metrics]\nstatus_page = false\n');
  const env = { LISTEN_PORT: '6000', NUM_THREADS: 'auto' };
  const before = machine.load(env, { overrides: [{ key: 'log.level', value: 'debug', option: '--log-level' }] });
  machine.close();
  const { sources: _, ...config } = before;
  const { sources, ...restored } = restoreConfig(left(before), machine.input({}).env);
  assert.equal(restored, config);
  assert.equal(sources, []);
  assert.is(restored.probe.password, 'secret');
});

test('a file that it names and that cannot be read is found out when it is used', ({ machine }) => {
  const rootCert = machine.write('root.crt', '');
  const env = { CANDIDATES: 'db1', PGSSLMODE: 'verify-full', PGSSLROOTCERT: rootCert };
  const before = machine.load(env);
  machine.close();
  assert.equal(restoreConfig(left(before), {}).probe.tls, before.probe.tls);
});

test('a setting that is none any more is left out', () => {
  const given: readonly GivenSetting[] = [
    ['candidates', ['db1'], 'environment CANDIDATES'],
    ['listen.colour', 'red', 'environment LISTEN_COLOUR'],
  ];
  assert.equal(restoreConfig(given, {}).given, given.slice(0, 1));
});

test('a value that cannot be is a problem, and so is a list without candidates', () => {
  const candidates: GivenSetting = ['candidates', ['db1'], 'environment CANDIDATES'];
  assert.equal(problems([candidates, ['listen.port', 70_000, 'environment LISTEN_PORT']], {}), [
    'environment LISTEN_PORT: listen.port = 70000: expected a whole number from 0 to 65535',
  ]);
  assert.equal(problems([], {}), ['candidates: none are set']);
});

test.run();
