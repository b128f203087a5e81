// SPDX-License-Identifier: MIT
// What systemd and the gateway say to each other: the sockets it hands over
// (sd_listen_fds(3)) and the notifications it gets (sd_notify(3)). The only
// importer of sd-notify.
//
// sd-notify is optional: it needs libsystemd's headers to build and fits one
// Node major. Without it everything works but notifications.

import { fstatSync } from 'node:fs';
import { GatewayError } from './errors.js';
import type { Logger } from './log.js';
import { systemTimers, type Timers } from './timers.js';

// ---- sockets handed over ----------------------------------------------------

/** What was handed over, by purpose, each in its order. */
export interface InheritedSockets {
  /** Listening sockets. */
  readonly clients: readonly number[];
  readonly metrics: readonly number[];
  readonly control: readonly number[];
  /** What an earlier process of this service has stored (FDSTORE=1). */
  readonly stored: readonly StoredDescriptor[];
}

export interface StoredDescriptor {
  /** FDNAME= it was stored by. */
  readonly name: string;
  readonly fd: number;
}

/** SD_LISTEN_FDS_START of sd_listen_fds(3). */
const FIRST_FD = 3;
/** More than the store and all sockets can be: FileDescriptorStoreMax= of the unit is 4096. */
const MAX_FDS = 65_536;

type Purpose = 'clients' | 'metrics' | 'control';

/** FileDescriptorName= of systemd.socket(5); without it the name is that of the socket unit. */
const PURPOSES: ReadonlyMap<string, Purpose> = new Map([
  ['pg-gateway.socket', 'clients'],
  ['primary', 'clients'],
  ['metrics', 'metrics'],
  ['pg-gateway-metrics.socket', 'metrics'],
  ['control', 'control'],
  ['pg-gateway-control.socket', 'control'],
]);

/** The names by which the data plane stores descriptors (native/session_store.h). */
const STORED_NAME = /^(?:ledger|lot-\d{1,8}-(?:in|out))$/;

const LISTEN_VARIABLES = ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES', 'LISTEN_PIDFDID'] as const;

/**
 * The sockets handed to this process, none if there are none or if they were meant for another process. The variables
 * are taken out of `env`, whatever the result, so that no child takes them for its own.
 *
 * Throws GatewayError LISTEN_FDS_INVALID: malformed variables, an unknown name, or a descriptor that is not a socket.
 */
export function inheritedSockets(env: NodeJS.ProcessEnv, pid: number): InheritedSockets {
  const { LISTEN_PID: listenPid, LISTEN_FDS: listenFds, LISTEN_FDNAMES: listenNames } = env;
  for (const name of LISTEN_VARIABLES) Reflect.deleteProperty(env, name);
  const sockets = {
    clients: [] as number[],
    metrics: [] as number[],
    control: [] as number[],
    stored: [] as StoredDescriptor[],
  };
  if (listenPid === undefined || listenFds === undefined) return sockets;
  if (wholeNumber('LISTEN_PID', listenPid) !== pid) return sockets;
  const count = wholeNumber('LISTEN_FDS', listenFds);
  if (count > MAX_FDS) {
    throw new GatewayError('LISTEN_FDS_INVALID', `LISTEN_FDS=${listenFds}: at most ${MAX_FDS.toString()} expected`);
  }
  const names = socketNames(listenNames, count);
  for (let index = 0; index < count; index += 1) {
    const fd = FIRST_FD + index;
    const name = names?.[index];
    if (name !== undefined && STORED_NAME.test(name)) {
      sockets.stored.push({ name, fd });
      continue;
    }
    const purpose = names === undefined ? 'clients' : purposeOf(fd, name);
    requireSocket(fd, name);
    sockets[purpose].push(fd);
  }
  return sockets;
}

function wholeNumber(variable: string, text: string): number {
  if (!/^\d{1,10}$/.test(text)) {
    throw new GatewayError('LISTEN_FDS_INVALID', `${variable}=${JSON.stringify(text)}: a whole number expected`);
  }
  return Number(text);
}

/** undefined: the manager gives no names (only systemd does), so all sockets are for clients. */
function socketNames(listenNames: string | undefined, count: number): readonly string[] | undefined {
  if (listenNames === undefined) return undefined;
  const names = listenNames === '' ? [] : listenNames.split(':');
  if (count === 0 || names.length === count) return names;
  throw new GatewayError(
    'LISTEN_FDS_INVALID',
    `LISTEN_FDNAMES=${JSON.stringify(listenNames)} holds ${names.length.toString()} names for the ` +
      `${count.toString()} sockets of LISTEN_FDS: one name per socket expected, separated by colons`,
  );
}

