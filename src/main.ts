#!/usr/bin/env node
// SPDX-License-Identifier: MIT
// The composition root: arguments -> configuration -> daemon; signals; exit codes.

import { isIP } from 'node:net';

import type { Candidate } from './candidates.js';
import { parseArguments } from './cli.js';
import type { Command } from './cli.js';
import { ConfigError, loadConfig, restoreConfig } from './config.js';
import type { LoadInput } from './config.js';
import type { DaemonOptions } from './daemon.js';
import { managerHasRoom, WORKERS_STOP_MS } from './dataplane.js';
import { EXIT, GatewayError } from './errors.js';
import { forgetCluster } from './forget-cluster.js';
import { missingSocket, serviceOf, serviceToJudgeFor } from './installed-service.js';
import { createLogger } from './log.js';
import type { Logger } from './log.js';
import { begin, noteOf } from './recovery.js';
import { openState } from './state-directory.js';
import { createNotifier, inheritedSockets } from './systemd.js';
import type { InheritedSockets } from './systemd.js';
import { version } from './version.js';

type RunCommand = Extract<Command, { kind: 'run' }>;

type Prepared = Pick<DaemonOptions, 'config' | 'dataPlane' | 'note' | 'state' | 'rejected'>;

/** How the program ends. */
interface Ending {
  readonly status: number;
  /** It ran until a signal came: it may end by that signal as well. */
  readonly stopped?: boolean;
}

/** Exit status of an error that ended the program. */
function exitStatusOf(error: unknown): number {
  if (!(error instanceof GatewayError)) return EXIT.SOFTWARE;
  switch (error.code) {
    case 'CONFIG_INVALID':
    case 'CONFIG_UNREADABLE':
    case 'STATE_INVALID':
    case 'STATE_UNREADABLE':
      return EXIT.CONFIG;
    case 'USAGE':
      return EXIT.USAGE;
    case 'LISTEN_FAILED':
    case 'LISTEN_FDS_INVALID':
    case 'STATE_IN_USE':
    case 'STATE_WRITE_FAILED':
      return EXIT.UNAVAILABLE;
    default:
      return EXIT.SOFTWARE;
  }
}

function logProblems({ problems, code }: ConfigError, logger: Logger): void {
  for (const problem of problems) logger.err(problem, { code });
}

function fail(logger: Logger, error: unknown): number {
  if (error instanceof ConfigError) {
    logProblems(error, logger);
  } else if (error instanceof GatewayError) {
    logger.err(error.message, { code: error.code });
  } else {
    logger.err('internal error', { code: 'INTERNAL', stack: error instanceof Error ? error.stack : String(error) });
  }
  return exitStatusOf(error);
}

/** So many names may be added by reloads, all of their look-ups hanging, before one has to wait for another. */
const SPARE_LOOK_UPS = 8;

/**
 * A look-up is a thread of libuv's pool for as long as it takes, and half of the pool, two threads of four, is all that
 * look-ups get: two that hang would keep every other name waiting. The size is read when the pool is first used. In the
 * shipped bundle that is later than this; from a checkout Node has read the modules by it, and `npm start` has its say.
 */
function makeRoomForLookUps(candidates: readonly Candidate[]): void {
  const names = new Set(candidates.map(({ host }) => host).filter((host) => isIP(host) === 0));
  process.env['UV_THREADPOOL_SIZE'] ??= String(2 * Math.max(SPARE_LOOK_UPS, names.size));
}

/** What a start goes by. */
function prepare(input: LoadInput, inherited: InheritedSockets, logger: Logger): Prepared {
  const { config, dataPlane, rejected } = begin({
    load: () => loadConfig(input),
    restore: (left) => restoreConfig(left, input),
    inherited,
    notifySocket: input.env['NOTIFY_SOCKET'],
  });
  logger.setLevel(config.logLevel);
  if (rejected !== undefined) {
    logProblems(rejected, logger);
    logger.err('the configuration was rejected, that of the process before goes on: its sessions need not end');
  }
  makeRoomForLookUps(config.candidates);
  try {
    const note = noteOf(dataPlane, logger);
    // Before new clients are served: what is not to be trusted must not be found out with them in hand.
    const state = openState(config.stateDirectory, input.env['RUNTIME_DIRECTORY'], note.load().cluster, logger);
    return { config, dataPlane, note, state, rejected: rejected?.problems ?? [] };
  } catch (error) {
    dataPlane.close(WORKERS_STOP_MS);
    throw error;
  }
}

