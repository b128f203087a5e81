// SPDX-License-Identifier: MIT
// Targets that read a text: the configuration in all its forms, the environment of a service manager, what an earlier
// process has left behind, a password file, a server's answer.

import { deepStrictEqual } from 'node:assert';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { parseCandidates, splitCandidates } from '#src/candidates.js';
import { parseArguments } from '#src/cli.js';
import { decodeCluster, encodeCluster } from '#src/cluster-file.js';
import { SETTINGS } from '#src/config-schema.js';
import { ConfigError, describeConfig, diffConfig, loadConfig } from '#src/config.js';
import { ProbeFault } from '#src/probe/failure.js';
import { passwordFrom } from '#src/probe/passfile.js';
import { parseServerState } from '#src/probe/server-state.js';
import { decodeNote, encodeNote } from '#src/restart-note.js';
import { StateDirectory } from '#src/state-directory.js';
import { inheritedSockets } from '#src/systemd.js';

import { controlRequest } from './requests.js';
import { refusedOr, require, requireOneLine } from './target.js';
import type { Target } from './target.js';

/** `NAME=value` lines as an environment. */
function environmentOf(lines: readonly string[]): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = {};
  for (const line of lines) {
    const sign = line.indexOf('=');
    // What execve(2) lets through.
    if (sign > 0) env[line.slice(0, sign).replaceAll('\0', '')] = line.slice(sign + 1).replaceAll('\0', '');
  }
  return env;
}

const SECRET = 'correct-horse-battery';

/** An environment, a line `---`, a configuration file. */
function configuration(): Target {
  const folder = mkdtempSync(join(tmpdir(), 'pggw-fuzz-'));
  mkdirSync(join(folder, 'home'));
  const file = join(folder, 'pg-gateway.toml');
  const load = (env: NodeJS.ProcessEnv): void => {
    const config = loadConfig({ env, file, directory: folder, environmentFiles: folder });
    require(config.candidates.length > 0, 'a configuration has a server');
    const { live, fixed } = diffConfig(config, config);
    require(live.length + fixed.length === 0, 'nothing changes by itself');
    const told = describeConfig(config);
    // It may be told only where another setting, as the name of a user, has it in it.
    const elsewhere = config.settings.some(
      ({ key, value }) => key !== 'probe.password' && JSON.stringify(value ?? '').includes(SECRET),
    );
    if (config.probe.password === SECRET && !elsewhere) require(!told.includes(SECRET), 'the password is masked');
    config.warnings.forEach(requireOneLine);
  };
  return {
    name: 'configuration',
    modules: ['config', 'candidates'],
    words: [
      ...SETTINGS.flatMap(({ env, key }) => [`\n${env}=`, `\n${key} = `, key]),
      ...['sessions', 'probe', 'failover', 'listen', 'metrics', 'control', 'log'].map((table) => `\n[${table}]\n`),
      ...['"""', "'''", 'true', '[', ']', '{', '}', '1_000', '0x10', '1979-05-27T07:32:00Z', 'inf', SECRET, '\n---\n'],
    ],
    run: (input) => {
      const [environment = '', ...rest] = input.toString('utf8').split('\n---\n');
      writeFileSync(file, rest.length === 0 ? input : rest.join('\n---\n'));
      const env = rest.length === 0 ? {} : environmentOf(environment.split('\n'));
      // Files of this machine are none of the input's affair.
      delete env['CREDENTIALS_DIRECTORY'];
      try {
        load({ ...env, HOME: join(folder, 'home') });
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        require(error.problems.length > 0, 'an error says what is wrong');
        error.problems.forEach(requireOneLine);
      }
    },
    close: () => {
      rmSync(folder, { recursive: true, force: true });
      return Promise.resolve();
    },
  };
}

const candidates: Target = {
  name: 'candidates',
  modules: ['candidates'],
  words: ['[', ']', '::1', ':5432', '127.0.0.1', 'db', ',', '.', '@', '/', '%eth0', '::ffff:1.2.3.4', '-', '_'],
  run: (input) => {
    const list = parseCandidates(splitCandidates(input.toString('utf8')));
    if (list.kind === 'bad') {
      require(list.problems.length > 0, 'a bad list says what is wrong');
      list.problems.forEach((problem) => require(!/[\r\n]/.test(problem), 'a problem is one sentence'));
      return;
    }
    const names = list.candidates.map(({ name }) => name);
    require(new Set(names).size === names.length, 'each server has a name of its own');
    const again = parseCandidates(splitCandidates(names.join(',')));
    deepStrictEqual(again, list, 'names mean what they are the names of');
  },
};

const argumentsTarget: Target = {
  name: 'arguments',
  modules: ['cli'],
  words: ['--config', '--check-config', '--forget-cluster', '--help', '-h', '--', '-', '=', '\n', 'localhost\n5432'],
  run: (input) => {
    refusedOr(['USAGE'], () => parseArguments(input.toString('utf8').split('\n')));
  },
};