function purposeOf(fd: number, name: string | undefined): Purpose {
  const purpose = name === undefined ? undefined : PURPOSES.get(name);
  if (purpose !== undefined) return purpose;
  throw new GatewayError(
    'LISTEN_FDS_INVALID',
    `the socket handed over as descriptor ${fd.toString()} is named ${JSON.stringify(name)}: ` +
      `one of ${[...PURPOSES.keys()].join(', ')} expected (FileDescriptorName= of the socket unit)`,
  );
}

/** Early and cheap; that it listens is checked where it is taken into use. */
function requireSocket(fd: number, name: string | undefined): void {
  const which = `descriptor ${fd.toString()}${name === undefined ? '' : ` (${name})`}`;
  let isSocket: boolean;
  try {
    isSocket = fstatSync(fd).isSocket();
  } catch (error) {
    throw new GatewayError('LISTEN_FDS_INVALID', `${which} was announced as a socket but is not open`, {
      cause: error,
    });
  }
  if (!isSocket) throw new GatewayError('LISTEN_FDS_INVALID', `${which} was announced as a socket but is not one`);
}

// ---- notifications ----------------------------------------------------------

/** Nothing here throws or fails; where nobody listens, nothing is sent. */
export interface Notifier {
  /** EXTEND_TIMEOUT_USEC=: a start may take so long from now on, whatever TimeoutStartSec= says. */
  starting(withinMs: number): void;
  /** READY=1: started, or done with a reload. */
  ready(): void;
  /** RELOADING=1 with the time it began, as Type=notify-reload wants it; ready() must follow. */
  reloading(): void;
  /** STOPPING=1 */
  stopping(): void;
  /** STATUS=: sent if it differs from the last one and at most once a second; of several the last one wins. */
  status(text: string): void;
  /** WATCHDOG=1 */
  watchdog(): void;
  /** WATCHDOG_USEC as milliseconds; 0: no pings are wanted, or none can be sent. */
  readonly watchdogIntervalMs: number;
  /** Drops a status that waits. Idempotent. */
  close(): void;
}

/** The part of sd-notify 2.8 that is used. */
export interface SdNotify {
  /** READY=1 */
  ready(): void;
  /** STOPPING=1. The argument is read unchecked by native code: leaving it out is undefined behaviour. */
  stopping(pid: number): void;
  /** WATCHDOG=1 */
  watchdog(): void;
  /** sd_watchdog_enabled(3) in whole milliseconds; 0 when off or meant for another process. */
  watchdogInterval(): number;
  /** Lines of KEY=value, as sd_notify(3) takes them. */
  sendState(state: string): void;
  /** STATUS=text; the text must not hold a newline. */
  sendStatus(text: string): void;
}

export interface NotifierOptions {
  readonly env?: NodeJS.ProcessEnv;
  /**
   * Whether the manager has room for another message: libsystemd waits for that, for ever if need be, on the thread that
   * everything else waits for. Left out: it always has.
   */
  readonly hasRoom?: () => boolean;
  readonly load?: () => Promise<{ readonly default: SdNotify }>;
  readonly timers?: Timers;
}

const STATUS_INTERVAL_MS = 1000;
const MAX_STATUS_CHARS = 1024;
/** How often a manager that does not read is looked at again, and how much waits for it: some reloads. */
const ROOM_EVERY_MS = 100;
const MAX_WAITING = 16;

/** Never rejects: where sd-notify cannot be loaded and systemd waits for notifications, one warning is logged. */
export async function createNotifier(logger: Logger, options: NotifierOptions = {}): Promise<Notifier> {
  const env = options.env ?? process.env;
  const socket = env['NOTIFY_SOCKET'];
  if (socket === undefined || socket === '') return SILENT;
  try {
    const module = await (options.load ?? (() => import('sd-notify')))();
    return new SystemdNotifier(module.default, logger, options);
  } catch (error) {
    logger.warning('systemd gets no notifications: the optional package sd-notify could not be loaded', {
      reason: firstLine(error),
      hint: 'install libsystemd-dev and run npm rebuild sd-notify, or use Type=exec without WatchdogSec=',
    });
    return SILENT;
  }
}

