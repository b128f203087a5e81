// SPDX-License-Identifier: MIT
// The program under test as a child process on free ports: its log, its metrics,
// its signals.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { Child } from './child.js';
import type { Ended } from './child.js';
import { LogLine } from './log-line.js';
import { httpGet, Samples } from './metrics-text.js';
import { MAIN, preloading, PROGRAM_ENV, temporaryFolder } from './paths.js';
import type { TemporaryFolder } from './paths.js';
import { SUPERUSER } from './postgres-install.js';
import type { Target } from './psql.js';
import { eventually, within } from './wait.js';
import type { WaitOptions } from './wait.js';

export interface GatewayOptions {
  /** `host:port` of each; left out: the candidates are in `config` or in `env`. */
  readonly candidates?: readonly string[];
  /** Text of the configuration file (TOML), which is read instead of those in /etc. */
  readonly config?: string;
  /** On top of the defaults below; undefined takes one away. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly args?: readonly string[];
  /** Instead of `node`: the first part of a command line, for a wrapper that becomes the program by exec. */
  readonly launcher?: readonly string[];
  /** Wait for the log line `ready`. Default: true. */
  readonly waitForReady?: boolean;
}

const DEFAULTS: Readonly<Record<string, string>> = {
  LISTEN_HOST: '127.0.0.1',
  LISTEN_PORT: '0',
  METRICS_HOST: '127.0.0.1',
  METRICS_PORT: '0',
  PGUSER: SUPERUSER,
  CHECK_EVERY: '0.2',
  // What a client is told is told at once; what waiting is like, tests of it say.
  HOLD_TIMEOUT_MS: '0',
};

const CONFIG_FILE = 'pg-gateway.toml';
const READY_DEADLINE_MS = 60_000;
const STOP_DEADLINE_MS = 10_000;

export class Gateway {
  readonly #folder: TemporaryFolder;
  readonly #child: Child;

  private constructor(folder: TemporaryFolder, child: Child) {
    this.#folder = folder;
    this.#child = child;
  }

