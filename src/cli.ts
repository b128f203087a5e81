// SPDX-License-Identifier: MIT
// The command line: what is asked for, and the help text. Nothing is printed
// or read here but the version.

import { parseArgs } from 'node:util';

import { withoutLogin } from './candidates.js';
import type { Override } from './config.js';
import { CONFIG_DIRECTORY, SETTINGS } from './config-schema.js';
import type { NamedSetting } from './config-schema.js';
import { EXIT, GatewayError } from './errors.js';
import { wrap } from './text-layout.js';

/** Where the configuration is read from. */
export interface ConfigArguments {
  /** Read this file instead of those in /etc. */
  readonly file: string | undefined;
  readonly overrides: readonly Override[];
}

/** `quiet`: is it good? `plan`: what would be done? `probe`: and what do the servers say? */
export type CheckDepth = 'quiet' | 'plan' | 'probe';

export type Command =
  | (ConfigArguments & { readonly kind: 'run' })
  | (ConfigArguments & { readonly kind: 'check-config'; readonly depth: CheckDepth })
  | (ConfigArguments & { readonly kind: 'forget-cluster' })
  | (ConfigArguments & { readonly kind: 'print-hba' })
  | { readonly kind: 'print-sample-config' }
  | { readonly kind: 'help'; readonly text: string }
  | { readonly kind: 'version' };

type Token = NonNullable<ReturnType<typeof parseArgs>['tokens']>[number];
type OptionToken = Extract<Token, { kind: 'option' }>;

interface OptionRow {
  readonly name: string;
  readonly short?: string;
  /** How the value is called in the help; undefined: the option takes none. */
  readonly value?: string;
  readonly help: string;
}

const PLAIN_OPTIONS: readonly OptionRow[] = [
  { name: 'config', short: 'c', value: 'FILE', help: 'Read this file instead of those below.' },
  {
    name: 'check-config',
    help: 'Print the effective configuration, secrets masked, and what the gateway would do with it (asked by root: what the installed service would), and exit: 0 if it is good, 78 if not.',
  },
  {
    name: 'probe',
    help: 'With --check-config: also connect once to each server, say what it is, which one would be the primary, and what is wrong, with its remedy. Exit 0 if all is well, 1 with warnings, 69 if no server would be the primary.',
  },
  { name: 'quiet', short: 'q', help: 'With --check-config: print only what is wrong, and look up no name.' },
  {
    name: 'print-hba',
    help: 'Print the role for the probes (CREATE ROLE) and the pg_hba.conf line of each server, and exit. Asked by root: for the installed service.',
  },
  { name: 'print-sample-config', help: 'Print a commented file with every setting and its default, and exit.' },
  {
    name: 'forget-cluster',
    help: 'Delete what the state directory remembers of the cluster, say what it was, and exit. For a cluster that was restored from a backup or replaced; stop the gateway first.',
  },
  { name: 'help', short: 'h', help: 'Print this text and exit.' },
  { name: 'version', short: 'V', help: 'Print the version and exit.' },
];

/** Key -> what its option's value is called, where the last part of the key does not say it. */
const VALUE_NAMES: Readonly<Record<string, string>> = {
  candidates: 'LIST',
  'sessions.workers': 'NUMBER',
  'probe.check_every': 'SECONDS',
  state_directory: 'DIRECTORY',
  'control.socket': 'PATH',
};

const OPTIONS: readonly OptionRow[] = [
  ...PLAIN_OPTIONS,
  ...SETTINGS.flatMap(({ option, env, key }) =>
    option === undefined
      ? []
      : [
          {
            name: option,
            value: VALUE_NAMES[key] ?? key.slice(key.lastIndexOf('.') + 1).toUpperCase(),
            help: `Overrides ${env}.`,
          },
        ],
  ),
];

/**
 * Understands the arguments after the program's name.
 * @throws {GatewayError} USAGE, with one line that names the argument.
 */