const SILENT: Notifier = {
  starting: () => undefined,
  ready: () => undefined,
  reloading: () => undefined,
  stopping: () => undefined,
  status: () => undefined,
  watchdog: () => undefined,
  watchdogIntervalMs: 0,
  close: () => undefined,
};

class SystemdNotifier implements Notifier {
  readonly watchdogIntervalMs: number;
  readonly #sd: SdNotify;
  readonly #logger: Logger;
  readonly #timers: Timers;
  readonly #hasRoom: () => boolean;
  /** What the manager must hear, in this order. */
  #unsaid: (() => void)[] = [];
  #cancelUnsaid: (() => void) | undefined;
  #sentStatus: string | undefined;
  #waitingStatus: string | undefined;
  #sentAt = -Infinity;
  #cancelTimer: (() => void) | undefined;
  #failed = false;
  #closed = false;

  constructor(sd: SdNotify, logger: Logger, { timers, hasRoom }: NotifierOptions) {
    this.#sd = sd;
    this.#logger = logger;
    this.#timers = timers ?? systemTimers;
    this.#hasRoom = hasRoom ?? (() => true);
    this.watchdogIntervalMs = sd.watchdogInterval();
  }

  starting(withinMs: number): void {
    this.#say(() => {
      this.#sd.sendState(`EXTEND_TIMEOUT_USEC=${(withinMs * 1000).toString()}`);
    });
  }

  ready(): void {
    this.#say(() => {
      this.#sd.ready();
    });
  }

  reloading(): void {
    // process.hrtime is CLOCK_MONOTONIC on Linux (libuv), the clock that MONOTONIC_USEC= is compared with.
    const usec = process.hrtime.bigint() / 1000n;
    this.#say(() => {
      this.#sd.sendState(`RELOADING=1\nMONOTONIC_USEC=${usec.toString()}`);
    });
  }

  stopping(): void {
    if (!this.#hasRoom()) return; // it will see
    this.#send(() => {
      this.#sd.stopping(process.pid);
    });
  }

  watchdog(): void {
    if (!this.#hasRoom()) return; // one that does not read does not count either
    this.#send(() => {
      this.#sd.watchdog();
    });
  }

  status(text: string): void {
    if (this.#closed) return;
    this.#waitingStatus = oneLine(text);
    if (this.#cancelTimer === undefined) this.#sendWaitingStatus();
  }

  close(): void {
    this.#closed = true;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#waitingStatus = undefined;
    this.#cancelUnsaid?.();
    this.#cancelUnsaid = undefined;
    this.#unsaid = [];
  }

  /** Now, or as soon as the manager has room for it. */
  #say(run: () => void): void {
    if (this.#closed) return;
    this.#unsaid = [...this.#unsaid, run].slice(-MAX_WAITING);
    if (this.#cancelUnsaid === undefined) this.#sayUnsaid();
  }

  #sayUnsaid(): void {
    for (let run = this.#unsaid[0]; run !== undefined; run = this.#unsaid[0]) {
      if (!this.#hasRoom()) {
        this.#cancelUnsaid = this.#timers.after(ROOM_EVERY_MS, () => {
          this.#cancelUnsaid = undefined;
          this.#sayUnsaid();
        });
        return;
      }
      this.#unsaid.shift();
      this.#send(run);
    }
  }

  #sendWaitingStatus(): void {
    const text = this.#waitingStatus;
    if (text === undefined || text === this.#sentStatus) return;
    const dueInMs = this.#sentAt + STATUS_INTERVAL_MS - this.#timers.now();
    if (dueInMs > 0 || !this.#hasRoom()) {
      this.#cancelTimer = this.#timers.after(dueInMs > 0 ? dueInMs : STATUS_INTERVAL_MS, () => {
        this.#cancelTimer = undefined;
        this.#sendWaitingStatus();
      });
      return;
    }
    this.#waitingStatus = undefined;
    this.#sentStatus = text;
    this.#sentAt = this.#timers.now();
    this.#send(() => {
      this.#sd.sendStatus(text);
    });
  }

  #send(run: () => void): void {
    try {
      run();
    } catch (error) {
      if (!this.#failed) this.#logger.warning('notifying systemd failed', { reason: firstLine(error) });
      this.#failed = true;
    }
  }
}

/** sd_notify(3) separates assignments by newlines: a newline in a status would begin another one. */
function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ').slice(0, MAX_STATUS_CHARS);
}

function firstLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.split('\n', 1)[0] ?? '';
}
