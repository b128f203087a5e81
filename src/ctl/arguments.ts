// SPDX-License-Identifier: MIT
// The command line of pg-gatewayctl: what is asked for, and the help text. Pure.

import { parseArgs } from 'node:util';

import { BOUNDS, DEFAULTS } from '../control/documents.js';
import { GatewayError } from '../errors.js';
import { CTL_EXIT } from './exit.js';

export type CtlCommand =
  | { readonly name: 'status' | 'release' | 'failovers' | 'reload' | 'version' }
  /** `query`: as the control socket takes it. */
  | { readonly name: 'sessions'; readonly query: string }
  | { readonly name: 'kill'; readonly ids: readonly number[] }
  | { readonly name: 'hold'; readonly seconds: number }
  | { readonly name: 'drain'; readonly seconds: number; readonly exit: boolean }
  | { readonly name: 'log-level'; readonly level: string }
  | { readonly name: 'top'; readonly everyMs: number };

export type CtlArguments =
  | { readonly kind: 'help' }
  | { readonly kind: 'program-version' }
  | { readonly kind: 'run'; readonly command: CtlCommand; readonly socket: string; readonly json: boolean };

/** Where the units of the package have the sockets. */
export const SOCKET_DIRECTORY = '/run/pg-gatewayctl';

interface OptionRow {
  readonly name: string;
  /** How its value is called; undefined: it takes none. */
  readonly value?: string;
  readonly help: string;
}

interface CommandRow {
  readonly name: CtlCommand['name'];
  /** What follows it. */
  readonly operands?: string;
  readonly options?: readonly OptionRow[];
  readonly help: string;
}

const GLOBAL: readonly OptionRow[] = [
  { name: 'socket', value: 'PATH', help: `The control socket. Default: ${SOCKET_DIRECTORY}/pg-gateway.sock.` },
  { name: 'instance', value: 'NAME', help: 'Ask pg-gateway@NAME.' },
  { name: 'json', help: 'Print what the gateway answers, as JSON.' },
  { name: 'help', help: 'Print this text and exit; -h too.' },
];

export const COMMANDS: readonly CommandRow[] = [
  { name: 'status', help: 'The whole in one look. Exits with 0 (ok), 1 (warning), 2 (critical) or 3 (cannot ask).' },
  {
    name: 'sessions',
    help: 'The sessions, the oldest first.',
    options: [
      { name: 'client', value: 'ADDRESS', help: 'Of this client: address, address:port, or "unix".' },
      { name: 'server', value: 'NAME', help: 'To this server.' },
      { name: 'idle', value: 'SECONDS', help: 'Without a byte for so long.' },
      { name: 'port', value: 'PORT', help: 'With this source port: pg_stat_activity.client_port on the server.' },
      {
        name: 'limit',
        value: 'NUMBER',
        help: `So many at most: 1 to ${BOUNDS.listed}, ${DEFAULTS.listed} if not given.`,
      },
    ],
  },
  { name: 'kill', operands: 'ID...', help: 'End these sessions.' },
  {
    name: 'hold',
    help: 'Let new clients wait; sessions go on. Ends by itself.',
    options: [
      { name: 'for', value: 'SECONDS', help: `1 to ${BOUNDS.holdSeconds}, ${DEFAULTS.holdSeconds} if not given.` },
    ],
  },
  { name: 'release', help: 'End a hold.' },
  {
    name: 'drain',
    help: 'Accept no more clients, wait for the sessions to end, then have the gateway exit.',
    options: [
      {
        name: 'timeout',
        value: 'SECONDS',
        help: `How long to wait for them: 0 to ${BOUNDS.drainSeconds}, ${DEFAULTS.drainSeconds} if not given.`,
      },
      { name: 'stay', help: 'Do not exit: it goes on without clients.' },
    ],
  },
  { name: 'failovers', help: 'The failovers since the start, with the times of their steps.' },
  { name: 'reload', help: 'Read the configuration again, and say what has changed.' },
  { name: 'log-level', operands: 'LEVEL', help: 'debug, info, notice, warning or err, until the next reload.' },
  {
    name: 'top',
    help: 'Status and sessions, live. q quits, s sorts otherwise, space looks at once.',
    options: [{ name: 'interval', value: 'SECONDS', help: '0.2 to 60, 2 if not given.' }],
  },
  { name: 'version', help: 'The versions of the gateway and of this program.' },
];

