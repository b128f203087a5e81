// SPDX-License-Identifier: MIT
// The control plane's face of the native data plane: the only importer of the
// addon. Validates every argument, so that the native side may trust what it gets.
//
// Owns the engine: its threads, its listening sockets, every client session.

import { createRequire } from 'node:module';
import { isIP } from 'node:net';
import { constants } from 'node:os';
import { getSystemErrorName } from 'node:util';

import { MAX_CLIENTS } from './config-types.js';
import type { TcpSettings } from './config-types.js';
import type { DataPlaneStats, VerdictCutReason } from './dataplane-stats.js';
import { GatewayError } from './errors.js';
import type { StoredDescriptor } from './systemd.js';
import { SessionInquiries } from './session-inquiries.js';
import type { InquiryEngine } from './session-inquiries.js';
import type { SessionEvents } from './session-log.js';
import { systemTimers } from './timers.js';

/** Where new sessions go. */
export interface Route {
  /** Grows with each new destination, 1..2^32-1; sessions keep the one they were opened in. */
  readonly epoch: number;
  /** The server's slot, 0..MAX_SERVERS-1: names its counters. */
  readonly server: number;
  /** Numeric IPv4 or IPv6 address (a scope such as %eth0 may follow). */
  readonly address: string;
  /** 1..65535 */
  readonly port: number;
}

/** Sessions of an epoch below `belowEpoch` are cut, idle ones too. */
export interface Cut {
  readonly belowEpoch: number;
  readonly reason: VerdictCutReason;
}

/** A backend connection that was refused, reset, or not answered in time. */
export interface BackendFailure {
  readonly epoch: number;
  readonly server: number;
  /** The errno's words: `Connection refused`. */
  readonly error: string;
  /** It was reset while it had a session: the server may have ended that one alone, for what its client sent. */
  readonly relayed: boolean;
}

/**
 * Of the process' descriptors the data plane takes none whose number is not below these; so the rest of them is free,
 * or the control plane's. 1..2^31-1
 */
export interface DescriptorBounds {
  /** For accepting clients. */
  readonly clients: number;
  /** For whatever else, connections to servers and pipes. */
  readonly all: number;
}

export interface DataPlaneSettings {
  /** How long a connection to the backend may take, 1..600000. */
  readonly connectTimeoutMs: number;
  /** Of both sockets of a session. Ranges are those of the configuration. */
  readonly tcp: TcpSettings;
  /** How long a client that cannot be given a server waits for one, 0..MAX_HOLD_MS; 0: not at all. */
  readonly holdTimeoutMs: number;
  /** How many clients may wait, 0..1000000. */
  readonly maxHeld: number;
  /** How many of them a second are let go when there is a server, beside one for each that comes then, 1..1000000. */
  readonly releaseRate: number;
  /** How many clients there may be at once, 1..1000000. */
  readonly maxConnections: number;
  /** How many of them from one address, 0..1000000; 0: as many as there may be. AF_UNIX clients have none. */
  readonly maxConnectionsPerClient: number;
  /** How many new ones a second are accepted, 0..1000000; 0: as many as come. */
  readonly maxConnectionRate: number;
  readonly descriptors: DescriptorBounds;
  /** Record each session that comes and goes, for takeSessionEvents(). */
  readonly logSessions: boolean;
}

/** Where sessions are kept beyond the life of this process. */
export interface SessionKeeping {
  /** $NOTIFY_SOCKET: the service manager, whose file descriptor store is used; without it nothing is kept. */
  readonly notifySocket?: string;
  /** What an earlier process left there. The data plane takes the descriptors over. */
  readonly stored: readonly StoredDescriptor[];
}

/** What became of the sessions of an earlier process. */
export interface Recovery {
  /** Whether the sessions of this process are kept for the next. */
  readonly kept: boolean;
  readonly recovered: number;
  /** Ended because the kernel's byte counts did not prove them whole. */
  readonly notWhole: number;
  /** Known, but their sockets did not come back. */
  readonly missing: number;
  /** Whole, and cut: the earlier process was to do so, and has not come to it. Counted in the stats as any other cut. */
  readonly cut: number;
  /** Bytes that were on their way. */
  readonly bytesInPipes: number;
  /** How long it took, milliseconds. */
  readonly ms: number;
  /** Why nothing could be taken over, or why nothing is kept although it should be. */
  readonly problem?: string;
  /** The last one of the earlier process. */
  readonly note?: string;
  /** All was ended unseen, for so many processes in a row that took it up had crashed. */
  readonly givenUp?: { readonly sessions: number; readonly crashes: number };
}

