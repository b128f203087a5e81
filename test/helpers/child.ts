// SPDX-License-Identifier: MIT
// A child process with its output, an end that can be waited for, and the promise
// that it does not outlive the test.

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';

import { atExit } from './cleanup.js';
import { descendantsOf, signal } from './processes.js';
import { within } from './wait.js';

export interface ChildOptions {
  /** The whole environment: nothing is inherited. Default: that of the test. */
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  readonly uid?: number;
  readonly gid?: number;
  /** Written to standard input, which is then closed. */
  readonly input?: string;
  /** Whoever starts it ends it, also when the test is asked to end: an orderly end takes more than a SIGTERM. */
  readonly endedByOwner?: boolean;
  /** How long `run()` waits. Default: 60 s. */
  readonly deadlineMs?: number;
}

export interface Ended {
  /** Exit status; null if a signal ended it. */
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

const KILL_DEADLINE_MS = 10_000;
const RUN_DEADLINE_MS = 60_000;
/** After the end of the process, what is still in its pipes is read for this long. */
const OUTPUT_GRACE_MS = 2000;
/** More output than this is a runaway: the oldest goes. */
const OUTPUT_LIMIT = 16 * 1024 * 1024;

export class Child {
  readonly pid: number;
  readonly command: string;
  /** Resolves when the process has ended and its output is complete. Never rejects. */
  readonly ended: Promise<Ended>;
  readonly #process: ChildProcess;
  readonly #forget: () => void;
  #stdout = '';
  #stderr = '';
  #end: Ended | undefined;
  #onOutput: (() => void)[] = [];
  #heardAt: number | undefined;
  #longestSilenceMs = 0;

  /** @throws Error if the program cannot be started (synchronously known reasons only; else `ended` tells) */
  constructor(command: readonly string[], options: ChildOptions = {}) {
    const [program = '', ...args] = command;
    this.command = command.join(' ');
    const { env = process.env, cwd, uid, gid, input, endedByOwner = false } = options;
    this.#process = spawn(program, args, {
      env,
      stdio: ['pipe', 'pipe', 'pipe'],
      ...(cwd === undefined ? {} : { cwd }),
      ...(uid === undefined ? {} : { uid }),
      ...(gid === undefined ? {} : { gid }),
    });
    this.ended = this.#observe(this.#process);
    this.pid = this.#process.pid ?? 0;
    const leftover = {
      close: () => this.close(),
      closeNow: () => {
        this.kill('SIGKILL');
      },
    };
    this.#forget = endedByOwner ? () => undefined : atExit(leftover);
    // A program that does not read its input is no fault of the test.
    this.#process.stdin?.on('error', () => undefined);
    if (input !== undefined) this.#process.stdin?.end(input);
  }

  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  /** undefined while it runs. */
  get result(): Ended | undefined {
    return this.#end;
  }

  /** The longest time without any output, from its first output to its end. */
  get longestSilenceMs(): number {
    return this.#longestSilenceMs;
  }

  write(text: string): void {
    this.#process.stdin?.write(text);
  }

  endInput(): void {
    this.#process.stdin?.end();
  }

  /** Nobody reads its standard error from now on, as when journald stands still. It is a socket. */
  pauseStderr(): void {
    this.#process.stderr?.pause();
  }

  resumeStderr(): void {
    this.#process.stderr?.resume();
  }

  kill(name: NodeJS.Signals): void {
    if (this.#end === undefined && this.pid > 0) signal(this.pid, name);
  }

  /** Waits until `find` returns something of what is on standard output and error so far. */
  async output<T>(
    what: string,
    find: (stdout: string, stderr: string) => T | undefined,
    deadlineMs = 15_000,
  ): Promise<T> {
    const found = new Promise<T>((resolve, reject) => {
      const look = (): void => {
        const result = find(this.#stdout, this.#stderr);
        if (result !== undefined) resolve(result);
        else if (this.#end !== undefined) reject(new Error(`${this.#describe()} ended without: ${what}`));
      };
      this.#onOutput.push(look);
      look();
    });
    try {
      return await within(deadlineMs, `${what}; ${this.#describe()}`, found);
    } finally {
      this.#onOutput = [];
    }
  }

  /** Ends it and what it has started, gently first. */
  async close(): Promise<void> {
    if (this.#end === undefined) {
      const descendants = descendantsOf(this.pid);
      this.kill('SIGCONT');
      this.kill('SIGTERM');
      for (const pid of descendants) signal(pid, 'SIGTERM');
      try {
        await within(KILL_DEADLINE_MS, `the end of ${this.command}`, this.ended);
      } catch {
        this.kill('SIGKILL');
        await this.ended;
      }
    }
    this.#forget();
  }

  #observe(child: ChildProcess): Promise<Ended> {
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout = (this.#stdout + text).slice(-OUTPUT_LIMIT);
      this.#tellOutput();
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-OUTPUT_LIMIT);
      this.#tellOutput();
    });
    return new Promise((resolve) => {
      const finish = (status: number | null, name: NodeJS.Signals | null): void => {
        this.#end ??= { status, signal: name, stdout: this.#stdout, stderr: this.#stderr };
        this.#forget();
        this.#tellOutput();
        resolve(this.#end);
      };
      child.on('error', (error) => {
        this.#stderr += `${error.message}\n`;
        // Only a program that was never started has no 'close'.
        if (child.pid === undefined) finish(127, null);
      });
      child.on('close', finish);
      child.on('exit', (status, name) => {
        // A process of its own that has outlived it may hold the pipes open for ever.
        setTimeout(() => {
          if (this.#end !== undefined) return;
          child.stdout?.destroy();
          child.stderr?.destroy();
          finish(status, name);
        }, OUTPUT_GRACE_MS).unref();
      });
    });
  }

  #tellOutput(): void {
    const now = performance.now();
    this.#longestSilenceMs = Math.max(this.#longestSilenceMs, now - (this.#heardAt ?? now));
    this.#heardAt = now;
    for (const look of [...this.#onOutput]) look();
  }

  #describe(): string {
    return `"${this.command}" (stdout ${JSON.stringify(this.#stdout)}, stderr ${JSON.stringify(this.#stderr)})`;
  }
}

/**
 * Runs a program to its end.
 * @throws Error when it does not end in time; it is killed then
 */
export async function run(command: readonly string[], options: ChildOptions = {}): Promise<Ended> {
  const child = new Child(command, { input: '', ...options });
  try {
    return await within(options.deadlineMs ?? RUN_DEADLINE_MS, `the end of ${child.command}`, child.ended);
  } finally {
    if (child.result === undefined) {
      child.kill('SIGKILL');
      await child.ended;
    }
  }
}

/** The standard output of a program. @throws Error with all its output if its status is not 0 */
export async function succeed(command: readonly string[], options: ChildOptions = {}): Promise<string> {
  const { status, signal: name, stdout, stderr } = await run(command, options);
  if (status === 0) return stdout;
  throw new Error(`${command.join(' ')} failed (${name ?? `status ${String(status)}`}):\n${stderr}${stdout}`);
}
