// SPDX-License-Identifier: MIT
// What systemd does for a service: listening sockets that are handed over and
// outlive it, and notifications. The sockets are those of another process, as
// systemd's are.

import { join } from 'node:path';

import { Child, succeed } from './child.js';
import { ADDON, PRELOAD, temporaryFolder, testFile } from './paths.js';
import type { TemporaryFolder } from './paths.js';
import type { Host } from './network.js';
import type { Target } from './psql.js';

/** The last two are addresses as ListenStream= has them: IPv4 with a port, and the path of a UNIX socket. */
export type SocketKind = 'tcp4' | 'tcp6' | 'unix' | 'unlistened' | 'file' | `${string}:${number}` | `/${string}`;

/** FileDescriptorName= and what it is. */
export type SocketSpecification = readonly [name: string, kind: SocketKind];

interface Held extends Target {
  readonly name: string;
}

/** One datagram of sd_notify(3): its assignments. */
export type Notification = ReadonlyMap<string, string>;

const SCRIPT = testFile('helpers/service-manager.py');
const START_DEADLINE_MS = 60_000;
/** Ends when the queue of a datagram socket is full. */
const FILL = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(sys.argv[1]); s.setblocking(False)
try:
    while True: s.send(b"X_FILL=1")
except BlockingIOError: pass
`;

export class ServiceManager {
  /** In the order they are handed over; where clients reach them. */
  readonly sockets: readonly Held[];
  readonly #folder: TemporaryFolder;
  readonly #child: Child;
  readonly #enter: readonly string[];

  private constructor(folder: TemporaryFolder, child: Child, sockets: readonly Held[], enter: readonly string[]) {
    this.#folder = folder;
    this.#child = child;
    this.#enter = enter;
    this.sockets = sockets;
  }

  /**
   * @param store whether it has a file descriptor store, and so keeps what a service leaves for its next process
   * @param on the host on which its sockets are, and its service runs
   */
  static async start(
    sockets: readonly SocketSpecification[],
    { store = false, on }: { readonly store?: boolean; readonly on?: Host } = {},
  ): Promise<ServiceManager> {
    const enter = on?.enter ?? [];
    const folder = await temporaryFolder();
    const names = sockets.map(([name, kind]) => `${name}=${kind}`);
    const child = new Child([
      ...enter,
      'python3',
      SCRIPT,
      'hold',
      ...(store ? ['--store'] : []),
      folder.path,
      ...names,
    ]);
    try {
      const [first = ''] = await child.output(
        'the sockets',
        (stdout) => {
          return stdout.includes('\n') ? stdout.split('\n') : undefined;
        },
        START_DEADLINE_MS,
      );
      // The first line of the script is of this form.
      const { sockets: held } = JSON.parse(first) as { sockets: Held[] };
      return new ServiceManager(folder, child, held, enter);
    } catch (error) {
      await child.close();
      await folder.close();
      throw error;
    }
  }

  /** For `Gateway.start`: gives a process all the sockets and the place for notifications, then becomes `node`. */
  get launcher(): readonly string[] {
    return [...this.#enter, 'python3', SCRIPT, 'exec', this.#folder.path, process.execPath];
  }

  /** NOTIFY_SOCKET of a service that is started without one of the launchers, which take time of their own. */
  get notifySocket(): string {
    return join(this.#folder.path, 'notify');
  }

  /** The same, with the addon loaded ahead of `node`, as in the unit that the package has. */
  get earlyLauncher(): readonly string[] {
    return this.launcherBy([], true);
  }

  /** The same by way of another program, such as prlimit(1); `early`: with the addon loaded ahead of `node`. */
  launcherBy(program: readonly string[], early: boolean): readonly string[] {
    const before = this.launcher.slice(0, -1);
    const preload = ['/usr/bin/env', `LD_PRELOAD=${PRELOAD === undefined ? '' : `${PRELOAD}:`}${ADDON}`];
    return [...before, ...program, ...(early ? preload : []), process.execPath];
  }

  /** Where a service of this manager has to say what it does, if it is not started by `launcher`. */
  get notifications(): Notification[] {
    return parse(this.#child.stdout);
  }

  /** Waits for one for which `accept` holds; those before the number `from` are not looked at. */
  notified(what: string, accept: (notification: Notification) => boolean, from = 0): Promise<Notification> {
    return this.#child.output(what, (stdout) => parse(stdout).slice(from).find(accept));
  }

  /** From now on it reads nothing, and has no room for more. */
  async deafen(): Promise<void> {
    this.#child.kill('SIGSTOP');
    await succeed([...this.#enter, 'python3', '-c', FILL, this.notifySocket]);
  }

  /** It reads again. */
  hear(): void {
    this.#child.kill('SIGCONT');
  }

  /** Its sockets, and what it has kept, end with it, as with the machine. */
  kill(): void {
    this.#child.kill('SIGKILL');
  }

  async close(): Promise<void> {
    await this.#child.close();
    await this.#folder.close();
  }
}

function parse(stdout: string): Notification[] {
  return stdout
    .split('\n')
    .slice(1, -1)
    .map((line) => {
      // All lines of the script but the first are of this form.
      const { notification } = JSON.parse(line) as { notification: string };
      const assignments = notification.split('\n').map((text): [string, string] => {
        const sign = text.indexOf('=');
        return [text.slice(0, sign), text.slice(sign + 1)];
      });
      return new Map(assignments);
    });
}