export interface DataPlaneOptions extends DataPlaneSettings {
  readonly keeping?: SessionKeeping;
  /** Threads, 1..64. */
  readonly workers: number;
}

/** Slots of servers that the native side has counters for (kMaxServers). */
export const MAX_SERVERS = 128;
const MAX_WORKERS = 64;
/** Of `Route.epoch`. */
export const MAX_EPOCH = 2 ** 32 - 1;
const MAX_TIMEOUT_MS = 600_000;
/** A week, as kLongestHoldNs in native/engine.cc: a hold may be renewed beyond all that is configured. */
export const MAX_HOLD_MS = 604_800_000;
/** What close() should be given, so that the end of the whole is over well before anybody's patience. */
export const WORKERS_STOP_MS = 1000;
const MAX_DESCRIPTOR = 2 ** 31 - 1;
const NO_EVENTS: SessionEvents = { events: [], lost: 0 };

/** The order of `enum class CutReason` in native/counters.h. */
const CUT_REASON_NUMBERS: Readonly<Record<Cut['reason'], number>> = { demoted: 0, superseded: 1, lost: 2 };

interface NativeEngine extends InquiryEngine {
  adopt(fd: number): void;
  bind(address: string, port: number): number;
  unbind(port: number): void;
  startAccepting(): void;
  stopAccepting(): void;
  updateRoute(route: Route | null, cutBelowEpoch: number, cutReason: number): void;
  configure(settings: DataPlaneSettings): void;
  ping(): void;
  stats(): DataPlaneStats;
  recovery(): Recovery;
  confirmRecovery(): void;
  excuseRecovery(): void;
  writeNote(text: string, cutBelowEpoch: number, cutReason: number): boolean;
  takeSessionEvents(): SessionEvents;
  stop(timeoutMs: number, keepSessions: boolean): { readonly ended: boolean; readonly sessionEvents: SessionEvents };
}

type EngineOptions = (DataPlaneSettings & { readonly workers: number }) | { readonly asBefore: true };

interface NativeModule {
  readonly managerHasRoom: (notifySocket: string) => boolean;
  readonly Engine: new (
    options: EngineOptions & Partial<SessionKeeping>,
    onBackendFailure: (failure: BackendFailure) => void,
    onAnswer: (number: number, answer: unknown) => void,
  ) => NativeEngine;
}

/**
 * Loads the addon and starts its worker threads.
 * @throws GatewayError DATAPLANE_LOAD, DATAPLANE_START, DATAPLANE_ARGUMENT
 */
export function openDataPlane(options: DataPlaneOptions): DataPlane {
  requireInteger('workers', options.workers, 1, MAX_WORKERS);
  checkSettings(options);
  const { workers, keeping } = options;
  return startEngine({ workers, ...settingsOf(options), ...keeping });
}

/**
 * Likewise, with the sessions of an earlier process, and by what is left of its settings until configure() is called.
 * @throws GatewayError DATAPLANE_LOAD, DATAPLANE_START
 */
export function reopenDataPlane(keeping: SessionKeeping): DataPlane {
  return startEngine({ asBefore: true, ...keeping });
}

function startEngine(options: EngineOptions & Partial<SessionKeeping>): DataPlane {
  const { Engine } = loadAddon();
  // Set before anything can fail: an event comes on the event loop, not during this call.
  let plane: DataPlane | undefined;
  const onBackendFailure = (failure: BackendFailure): void => plane?.onBackendFailure(failure);
  const onAnswer = (number: number, answer: unknown): void => plane?.inquiries.answered(number, answer);
  try {
    plane = new DataPlane(new Engine(options, onBackendFailure, onAnswer));
    return plane;
  } catch (error) {
    const workers = 'workers' in options ? `${options.workers.toString()} workers` : 'the workers';
    const message = `cannot start ${workers}: ${words(error)}${remedyOf(error)}`;
    throw new GatewayError('DATAPLANE_START', message, { cause: error });
  }
}

/**
 * Whether the service manager can take another message at once.
 * @param notifySocket $NOTIFY_SOCKET. Of one that cannot be asked it is true: who sends is told why
 */
export function managerHasRoom(notifySocket: string): boolean {
  return loadAddon().managerHasRoom(notifySocket);
}