export function parseArguments(argv: readonly string[]): Command {
  const { tokens, positionals } = parseArgs({
    args: [...argv],
    // Not strict, for the messages are ours: those of `parseArgs` differ between versions of Node.
    strict: false,
    tokens: true,
    allowPositionals: true,
    options: Object.fromEntries(
      OPTIONS.map(({ name, short, value }) => [
        name,
        {
          type: value === undefined ? ('boolean' as const) : ('string' as const),
          ...(short === undefined ? {} : { short }),
        },
      ]),
    ),
  });
  const given = readOptions(tokens);
  if (given.has('help')) return { kind: 'help', text: helpText() };
  if (given.has('version')) return { kind: 'version' };
  const action = oneOf(ACTIONS, given);
  const addition = oneOf(['probe', 'quiet'] as const, given);
  if (addition !== undefined && action !== 'check-config') throw usage(`--${addition}: only with --check-config`);
  if (action === 'print-sample-config') return { kind: action };
  const where = {
    file: given.get('config'),
    overrides: [...optionOverrides(given), ...positionalOverrides(positionals, given)],
  };
  if (action === 'check-config') return { kind: action, depth: addition ?? 'plan', ...where };
  return { kind: action ?? 'run', ...where };
}

/** What is done instead of running. */
const ACTIONS = ['check-config', 'forget-cluster', 'print-hba', 'print-sample-config'] as const;

/** The one of these that is given; two contradict each other. */
function oneOf<T extends string>(names: readonly T[], given: ReadonlyMap<string, unknown>): T | undefined {
  const [first, second] = names.filter((name) => given.has(name));
  if (first !== undefined && second !== undefined) throw usage(`--${second}: not together with --${first}`);
  return first;
}

/** Option name -> its value, or undefined for one that takes none. */
function readOptions(tokens: readonly Token[]): ReadonlyMap<string, string | undefined> {
  const given = new Map<string, string | undefined>();
  for (const token of tokens) {
    if (token.kind !== 'option') continue;
    const row = OPTIONS.find(({ name, short }) => token.rawName === `--${name}` || token.rawName === `-${short ?? ''}`);
    if (row === undefined) throw usage(`${token.rawName}: unknown option`);
    if (given.has(row.name)) throw usage(`--${row.name}: given twice`);
    given.set(row.name, optionValue(row, token));
  }
  return given;
}

function optionValue(row: OptionRow, token: OptionToken): string | undefined {
  if (row.value === undefined) {
    if (token.value !== undefined) throw usage(`--${row.name}: takes no value`);
    return undefined;
  }
  // `--config --check-config` lacks the file's name; `--config=--odd` is meant.
  const missing = token.value === undefined || (!token.inlineValue && token.value.startsWith('-'));
  if (missing || token.value === '') throw usage(`--${row.name}: expected ${row.value} after it`);
  return token.value;
}

function optionOverrides(given: ReadonlyMap<string, string | undefined>): readonly Override[] {
  return SETTINGS.flatMap(({ key, option }) => {
    const value = option === undefined ? undefined : given.get(option);
    return option === undefined || value === undefined ? [] : [{ key, value, option: `--${option}` }];
  });
}

/** The original's form: both or none. */
function positionalOverrides(
  positionals: readonly string[],
  given: ReadonlyMap<string, string | undefined>,
): readonly Override[] {
  const [host, port] = positionals;
  if (host === undefined) return [];
  if (port === undefined || positionals.length > 2) {
    const found = positionals.map((text) => JSON.stringify(withoutLogin(text))).join(' ');
    throw usage(`expected <listen_host> <listen_port> or neither, found ${found}`);
  }
  for (const option of ['listen-host', 'listen-port']) {
    if (given.has(option)) throw usage(`--${option}: also given as <${option.replace('-', '_')}>`);
  }
  return [
    { key: 'listen.host', value: host, option: '<listen_host>' },
    { key: 'listen.port', value: port, option: '<listen_port>' },
  ];
}

function usage(problem: string): GatewayError {
  return new GatewayError('USAGE', `${problem} (see pg-gateway --help)`);
}

