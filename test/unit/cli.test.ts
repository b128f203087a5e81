// SPDX-License-Identifier: MIT
// The command line, its help, and the sample configuration that goes with it.

import { readFileSync } from 'node:fs';

import { helpText, parseArguments } from '#src/cli.js';
import type { Command } from '#src/cli.js';
import { parseToml } from '#src/config.js';
import { SETTINGS } from '#src/config-schema.js';
import { EXIT, GatewayError } from '#src/errors.js';
import { version } from '#src/version.js';
import { ConfigMachine } from '../helpers/config-input.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('cli');

const run: Command = { kind: 'run', file: undefined, overrides: [] };
const HOST = { key: 'listen.host', value: '::', option: '<listen_host>' };

/** arguments, separated by spaces; the command. */
const GOOD: readonly (readonly [string, Command])[] = [
  ['', run],
  ['--check-config', { ...run, kind: 'check-config' }],
  ['-c x.toml', { ...run, file: 'x.toml' }],
  ['-cx.toml', { ...run, file: 'x.toml' }],
  ['--config x.toml --check-config', { ...run, kind: 'check-config', file: 'x.toml' }],
  ['--config=-odd', { ...run, file: '-odd' }],
  [':: 6432', { ...run, overrides: [HOST, { key: 'listen.port', value: '6432', option: '<listen_port>' }] }],
  ['-- :: -1', { ...run, overrides: [HOST, { key: 'listen.port', value: '-1', option: '<listen_port>' }] }],
  [
    // The values are the configuration's to judge, with all the others.
    '--log-level=x --check-every 0.5 --workers auto --listen-host=h --listen-port 1 --metrics-host m --metrics-port 2 --candidates a,b',
    {
      ...run,
      overrides: [
        { key: 'candidates', value: 'a,b', option: '--candidates' },
        { key: 'listen.host', value: 'h', option: '--listen-host' },
        { key: 'listen.port', value: '1', option: '--listen-port' },
        { key: 'sessions.workers', value: 'auto', option: '--workers' },
        { key: 'probe.check_every', value: '0.5', option: '--check-every' },
        { key: 'metrics.host', value: 'm', option: '--metrics-host' },
        { key: 'metrics.port', value: '2', option: '--metrics-port' },
        { key: 'log.level', value: 'x', option: '--log-level' },
      ],
    },
  ],
  ['--forget-cluster', { ...run, kind: 'forget-cluster' }],
  [
    '--forget-cluster --config x.toml --state-directory=/s',
    {
      kind: 'forget-cluster',
      file: 'x.toml',
      overrides: [{ key: 'state_directory', value: '/s', option: '--state-directory' }],
    },
  ],
  ['--version', { kind: 'version' }],
  ['-V', { kind: 'version' }],
  ['-V --check-config', { kind: 'version' }],
  ['--help', { kind: 'help', text: helpText() }],
  ['-hV', { kind: 'help', text: helpText() }],
  // Somebody who asks for help gets it, whatever else is not as it should be.
  ['one --help', { kind: 'help', text: helpText() }],
];

for (const [line, command] of GOOD) {
  test(`understands: ${line}`, () => {
    assert.equal(parseArguments(words(line)), command);
  });
}

const POSITIONAL = 'expected <listen_host> <listen_port> or neither, found';

const BAD: readonly (readonly [string, string])[] = [
  ['localhost', `${POSITIONAL} "localhost"`],
  ['localhost 5432 x', `${POSITIONAL} "localhost" "5432" "x"`],
  ['postgres://u:hunter2@db1/x', `${POSITIONAL} "postgres://***"`],
  ['--nope', '--nope: unknown option'],
  ['--nope=1', '--nope: unknown option'],
  ['-x', '-x: unknown option'],
  ['--no-check-config', '--no-check-config: unknown option'],
  ['--password=x', '--password: unknown option'],
  ['--check-config=yes', '--check-config: takes no value'],
  ['--config', '--config: expected FILE after it'],
  ['--config=', '--config: expected FILE after it'],
  ['--config --check-config', '--config: expected FILE after it'],
  ['-c', '--config: expected FILE after it'],
  ['--listen-port --workers 2', '--listen-port: expected PORT after it'],
  ['-c a -c b', '--config: given twice'],
  ['--check-config --check-config', '--check-config: given twice'],
  ['--forget-cluster --check-config', '--forget-cluster: not together with --check-config'],
  ['--listen-port 1 :: 2', '--listen-port: also given as <listen_port>'],
  ['--listen-host :: :: 2', '--listen-host: also given as <listen_host>'],
];