const MIN_INTERVAL_SECONDS = 0.2;
const MAX_INTERVAL_SECONDS = 60;
const DEFAULT_INTERVAL_SECONDS = 2;

type Given = ReadonlyMap<string, string | undefined>;

/**
 * Understands the arguments after the program's name.
 * @param env CONTROL_SOCKET, if it is a path, is the socket unless another is named
 * @throws GatewayError USAGE, with one line that names the argument
 */
export function parseCtlArguments(argv: readonly string[], env: NodeJS.ProcessEnv): CtlArguments {
  const rows = [...GLOBAL, ...COMMANDS.flatMap(({ options = [] }) => options)];
  const { tokens, positionals } = parseArgs({
    args: [...argv],
    strict: false,
    tokens: true,
    allowPositionals: true,
    options: Object.fromEntries(
      rows.map(({ name, value }) => [name, { type: value === undefined ? ('boolean' as const) : ('string' as const) }]),
    ),
  });
  if (argv.includes('-h') || argv.includes('--help')) return { kind: 'help' };
  if (argv[0] === '-V' || argv[0] === '--version') return { kind: 'program-version' };
  const [word, ...operands] = positionals;
  if (word === undefined) throw usage('a command is missing');
  const row = COMMANDS.find(({ name }) => name === word);
  if (row === undefined) throw usage(`${JSON.stringify(word)}: no such command`);
  const given = new Map<string, string | undefined>();
  for (const token of tokens) {
    if (token.kind !== 'option') continue;
    const option = [...GLOBAL, ...(row.options ?? [])].find(({ name }) => token.rawName === `--${name}`);
    if (option === undefined) throw usage(`${token.rawName}: no option of ${word}`);
    if (given.has(option.name)) throw usage(`--${option.name}: given twice`);
    if (option.value !== undefined && (token.value === undefined || token.value === '')) {
      throw usage(`--${option.name}: expected ${option.value} after it`);
    }
    if (option.value === undefined && token.value !== undefined) throw usage(`--${option.name}: takes no value`);
    given.set(option.name, token.value);
  }
  if (row.operands === undefined && operands.length > 0) throw usage(`${word}: ${operands.join(' ')}: not expected`);
  const command = commandOf(row.name, operands, given);
  return { kind: 'run', command, socket: socketOf(given, env), json: given.has('json') };
}

function commandOf(name: CtlCommand['name'], operands: readonly string[], given: Given): CtlCommand {
  switch (name) {
    case 'sessions':
      return { name, query: sessionsQuery(given) };
    case 'kill':
      return { name, ids: idsOf(operands) };
    case 'hold':
      return { name, seconds: whole(given, 'for', 1, BOUNDS.holdSeconds, DEFAULTS.holdSeconds) };
    case 'drain': {
      const seconds = whole(given, 'timeout', 0, BOUNDS.drainSeconds, DEFAULTS.drainSeconds);
      return { name, seconds, exit: !given.has('stay') };
    }
    case 'log-level': {
      const [level, ...more] = operands;
      if (level === undefined || more.length > 0) throw usage('log-level: expected one LEVEL after it');
      return { name, level };
    }
    case 'top':
      return { name, everyMs: Math.round(intervalOf(given) * 1000) };
    case 'status':
    case 'release':
    case 'failovers':
    case 'reload':
    case 'version':
      return { name };
  }
}

/** What is wrong with a value is the gateway's to say. */
function sessionsQuery(given: Given): string {
  const query = new URLSearchParams();
  for (const name of ['client', 'server', 'idle', 'port', 'limit']) {
    const value = given.get(name);
    if (value !== undefined) query.set(name, value);
  }
  const text = query.toString();
  return text === '' ? '' : `?${text}`;
}

