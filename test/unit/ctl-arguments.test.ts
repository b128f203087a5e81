// SPDX-License-Identifier: MIT
// The command line of pg-gatewayctl: what each means, and what is refused.

import { COMMANDS, ctlHelp, parseCtlArguments } from '#src/ctl/arguments.js';
import type { CtlCommand } from '#src/ctl/arguments.js';
import { GatewayError } from '#src/errors.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('pg-gatewayctl arguments');
const SOCKET = '/run/pg-gatewayctl/pg-gateway.sock';

function parse(line: string, env: NodeJS.ProcessEnv = {}) {
  return parseCtlArguments(line === '' ? [] : line.split(' '), env);
}

const GOOD: readonly (readonly [line: string, command: CtlCommand])[] = [
  ['status', { name: 'status' }],
  ['sessions', { name: 'sessions', query: '' }],
  [
    'sessions --client [::1]:5 --server a:5432 --idle=1.5 --port 7 --limit 3',
    { name: 'sessions', query: '?client=%5B%3A%3A1%5D%3A5&server=a%3A5432&idle=1.5&port=7&limit=3' },
  ],
  ['kill 1 922337203685', { name: 'kill', ids: [1, 922_337_203_685] }],
  ['hold', { name: 'hold', seconds: 60 }],
  ['hold --for 600', { name: 'hold', seconds: 600 }],
  ['release', { name: 'release' }],
  ['drain', { name: 'drain', seconds: 300, exit: true }],
  ['drain --stay --timeout=0', { name: 'drain', seconds: 0, exit: false }],
  ['failovers', { name: 'failovers' }],
  ['reload', { name: 'reload' }],
  ['log-level debug', { name: 'log-level', level: 'debug' }],
  ['top', { name: 'top', everyMs: 2000 }],
  ['top --interval .2', { name: 'top', everyMs: 200 }],
  ['version', { name: 'version' }],
];

for (const [line, command] of GOOD) {
  test(`pg-gatewayctl ${line}`, () => {
    assert.equal(parse(line), { kind: 'run', command, socket: SOCKET, json: false });
  });
}

test('every command is among them', () => {
  const names = new Set(GOOD.map(([, { name }]) => name));
  assert.equal([...names].sort(), COMMANDS.map(({ name }) => name).sort());
});

test('global options stand before or after the command', () => {
  for (const line of ['--json --socket /s status', 'status --socket=/s --json', '--socket /s status --json']) {
    assert.equal(parse(line), { kind: 'run', command: { name: 'status' }, socket: '/s', json: true });
  }
});

test('where the gateway is asked: an option, an instance, the environment, the package', () => {
  const socketOf = (line: string, env?: NodeJS.ProcessEnv): string => {
    const asked = parse(line, env);
    return asked.kind === 'run' ? asked.socket : asked.kind;
  };
  assert.is(socketOf('status --instance sales'), '/run/pg-gatewayctl/pg-gateway@sales.sock');
  assert.is(socketOf('status', { CONTROL_SOCKET: '/tmp/c' }), '/tmp/c');
  assert.is(socketOf('status', { CONTROL_SOCKET: 'off' }), SOCKET);
  assert.is(socketOf('status --socket /s', { CONTROL_SOCKET: '/tmp/c' }), '/s');
  assert.is(socketOf('status --instance a', { CONTROL_SOCKET: '/tmp/c' }), '/run/pg-gatewayctl/pg-gateway@a.sock');
});

test('help and version, whatever else is there', () => {
  for (const line of ['--help', '-h', 'status --help', 'nonsense --help']) assert.equal(parse(line), { kind: 'help' });
  for (const line of ['--version', '-V']) assert.equal(parse(line), { kind: 'program-version' });
});

const BAD: readonly (readonly [line: string, problem: string])[] = [
  ['', 'a command is missing'],
  ['--json', 'a command is missing'],
  ['stop', '"stop": no such command'],
  ['constructor', '"constructor": no such command'],
  ['status now', 'status: now: not expected'],
  ['status --limit 3', '--limit: no option of status'],
  ['status --colour', '--colour: no option of status'],
  ['status -x', '-x: no option of status'],
  ['status --json=yes', '--json: takes no value'],
  ['status --json --json', '--json: given twice'],
  ['status --socket', '--socket: expected PATH after it'],
  ['status --socket=', '--socket: expected PATH after it'],
  ['status --socket /s --instance a', '--instance: not together with --socket'],
  ['status --instance ../a', '--instance: "../a" is no name of an instance'],
  ['kill', 'kill: expected the ID of a session after it'],
  ['kill x', 'kill: "x" is no ID of a session'],
  ['kill 0', 'kill: "0" is no ID of a session'],
  ['kill 9999999999999999', 'kill: "9999999999999999" is no ID of a session'],
  ['hold --for 0', '--for: expected a whole number of seconds from 1 to 600'],
  ['hold --for 1m', '--for: expected a whole number of seconds from 1 to 600'],
  ['drain --timeout -1', '--timeout: expected a whole number of seconds from 0 to 86400'],
  ['log-level', 'log-level: expected one LEVEL after it'],
  ['log-level debug info', 'log-level: expected one LEVEL after it'],
  ['top --interval 0', '--interval: expected a number of seconds from 0.2 to 60'],
];

for (const [line, problem] of BAD) {
  test(`refused: pg-gatewayctl ${line}`, () => {
    try {
      parse(line);
      assert.unreachable();
    } catch (error) {
      assert.instance(error, GatewayError);
      const { code, message } = error as GatewayError;
      assert.equal([code, message], ['USAGE', `${problem} (see pg-gatewayctl --help)`]);
    }
  });
}

test('the help has every command and option, in 80 columns', () => {
  const help = ctlHelp();
  for (const { name, options = [] } of COMMANDS) {
    assert.match(help, new RegExp(`^  ${name}\\b`, 'mu'));
    for (const option of options) assert.match(help, new RegExp(`^    --${option.name}\\b`, 'mu'));
  }
  for (const line of help.split('\n')) assert.ok(line.length <= 80, line);
});

test.run();
