// SPDX-License-Identifier: MIT
// The command line and its help.

import { helpText, parseArguments } from '#src/cli.js';
import type { Command } from '#src/cli.js';
import { SETTINGS } from '#src/config-schema.js';
import { EXIT, GatewayError } from '#src/errors.js';
import { version } from '#src/version.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('cli');

const run: Command = { kind: 'run', file: undefined, overrides: [] };
const HOST = { key: 'listen.host', value: '::', option: '<listen_host>' };

/** arguments, separated by spaces; the command. */
const GOOD: readonly (readonly [string, Command])[] = [
  ['', run],
  ['--check-config', { ...run, kind: 'check-config', depth: 'plan' }],
  ['--check-config --quiet', { ...run, kind: 'check-config', depth: 'quiet' }],
  ['-q --check-config', { ...run, kind: 'check-config', depth: 'quiet' }],
  ['--probe --check-config', { ...run, kind: 'check-config', depth: 'probe' }],
  ['--print-hba -c x.toml', { ...run, kind: 'print-hba', file: 'x.toml' }],
  ['--print-sample-config', { kind: 'print-sample-config' }],
  ['-c x.toml', { ...run, file: 'x.toml' }],
  ['-cx.toml', { ...run, file: 'x.toml' }],
  ['--config x.toml --check-config', { ...run, kind: 'check-config', depth: 'plan', file: 'x.toml' }],
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
  ['--print-hba --check-config', '--print-hba: not together with --check-config'],
  ['--print-hba --print-sample-config', '--print-sample-config: not together with --print-hba'],
  ['--check-config --probe --quiet', '--quiet: not together with --probe'],
  ['--probe', '--probe: only with --check-config'],
  ['--print-hba -q', '--quiet: only with --check-config'],
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

function words(line: string): string[] {
  return line.split(' ').filter((word) => word !== '');
}

test.run();