/** The text of `--help`: complete, and at most 80 columns wide. */
export function helpText(): string {
  return [
    'Usage: pg-gateway [OPTION]... [<listen_host> <listen_port>]',
    '',
    ...wrap(
      'One address for a replicated PostgreSQL cluster: forwards every client to the server that is the writable primary.',
      '',
    ),
    '',
    'Options:',
    ...OPTIONS.flatMap(optionHelp),
    ...entry('<listen_host> <listen_port>', 'The same as --listen-host and --listen-port; both or neither.'),
    '',
    'Environment variables, each with its default and its key in a file:',
    ...SETTINGS.flatMap(settingHelp),
    ...wrap('A variable that is set to the empty text counts as not set.', '  '),
    '',
    'Files:',
    ...entry(`${CONFIG_DIRECTORY}/pg-gateway.toml`, 'Main file (TOML).'),
    ...entry(`${CONFIG_DIRECTORY}/conf.d/*.toml`, 'Read after it, in the order of their names.'),
    ...wrap(
      'None of them has to be there. Each of these overrides the ones before it: defaults, files, environment, command line.',
      '  ',
    ),
    '',
    'Set by systemd:',
    ...entry('CREDENTIALS_DIRECTORY', 'Its file "pgpassword" is the password of the probes if PGPASSWORD is not set.'),
    ...entry(
      'LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES',
      'Listening sockets: "primary" or "pg-gateway.socket" for clients, "metrics" for the HTTP listener, "control" for pg-gatewayctl.',
    ),
    ...entry('NOTIFY_SOCKET, WATCHDOG_USEC, JOURNAL_STREAM', 'Readiness, watchdog, and the form of the log.'),
    '',
    'Signals:',
    ...entry(
      'SIGTERM, SIGINT',
      'Stop, once DRAIN_TIMEOUT_MS is over. Sessions end with it, unless a service manager keeps them for the next process.',
    ),
    ...entry(
      'SIGHUP',
      'Read the configuration again. Sessions go on. A configuration with an error is rejected whole.',
    ),
    '',
    'Exit status:',
    ...EXIT_HELP.flatMap(([status, meaning]) => entry(String(status), meaning)),
    '',
  ].join('\n');
}

const EXIT_HELP: readonly (readonly [number, string])[] = [
  [EXIT.OK, 'Stopped when asked to, or did what was asked for.'],
  [EXIT.FAILURE, 'With --probe: there are warnings. Else: failed in a way that has no status of its own.'],
  [EXIT.USAGE, 'The command line was not understood.'],
  [
    EXIT.UNAVAILABLE,
    'A listening address, a socket or the state directory cannot be used. With --probe: no server would be the primary.',
  ],
  [EXIT.SOFTWARE, 'A fault of the gateway itself.'],
  [EXIT.CONFIG, 'The configuration has an error, or what is remembered of the cluster is damaged.'],
];

function optionHelp({ name, short, value, help }: OptionRow): string[] {
  const long = value === undefined ? `--${name}` : `--${name}=${value}`;
  return entry(short === undefined ? `    ${long}` : `-${short}, ${long}`, help);
}

function settingHelp(setting: NamedSetting): string[] {
  return entry(`${setting.env} (${defaultText(setting)}), ${setting.key}`, setting.doc);
}

function defaultText({ default: value, defaultNote }: NamedSetting): string {
  if (defaultNote !== undefined) return defaultNote;
  // The words of the environment, where 1 and 0 have always been used.
  if (typeof value === 'boolean') return value ? '1' : '0';
  return typeof value === 'string' || typeof value === 'number' ? String(value) : 'not set';
}

const INDENT = 26;

/** A term and its explanation, beside each other if the term is short. */
function entry(term: string, explanation: string): string[] {
  const lines = wrap(explanation, ' '.repeat(INDENT));
  const head = `  ${term}`;
  const [first = '', ...rest] = lines;
  if (head.length > INDENT - 2) return [head, ...lines];
  return [head.padEnd(INDENT) + first.trimStart(), ...rest];
}
