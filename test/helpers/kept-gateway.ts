// SPDX-License-Identifier: MIT
// A gateway whose sessions outlive it: a service manager with a file descriptor
// store starts the next process when one has ended.

import { Gateway } from './gateway.js';
import type { GatewayOptions } from './gateway.js';
import type { Target } from './psql.js';
import { ServiceManager } from './service-manager.js';

/** Starts a program whose service manager does not listen. */
export const UNHEARD: readonly string[] = ['env', 'NOTIFY_SOCKET=@pg-gateway-test-nobody'];

export class KeptGateway {
  readonly #manager: ServiceManager;
  readonly #early: boolean;
  #limit: readonly string[] = [];
  #notify: readonly string[] = [];
  #options: GatewayOptions;
  #current: Gateway;

  private constructor(manager: ServiceManager, early: boolean, options: GatewayOptions, first: Gateway) {
    this.#manager = manager;
    this.#early = early;
    this.#options = options;
    this.#current = first;
  }

  /** @param early whether sessions go on before Node begins, as in the unit that the package has; or once it has begun */
  static async start(options: GatewayOptions, { early = true } = {}): Promise<KeptGateway> {
    const manager = await ServiceManager.start([['primary', 'tcp4']], { store: true });
    const launcher = manager.launcherBy([], early);
    try {
      return new KeptGateway(manager, early, options, await Gateway.start({ ...options, launcher }));
    } catch (error) {
      await manager.close();
      throw error;
    }
  }

  /** The process that runs now. */
  get current(): Gateway {
    return this.#current;
  }

  /** Where clients connect, whichever process runs. */
  get clients(): Target {
    const [first] = this.#manager.sockets;
    if (first === undefined) throw new Error('the manager holds no socket');
    return first;
  }

  /** Gives the processes from the next on these variables too. */
  set(env: NodeJS.ProcessEnv): void {
    this.#options = { ...this.#options, env: { ...this.#options.env, ...env } };
  }

  /** The configuration file of the processes from the next on. */
  configure(text: string): void {
    this.#options = { ...this.#options, config: text };
  }

  /** RLIMIT_NOFILE of the processes from the next on; undefined: that of the tests. */
  limitDescriptors(count: number | undefined): void {
    this.#limit = count === undefined ? [] : ['prlimit', `--nofile=${count}:${count}`];
  }

  /** Whether the processes from the next on find nobody at NOTIFY_SOCKET. */
  loseManager(lost: boolean): void {
    this.#notify = lost ? UNHEARD : [];
  }

  /** Ends the process by a signal and starts the next one, as systemd would. */
  async restart(signal: NodeJS.Signals, meanwhile?: () => Promise<void>): Promise<Gateway> {
    this.#current.kill(signal);
    return this.next(meanwhile);
  }

  /** The process has ended or is about to: starts the next one, which is ready when this resolves. */
  async next(meanwhile?: () => Promise<void>): Promise<Gateway> {
    const last = this.#current;
    await last.ended;
    await meanwhile?.();
    this.#current = await Gateway.start({
      ...this.#options,
      launcher: this.#manager.launcherBy([...this.#limit, ...this.#notify], this.#early),
    });
    await last.close();
    return this.#current;
  }

  async close(): Promise<void> {
    await this.#current.close();
    await this.#manager.close();
  }
}

/** Resolves when `work` has ended; `disturb` is called over and over until then. */
export async function disturbed<T>(work: Promise<T>, disturb: () => Promise<unknown>): Promise<T> {
  const state = { over: false };
  void work.finally(() => (state.over = true)).catch(() => undefined);
  while (!state.over) await disturb();
  return work;
}