async function run(command: RunCommand, logger: Logger): Promise<number> {
  const input = { env: process.env, overrides: command.overrides, file: command.file };
  let requestStop = (_: string): void => undefined;
  const stopSignal = new Promise<string>((resolve) => {
    requestStop = resolve;
    process.on('SIGTERM', resolve);
    process.on('SIGINT', resolve);
  });
  // A reload that is asked for during the start comes after it.
  const early = { reload: false };
  let reload = (): void => {
    early.reload = true;
  };
  process.on('SIGHUP', () => {
    reload();
  });
  const inherited = inheritedSockets(process.env, process.pid);
  const prepared = prepare(input, inherited, logger);
  const missing = missingSocket(command.file, process.env, inherited.clients);
  if (missing !== undefined) {
    logger.warning(`${missing} is not open: clients can connect only where listen.host and listen.port say`, {
      hint: `systemctl status ${missing} tells why; when that is mended, systemctl restart ${missing}`,
    });
  }
  const notifySocket = process.env['NOTIFY_SOCKET'] ?? '';
  const notifier = await createNotifier(logger, { hasRoom: () => managerHasRoom(notifySocket) });
  // It brings most of the program along, for which no session should wait.
  const { startDaemon } = await import('./late.js');
  const started = startDaemon({
    ...prepared,
    reload: () => loadConfig(input),
    inherited,
    notifier,
    logger,
    requestStop: () => {
      requestStop('administrator');
    },
    version: version(),
  });
  const first = await Promise.race([started, stopSignal]);
  if (typeof first === 'string') {
    logger.notice('stopping before the start was over', { signal: first });
    prepared.dataPlane.excuseRecovery();
    return EXIT.OK;
  }
  reload = () => {
    first.reload();
  };
  if (early.reload) reload();
  logger.notice('stopping', { signal: await stopSignal });
  const orderly = await first.stop();
  prepared.state.directory?.release();
  return orderly ? EXIT.OK : EXIT.SOFTWARE;
}

/** Everything but running. */
async function consult(command: Exclude<Command, { kind: 'run' }>, logger: Logger): Promise<number> {
  if (command.kind === 'help' || command.kind === 'version') {
    process.stdout.write(command.kind === 'help' ? command.text : `pg-gateway ${version()}\n`);
    return EXIT.OK;
  }
  if (command.kind === 'print-sample-config') {
    const { sampleConfig } = await import('./late.js');
    process.stdout.write(sampleConfig());
    return EXIT.OK;
  }
  const input = { env: process.env, overrides: command.overrides, file: command.file };
  if (command.kind === 'forget-cluster') {
    process.stdout.write(`${forgetCluster(input)}\n`);
    return EXIT.OK;
  }
  // The units ask quietly, and what they ask is what they are then told at the start.
  const isQuiet = command.kind === 'check-config' && command.depth === 'quiet';
  const service = isQuiet ? undefined : serviceToJudgeFor(command.file);
  const config = loadConfig({ ...input, service });
  for (const warning of config.warnings) logger.warning(warning);
  if (isQuiet) return EXIT.OK;
  makeRoomForLookUps(config.candidates);
  const { checkConfig, printHba } = await import('./late.js');
  const write = (text: string): boolean => process.stdout.write(text);
  if (command.kind === 'print-hba') return printHba(config, service, write);
  const stateDirectory = serviceOf(command.file)?.stateDirectory;
  return checkConfig({ config, probes: command.depth === 'probe', service, stateDirectory, write });
}

async function main(): Promise<Ending> {
  const logger = createLogger({ level: 'info' });
  // Node's own answer is to open its debugger, to everybody who may connect to the loopback address.
  process.on('SIGUSR1', () => undefined);
  process.on('uncaughtException', (error) => {
    process.exit(fail(logger, error));
  });
  try {
    const command = parseArguments(process.argv.slice(2));
    if (command.kind !== 'run') return { status: await consult(command, logger) };
    return { status: await run(command, logger), stopped: true };
  } catch (error) {
    return { status: fail(logger, error) };
  }
}

/** A look-up, and a write to a disk that does not answer; as Node names them. */
const MAY_HANG = ['GetAddrInfoReqWrap', 'FSReqPromise'];

/**
 * An exit waits for the threads of libuv's pool, and so for a call that hangs: ten seconds and more, in which the next
 * process does not take the sessions up. What was stopped by a signal in an orderly way then ends by one, which systemd
 * takes for as good.
 */
function end({ status, stopped = false }: Ending): void {
  // Node has it since 17.3; its types for Node 18 leave it out.
  const { getActiveResourcesInfo } = process as { getActiveResourcesInfo?: () => readonly string[] };
  if (stopped && status === EXIT.OK && getActiveResourcesInfo?.().some((name) => MAY_HANG.includes(name)) === true) {
    process.removeAllListeners('SIGTERM');
    process.kill(process.pid, 'SIGTERM');
  }
  process.exit(status);
}

void main().then((ending) => {
  // stdout may be a pipe that still has to take its last bytes.
  process.stdout.write('', () => {
    end(ending);
  });
});