const listenFds: Target = {
  name: 'listen-fds',
  modules: ['systemd'],
  words: [
    'LISTEN_PID=42',
    'LISTEN_FDS=',
    'LISTEN_FDNAMES=',
    'primary',
    'metrics',
    'control',
    'ledger',
    'lot-0-in',
    'lot-1-out',
    ':',
    '\n',
  ],
  run: (input) => {
    const env = environmentOf(input.toString('utf8').split('\n'));
    refusedOr(['LISTEN_FDS_INVALID'], () => inheritedSockets(env, 42));
    require(!Object.keys(env).some((name) =>
      /^LISTEN_(?:PID|FDS|FDNAMES)$/.test(name),
    ), 'no child takes them for its own');
  },
};

const clusterFile: Target = {
  name: 'cluster-file',
  modules: ['cluster-file', 'memory'],
  words: [
    '"version"',
    '"system_identifier"',
    '"timeline"',
    '"checksum"',
    '{',
    '}',
    '1',
    'null',
    '"7000000000000000001"',
  ],
  run: (input) => {
    const text = input.toString('utf8');
    const cluster = decodeCluster(text);
    if (typeof cluster === 'string') return;
    require(encodeCluster(cluster) === text, 'only what would have been written is taken');
  },
};

/** Whose the state directory is; process 1 is one that runs. */
function owner(): Target {
  const folder = mkdtempSync(join(tmpdir(), 'pggw-fuzz-'));
  const directory = new StateDirectory(folder);
  const [started] = readFileSync('/proc/1/stat', 'latin1')
    .replace(/^.*\) /su, '')
    .split(' ')
    .slice(19);
  return {
    name: 'owner',
    modules: ['state-directory'],
    words: ['1 ', ` ${started ?? ''}`, `${process.pid} `, '\n', '../1', '0', '-1', 'self '],
    run: (input) => {
      writeFileSync(join(folder, 'owner'), input);
      const pid = directory.owner();
      require(pid === undefined || (Number.isInteger(pid) && pid > 0 && pid !== process.pid), 'it is another process');
      require(pid === undefined || input.toString('utf8').startsWith(`${pid} `), 'and the one that is named');
    },
    close: () => {
      rmSync(folder, { recursive: true, force: true });
      return Promise.resolve();
    },
  };
}

const restartNote: Target = {
  name: 'restart-note',
  modules: ['restart-note', 'memory'],
  words: [
    '"version":1',
    '"memory":',
    '"slots":',
    '"settings":',
    '"cluster":',
    '"primary":',
    '"epoch":',
    '"cut":',
    'null',
    '"candidate":',
    '"address":',
    '"__proto__":',
    '[]',
    '{}',
  ],
  run: (input) => {
    const note = decodeNote(input.toString('utf8'));
    if (note === undefined) return;
    // By its text, to which -0 is 0.
    const text = encodeNote(note);
    const again = decodeNote(text);
    require(again !== undefined && encodeNote(again) === text, 'a note is read back');
  },
};

const passfile: Target = {
  name: 'passfile',
  modules: ['probe/passfile'],
  words: [':', '\\', '*', '#', '\n', 'host', '5432', 'postgres', 'user'],
  run: (input) => {
    const text = input.toString('utf8');
    const key = { host: 'host', port: 5432, database: 'postgres', user: 'user' };
    const password = passwordFrom(text, key);
    require(password === undefined || password.length <= text.length, 'a password is from the file');
    const word = text.replace(/[\r\n]/g, '');
    const line = `*:*:*:user:${word.replace(/[\\:]/g, '\\$&')}`;
    require(passwordFrom(line, key) === word, 'a password is read back');
  },
};

/** The rows of the answer as JSON. */
const serverState: Target = {
  name: 'server-state',
  modules: ['probe/server-state', 'memory'],
  words: [
    '"true"',
    '"false"',
    '"on"',
    '"off"',
    '"00000001"',
    '"0/3000000"',
    '"7000000000000000001"',
    'null',
    '[',
    ']',
    ',',
  ],
  run: (input) => {
    let rows: unknown;
    try {
      rows = JSON.parse(input.toString('utf8'));
    } catch {
      return;
    }
    if (!Array.isArray(rows) || !rows.every((row) => Array.isArray(row))) return;
    try {
      const { timeline, systemId } = parseServerState(rows as unknown[][]);
      require(timeline >= 1 && /^\d{1,20}$/.test(systemId), 'a state makes sense');
    } catch (error) {
      if (!(error instanceof ProbeFault)) throw error;
    }
  },
};

export const TEXT_TARGETS: readonly (readonly [name: string, make: () => Target])[] = [
  ['configuration', configuration],
  ['owner', owner],
  ...[candidates, argumentsTarget, listenFds, clusterFile, restartNote, passfile, serverState, controlRequest].map(
    (target) => [target.name, () => target] as const,
  ),
];