export class DataPlane {
  /** Called on the event loop; a burst of failures comes as one, the newest. */
  onBackendFailure: (failure: BackendFailure) => void = () => undefined;
  /** About single sessions. */
  readonly inquiries: SessionInquiries;
  readonly #engine: NativeEngine;
  readonly #recovery: Recovery;
  #finalStats: DataPlaneStats | undefined;
  #finalEvents: SessionEvents = NO_EVENTS;
  readonly #excuse = (): void => {
    this.excuseRecovery();
  };

  constructor(engine: NativeEngine) {
    this.#engine = engine;
    this.inquiries = new SessionInquiries(engine, systemTimers);
    this.#recovery = engine.recovery();
    process.once('exit', this.#excuse);
  }

  /**
   * Accepts clients from a listening stream socket that somebody else bound.
   * @throws GatewayError LISTEN_FAILED saying what the descriptor is not; it is left open
   */
  adoptListener(fd: number): void {
    requireInteger('descriptor', fd, 0, 2 ** 31 - 1);
    try {
      this.#engine.adopt(fd);
    } catch (error) {
      throw new GatewayError('LISTEN_FAILED', `cannot accept clients on descriptor ${fd.toString()}: ${words(error)}`, {
        cause: error,
      });
    }
  }

  /**
   * Binds a numeric address and accepts clients there; the port (a free one for 0).
   * @throws Error with Node's `code` and `errno`, as net.Server would
   */
  bindListener(address: string, port: number): number {
    requireAddress(address);
    requireInteger('port', port, 0, 65535);
    try {
      return this.#engine.bind(address, port);
    } catch (error) {
      throw asNodeError(error);
    }
  }

  /** Lets go of what bindListener() has bound to the port; before startAccepting(). */
  releaseListener(port: number): void {
    requireInteger('port', port, 1, 65535);
    this.#engine.unbind(port);
  }

  /** From now on clients are served; before, they wait in the queues of the listening sockets. Idempotent. */
  startAccepting(): void {
    this.#engine.startAccepting();
  }

  /** From now on new clients wait in the queues of the listening sockets again. Idempotent; for good. */
  stopAccepting(): void {
    this.#engine.stopAccepting();
  }

  /** Sends new clients there, or (null) lets them wait for a primary; and cuts what must not go on. */
  setRoute(route: Route | null, cut?: Cut): void {
    if (route !== null) {
      requireInteger('epoch', route.epoch, 1, MAX_EPOCH);
      requireInteger('server', route.server, 0, MAX_SERVERS - 1);
      requireAddress(route.address);
      requireInteger('port', route.port, 1, 65535);
    }
    this.#engine.updateRoute(route, ...numbersOf(cut));
  }

  /** For connections made and sessions ended from now on. */
  configure(settings: DataPlaneSettings): void {
    checkSettings(settings);
    this.#engine.configure(settingsOf(settings));
  }

  /** Asks every worker for a heartbeat: its count is `beat` in the stats. */
  ping(): void {
    if (this.#finalStats === undefined) this.#engine.ping();
  }

  stats(): DataPlaneStats {
    return this.#finalStats ?? this.#engine.stats();
  }

  /** What became of the sessions of an earlier process. They go on already. */
  get recovery(): Recovery {
    return this.#recovery;
  }

  /**
   * The service is up: once every worker has gone round, this process can live with what it took up. Until then a crash
   * counts, and after ten in a row it is given up.
   */
  confirmRecovery(): void {
    this.#engine.confirmRecovery();
  }

  /** Unless by an exit() or close(), which do so themselves: this process ends because it wants to. */
  excuseRecovery(): void {
    if (this.#finalStats === undefined) this.#engine.excuseRecovery();
  }

  /**
   * Leaves word for the next process; without effect where nothing is kept.
   * @param cut what the note says of it: the next process carries it out if setRoute() has not come to it
   */
  writeNote(text: string, cut?: Cut): void {
    if (this.#finalStats !== undefined || !this.#recovery.kept) return;
    if (!this.#engine.writeNote(text, ...numbersOf(cut))) {
      throw new GatewayError('INTERNAL', `a note of ${text.length.toString()} characters is too long`);
    }
  }

  /** What was recorded since the last call, while `logSessions`; after close() what was left. */
  takeSessionEvents(): SessionEvents {
    if (this.#finalStats === undefined) return this.#engine.takeSessionEvents();
    const events = this.#finalEvents;
    this.#finalEvents = NO_EVENTS;
    return events;
  }

  /**
   * Ends all threads; sessions go on in the next process if they are kept, else they end. Blocks for at most
   * `timeoutMs`; false if a thread had not ended by then (the process must exit). Idempotent.
   */
  close(timeoutMs: number): boolean {
    if (this.#finalStats !== undefined) return true;
    requireInteger('timeoutMs', timeoutMs, 1, MAX_TIMEOUT_MS);
    this.#finalStats = this.#engine.stats();
    this.inquiries.close();
    process.off('exit', this.#excuse);
    const { ended, sessionEvents } = this.#engine.stop(timeoutMs, this.#recovery.kept);
    this.#finalEvents = sessionEvents;
    return ended;
  }
}

function loadAddon(): NativeModule {
  try {
    // The build puts the addon beside this file. What it exports is fixed by native/engine_wrap.cc.
    return createRequire(import.meta.url)('./dataplane.node') as NativeModule;
  } catch (error) {
    throw new GatewayError(
      'DATAPLANE_LOAD',
      `cannot load dist/dataplane.node (npm run build makes it): ${words(error)}`,
      {
        cause: error,
      },
    );
  }
}

/** The settings alone, whatever else the object has. */
function settingsOf(settings: DataPlaneSettings): DataPlaneSettings {
  const { connectTimeoutMs, tcp, holdTimeoutMs, maxHeld, releaseRate, logSessions } = settings;
  const { maxConnections, maxConnectionsPerClient, maxConnectionRate, descriptors } = settings;
  return {
    ...{ connectTimeoutMs, tcp, holdTimeoutMs, maxHeld, releaseRate, logSessions },
    ...{ maxConnections, maxConnectionsPerClient, maxConnectionRate, descriptors },
  };
}

function checkSettings(settings: DataPlaneSettings): void {
  requireInteger('connectTimeoutMs', settings.connectTimeoutMs, 1, MAX_TIMEOUT_MS);
  requireInteger('holdTimeoutMs', settings.holdTimeoutMs, 0, MAX_HOLD_MS);
  requireInteger('maxHeld', settings.maxHeld, 0, MAX_CLIENTS);
  requireInteger('releaseRate', settings.releaseRate, 1, MAX_CLIENTS);
  requireInteger('maxConnections', settings.maxConnections, 1, MAX_CLIENTS);
  requireInteger('maxConnectionsPerClient', settings.maxConnectionsPerClient, 0, MAX_CLIENTS);
  requireInteger('maxConnectionRate', settings.maxConnectionRate, 0, MAX_CLIENTS);
  requireInteger('descriptors.clients', settings.descriptors.clients, 1, MAX_DESCRIPTOR);
  requireInteger('descriptors.all', settings.descriptors.all, 1, MAX_DESCRIPTOR);
  const { keepalivesIdleS, keepalivesIntervalS, keepalivesCount, userTimeoutMs } = settings.tcp;
  requireInteger('keepalivesIdleS', keepalivesIdleS, 0, 2 ** 15 - 1);
  requireInteger('keepalivesIntervalS', keepalivesIntervalS, 0, 2 ** 15 - 1);
  requireInteger('keepalivesCount', keepalivesCount, 0, 2 ** 7 - 1);
  requireInteger('userTimeoutMs', userTimeoutMs, 0, 2 ** 31 - 1);
}

/** As the native side wants it. */
function numbersOf(cut: Cut | undefined): [belowEpoch: number, reason: number] {
  const { belowEpoch, reason }: Cut = cut ?? { belowEpoch: 0, reason: 'superseded' };
  requireInteger('belowEpoch', belowEpoch, 0, MAX_EPOCH);
  return [belowEpoch, CUT_REASON_NUMBERS[reason]];
}

function requireInteger(name: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw new GatewayError(
    'DATAPLANE_ARGUMENT',
    `${name} is ${value.toString()}: expected a whole number from ${min.toString()} to ${max.toString()}`,
  );
}

function requireAddress(address: string): void {
  if (isIP(address) !== 0) return;
  throw new GatewayError('DATAPLANE_ARGUMENT', `address is ${JSON.stringify(address)}: expected an IP address`);
}

/** What mends it, where that can be told. */
function remedyOf(error: unknown): string {
  const isOut = error instanceof Error && 'errno' in error && error.errno === constants.errno.EMFILE;
  return isOut ? ': raise LimitNOFILE= of the service (ulimit -n): sessions of an earlier process need more' : '';
}

function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The addon's errors carry a positive `errno`; Node's have `code` and a negative one. */
function asNodeError(error: unknown): unknown {
  if (!(error instanceof Error && 'errno' in error && typeof error.errno === 'number')) return error;
  return Object.assign(error, { code: getSystemErrorName(-error.errno), errno: -error.errno });
}