  /** @throws Error with its log if it ends before it is ready */
  static async start(options: GatewayOptions): Promise<Gateway> {
    const folder = await temporaryFolder();
    const file = join(folder.path, CONFIG_FILE);
    await writeFile(file, options.config ?? '');
    const command = [...preloading(options.launcher ?? [process.execPath]), MAIN, '--config', file];
    const child = new Child([...command, ...(options.args ?? [])], {
      env: environment(options, folder.path),
      cwd: '/',
    });
    const gateway = new Gateway(folder, child);
    try {
      if (options.waitForReady !== false) await gateway.logged('ready', {}, READY_DEADLINE_MS);
    } catch (error) {
      await gateway.close();
      throw error;
    }
    return gateway;
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Its path; it is in a folder of its own. */
  get configFile(): string {
    return join(this.#folder.path, CONFIG_FILE);
  }

  /** Everything it has logged. */
  get log(): string {
    return this.#child.stderr;
  }

  get stdout(): string {
    return this.#child.stdout;
  }

  get lines(): LogLine[] {
    return LogLine.parseAll(this.log);
  }

  /** Where clients connect, for psql and for raw clients; the first address if it listens on several. */
  get clients(): Target {
    return this.#boundAddress('listening for clients');
  }

  /** Where metrics are served. */
  get metricsAddress(): Target {
    return this.#boundAddress('serving metrics');
  }

  /** Undefined while it runs. */
  get result(): Ended | undefined {
    return this.#child.result;
  }

  /** Resolves when it has ended. */
  get ended(): Promise<Ended> {
    return this.#child.ended;
  }

  /** The first line with this message and these fields, after the line `after` if given; waits for it. */
  logged(
    message: string,
    fields: Readonly<Record<string, string>> = {},
    deadlineMs = 15_000,
    after?: LogLine,
  ): Promise<LogLine> {
    const what = `the log line ${JSON.stringify(message)} ${JSON.stringify(fields)}`;
    const skip = after === undefined ? 0 : after.number;
    return this.#child.output(
      what,
      () => this.lines.find((line) => line.number > skip && line.matches(message, fields)),
      deadlineMs,
    );
  }

  /** The last line of the log, as a mark for `logged`. */
  get mark(): LogLine | undefined {
    return this.lines.at(-1);
  }

  /** What /metrics says now. */
  async samples(): Promise<Samples> {
    const { status, body } = await httpGet(this.metricsAddress, '/metrics');
    if (status !== 200) throw new Error(`/metrics answered ${status}: ${body}`);
    return Samples.parse(body);
  }

  /** Waits until a metric has a value for which `accept` holds. */
  async metric(
    name: string,
    labels: Readonly<Record<string, string>>,
    accept: (value: number) => boolean,
    options?: WaitOptions,
  ): Promise<number> {
    let last: number | undefined;
    const look = async (): Promise<number | undefined> => {
      last = (await this.samples()).value(name, labels);
      return last !== undefined && accept(last) ? last : undefined;
    };
    return eventually(`a good value of ${name}${JSON.stringify(labels)}`, look, options).catch((error: unknown) => {
      throw new Error(`${String(error)}; the last one was ${String(last)}`);
    });
  }

  async http(path: string): Promise<{ status: number; body: string }> {
    return httpGet(this.metricsAddress, path);
  }

  /** Waits until the proven primary is this candidate; `none`: until there is no primary. */
  async primaryIs(candidate: string, options?: WaitOptions): Promise<void> {
    await eventually(
      `the gateway to route to ${candidate}; log:\n${this.log}`,
      () => this.primary === candidate,
      options,
    );
  }

  /** The primary of the last STATE CHANGE in the log. */
  get primary(): string | undefined {
    return this.lines
      .filter(({ message }) => message === 'STATE CHANGE')
      .at(-1)
      ?.fields.get('new');
  }

  /** Replaces the configuration file; it is read again on SIGHUP. */
  async configure(text: string): Promise<void> {
    await writeFile(this.configFile, text);
  }

  /** Nobody reads its log while `during` lasts; what it could write all the same is there afterwards. */
  async unread(during: () => Promise<void>): Promise<void> {
    this.#child.pauseStderr();
    try {
      await during();
    } finally {
      this.#child.resumeStderr();
    }
  }

  kill(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** Asks it to stop, and waits until it has ended. */
  async stop(): Promise<Ended> {
    this.kill('SIGTERM');
    return within(STOP_DEADLINE_MS, `the end of the gateway; log:\n${this.log}`, this.ended);
  }

  async close(): Promise<void> {
    await this.#child.close();
    await this.#folder.close();
  }

  #boundAddress(message: string): Target {
    const address = this.lines.find((line) => line.message === message)?.fields.get('address');
    const match = /^\[?(.*?)\]?:(\d+)$/.exec(address ?? '');
    if (match === null) throw new Error(`no address in the log for "${message}":\n${this.log}`);
    const [, host = '', port = ''] = match;
    return { host: host === '::' ? '::1' : host, port: Number(port) };
  }
}

/** Nothing of the tester's own settings but the path. */
function environment({ candidates, env }: GatewayOptions, home: string): NodeJS.ProcessEnv {
  return {
    PATH: process.env['PATH'],
    HOME: home,
    ...PROGRAM_ENV,
    LD_PRELOAD: undefined,
    ...DEFAULTS,
    ...(candidates === undefined ? {} : { CANDIDATES: candidates.join(',') }),
    ...env,
  };
}

/** One for as long as `use` takes. */
export async function withGateway(options: GatewayOptions, use: (gateway: Gateway) => Promise<void>): Promise<void> {
  const gateway = await Gateway.start(options);
  try {
    await use(gateway);
  } finally {
    await gateway.close();
  }
}