for (const [line, message] of BAD) {
  test(`rejects: ${line}`, () => {
    try {
      parseArguments(words(line));
      assert.unreachable('it was accepted');
    } catch (error) {
      assert.instance(error, GatewayError);
      if (!(error instanceof GatewayError)) return;
      assert.is(error.code, 'USAGE');
      assert.is(error.message, `${message} (see pg-gateway --help)`);
    }
  });
}

test('an empty list of arguments after -- is none', () => {
  assert.equal(parseArguments(['--']), run);
});

test('the help names every variable with its default, every option, every exit status, within 80 columns', () => {
  const help = helpText();
  for (const setting of SETTINGS) {
    assert.match(help, new RegExp(`^  ${setting.env} \\(.+\\), ${setting.key.replace('.', '\\.')}$`, 'm'));
    if (setting.option !== undefined) assert.match(help, `--${setting.option}=`);
  }
  for (const text of ['CHECK_EVERY (2)', 'LISTEN_HOST (localhost)', 'TCP_KEEPALIVE (1)', 'CANDIDATES (required)']) {
    assert.match(help, text);
  }
  for (const status of Object.values(EXIT)) assert.match(help, new RegExp(`^  ${String(status)} +\\w`, 'm'));
  for (const word of [
    'SIGTERM',
    'SIGINT',
    'SIGHUP',
    '--check-config',
    '/etc/pg-gateway/conf.d/*.toml',
    '<listen_port>',
  ]) {
    assert.match(help, word);
  }
  for (const line of help.split('\n')) {
    assert.ok(line.length <= 80, line);
    assert.is(line, line.trimEnd());
  }
  assert.ok(help.endsWith('\n') && !help.endsWith('\n\n'));
});

test('secrets have no option', () => {
  assert.ok(SETTINGS.some(({ secret }) => secret));
  for (const { secret, option } of SETTINGS) assert.ok(!secret || option === undefined);
});

test('knows its version', () => {
  assert.match(version(), /^\d+\.\d+\.\d+/);
});

const SAMPLE = readFileSync(new URL('../../../packaging/pg-gateway.toml', import.meta.url), 'utf8');

test('the sample, as it is, sets nothing', () => {
  assert.equal(leaves(SAMPLE), []);
});

test('the sample lists every key with its default and its variable, in the order of the schema', () => {
  assert.equal(
    leaves(uncommented(SAMPLE)),
    SETTINGS.map((setting) => [setting.key, setting.default ?? '']),
  );
  assert.equal(
    [...SAMPLE.matchAll(/^# Environment: (\w+)\n#(\w+) = /gm)].map(([, env, leaf]) => [env, leaf]),
    SETTINGS.map(({ key, env }) => [env, key.slice(key.indexOf('.') + 1)]),
  );
  for (const { key, live } of SETTINGS) {
    const [, leaf = key] = key.split('.');
    const block = SAMPLE.split('\n\n').filter((text) => text.includes(`\n#${leaf} = `) && text.includes('[restart]'));
    assert.ok(live === (block.length === 0), `${key} is marked [restart] if it is not live`);
  }
});

test('the sample, with every "#" taken away, is the default configuration', () => {
  const machine = new ConfigMachine();
  try {
    const required = 'candidates = []';
    const file = machine.write('x.toml', uncommented(SAMPLE).replace(required, ''));
    assert.match(uncommented(SAMPLE), required);
    const sampled = machine.load({ CANDIDATES: 'a' }, { file });
    const defaults = machine.load({ CANDIDATES: 'a' });
    assert.equal({ ...sampled, settings: [], sources: [] }, { ...defaults, settings: [], sources: [] });
  } finally {
    machine.close();
  }
});

/** [key, value] of everything in a file. */
function leaves(text: string): (readonly [string, unknown])[] {
  return Object.entries(parseToml(text)).flatMap(([name, value]) =>
    typeof value !== 'object' || value === null || Array.isArray(value)
      ? [[name, value] as const]
      : Object.entries(value).map(([leaf, inner]) => [`${name}.${leaf}`, inner] as const),
  );
}

function uncommented(text: string): string {
  return text.replace(/^#(\w+ = )/gm, '$1');
}

function words(line: string): string[] {
  return line.split(' ').filter((word) => word !== '');
}

test.run();