function idsOf(operands: readonly string[]): readonly number[] {
  if (operands.length === 0) throw usage('kill: expected the ID of a session after it');
  if (operands.length > BOUNDS.killed) throw usage(`kill: at most ${BOUNDS.killed} sessions at once`);
  return operands.map((text) => {
    const id = /^[1-9]\d{0,15}$/u.test(text) ? Number(text) : Number.NaN;
    if (!Number.isSafeInteger(id)) throw usage(`kill: ${JSON.stringify(text)} is no ID of a session`);
    return id;
  });
}

function whole(given: Given, name: string, min: number, max: number, otherwise: number): number {
  const text = given.get(name);
  if (text === undefined) return otherwise;
  const value = /^\d{1,9}$/u.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw usage(`--${name}: expected a whole number of seconds from ${min} to ${max}`);
}

function intervalOf(given: Given): number {
  const text = given.get('interval');
  if (text === undefined) return DEFAULT_INTERVAL_SECONDS;
  const value = /^\d{0,3}(?:\.\d{1,3})?$/u.test(text) ? Number(text) : Number.NaN;
  if (value >= MIN_INTERVAL_SECONDS && value <= MAX_INTERVAL_SECONDS) return value;
  throw usage(`--interval: expected a number of seconds from ${MIN_INTERVAL_SECONDS} to ${MAX_INTERVAL_SECONDS}`);
}

function socketOf(given: Given, env: NodeJS.ProcessEnv): string {
  const socket = given.get('socket');
  const instance = given.get('instance');
  if (socket !== undefined && instance !== undefined) throw usage('--instance: not together with --socket');
  if (socket !== undefined) return socket;
  if (instance !== undefined) {
    if (!/^[\w:.\\-]+$/u.test(instance))
      throw usage(`--instance: ${JSON.stringify(instance)} is no name of an instance`);
    return `${SOCKET_DIRECTORY}/pg-gateway@${instance}.sock`;
  }
  const fromEnvironment = env['CONTROL_SOCKET'] ?? '';
  return fromEnvironment.startsWith('/') ? fromEnvironment : `${SOCKET_DIRECTORY}/pg-gateway.sock`;
}

function usage(problem: string): GatewayError {
  return new GatewayError('USAGE', `${problem} (see pg-gatewayctl --help)`);
}

const INDENT = 24;
const WIDTH = 80;

/** The text of `--help`, at most 80 columns wide. */
export function ctlHelp(): string {
  return [
    'Usage: pg-gatewayctl [--socket PATH | --instance NAME] [--json] COMMAND ...',
    '',
    'Asks a running pg-gateway, and has it do things.',
    '',
    'Commands:',
    ...COMMANDS.flatMap(({ name, operands, options = [], help }) => [
      ...entry(`  ${name}${operands === undefined ? '' : ` ${operands}`}`, help),
      ...options.flatMap((option) => entry(`    ${optionName(option)}`, option.help)),
    ]),
    '',
    'Options:',
    ...GLOBAL.flatMap((option) => entry(`  ${optionName(option)}`, option.help)),
    ...entry('  --version', 'As the first argument: print the version of this program and exit; -V too.'),
    '',
    'Exit status:',
    ...CTL_EXIT.flatMap(([status, meaning]) => entry(`  ${status}`, meaning)),
    '',
  ].join('\n');
}

function optionName({ name, value }: OptionRow): string {
  return value === undefined ? `--${name}` : `--${name} ${value}`;
}

function entry(term: string, explanation: string): string[] {
  const lines: string[] = [];
  let line = term.length > INDENT - 2 ? '' : term;
  if (line === '') lines.push(term);
  for (const word of explanation.split(' ')) {
    if (line.length < INDENT) line = line.padEnd(INDENT) + word;
    else if (line.length + 1 + word.length <= WIDTH) line += ` ${word}`;
    else {
      lines.push(line);
      line = ' '.repeat(INDENT) + word;
    }
  }
  return [...lines, line];
}
