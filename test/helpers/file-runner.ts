// SPDX-License-Identifier: MIT
// Runs test files: each is a process of its own with a deadline. Prints a line for
// each as it ends, a sign of life for those that take long, and dots in between; the output
// of a file only if it failed.

import { fork, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join, relative } from 'node:path';

import { atExit } from './cleanup.js';
import { forecast, remember } from './durations.js';
import { PROJECT_ROOT, testFile } from './paths.js';
import { descendantsOf, signal } from './processes.js';
import { SignOfLife } from './sign-of-life.js';
import type { ProgressMessage } from './suite.js';

export interface TestFile {
  /** For people and filters: `unit/election`. */
  readonly name: string;
  readonly command: readonly string[];
  /** The first part of a command line that becomes the command by exec. */
  readonly launcher?: readonly string[];
  /** On top of the environment that all files get. */
  readonly env?: Readonly<Record<string, string>>;
  readonly deadlineMs: number;
  /** Finds the counts in its output; undefined: it never got to its end. */
  readonly count: (output: string) => Counts | undefined;
}

export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

export interface Group {
  readonly files: readonly TestFile[];
  readonly atOnce: number;
}

/** Time to take away what it has started, before it is killed. */
const CLEANUP_MS = 15_000;
const SIGN_OF_LIFE_MS = 10_000;
const OUTPUT_LIMIT = 4 * 1024 * 1024;

let dots: SignOfLife | undefined;
/** Whether the line that was begun last is of dots. */
let dotted = false;

const SAY_COLOURS = process.stdout.isTTY && process.env['NO_COLOR'] === undefined;

/** The sources say what there is: a compiled file may be of a test that has gone. */
export function testFiles(
  folder: 'unit' | 'integration' | 'network' | 'system' | 'patroni' | 'majors' | 'prometheus' | 'browser' | 'guides',
  deadlineMs: number,
): TestFile[] {
  const root = testFile(folder);
  return walk(root)
    .filter((path) => path.endsWith('.test.ts'))
    .sort()
    .map((path) => {
      const name = join(folder, relative(root, path)).replace(/\.test\.ts$/, '');
      const compiled = join(PROJECT_ROOT, 'build/test', `${name}.test.js`);
      return { name, command: [process.execPath, compiled], deadlineMs, count: countUvu };
    });
}

/** Whether one of the words is in the file's path; without words, always. */
export function matchesOneOf(filters: readonly string[]): (file: TestFile) => boolean {
  return (file) =>
    filters.length === 0 || filters.some((filter) => file.name.includes(filter.replace(/^test\/|\.test\.[tj]s$/g, '')));
}

function walk(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? walk(path) : [path];
  });
}

/** uvu's own idea of success misses a hook that failed: what was not passed has failed. */
function countUvu(output: string): Counts | undefined {
  const match = /Total: +(\d+)\s+Passed: +(\d+)\s+Skipped: +(\d+)/.exec(output);
  if (match === null) return undefined;
  const [total = 0, passed = 0, skipped = 0] = match.slice(1).map(Number);
  return { passed, failed: total - passed, skipped };
}

/** doctest: `[doctest] test cases: 12 | 12 passed | 0 failed | 0 skipped` */
export function countDoctest(output: string): Counts | undefined {
  const match = /test cases:\s*\d+ \|\s*(\d+) passed \|\s*(\d+) failed \|\s*(\d+) skipped/.exec(output);
  return match === null ? undefined : { passed: Number(match[1]), failed: Number(match[2]), skipped: Number(match[3]) };
}

export class Run {
  readonly #env: NodeJS.ProcessEnv;
  #passed = 0;
  #failed = 0;

  /** @param env what all files get on top of the environment of this process */
  constructor(env: Readonly<Record<string, string>>) {
    this.#env = { ...process.env, ...env, NO_COLOR: '1' };
  }

  get counts(): Pick<Counts, 'passed' | 'failed'> {
    return { passed: this.#passed, failed: this.#failed };
  }

  async group({ files, atOnce }: Group): Promise<void> {
    if (files.length === 0) return;
    say(
      forecast(
        files.map(({ name }) => name),
        atOnce,
      ),
    );
    const waiting = [...files];
    const endDots = beginDots();
    const work = async (): Promise<void> => {
      for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) await this.#file(file);
    };
    await Promise.all(Array.from({ length: atOnce }, work));
    endDots();
  }

  async #file(file: TestFile): Promise<void> {
    const start = performance.now();
    const { output, problem } = await execute(file, { ...this.#env, ...file.env });
    const counts = file.count(output);
    // A file that crashed after its last test, or before its first, has a failure of its own.
    const own = problem !== undefined && (counts?.failed ?? 0) === 0 ? 1 : 0;
    const missing = problem === undefined && counts === undefined ? 1 : 0;
    const failed = (counts?.failed ?? 0) + own + missing;
    this.#passed += counts?.passed ?? 0;
    this.#failed += failed;
    const took = (performance.now() - start) / 1000;
    const seconds = took.toFixed(1);
    if (failed === 0) remember(file.name, took);
    const result = [
      `${counts?.passed ?? 0} passed`,
      ...(failed === 0 ? [] : [`${failed} failed`]),
      ...(counts === undefined || counts.skipped === 0 ? [] : [`${counts.skipped} skipped`]),
    ];
    say(`${failed === 0 ? green('ok  ') : red('FAIL')} ${file.name}: ${result.join(', ')} (${seconds} s)`);
    if (failed === 0) return;
    say(output.trimEnd().replace(/^/gm, '    '));
    if (missing > 0) say('    it ended without a result');
    if (problem !== undefined) say(`    ${problem}`);
  }
}

/** Runs one file to its end, whatever that is. */
async function execute(
  { name, command, launcher = [], deadlineMs }: TestFile,
  env: NodeJS.ProcessEnv,
): Promise<{ output: string; problem: string | undefined }> {
  const [program = '', ...args] = command;
  if (!existsSync(args[0]?.endsWith('.js') === true ? args[0] : program)) {
    return { output: '', problem: 'it was not compiled: run packaging/build test' };
  }
  const isNode = program === process.execPath;
  const [execPath = '', ...execArgv]: readonly string[] = [...launcher, program];
  const child = isNode
    ? fork(args[0] ?? '', args.slice(1), { env, execPath, execArgv, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] })
    : spawn(execPath, [...execArgv, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  let doing = 'starting';
  const collect = (chunk: string): void => {
    output = (output + chunk).slice(-OUTPUT_LIMIT);
  };
  child.stdout?.setEncoding('utf8').on('data', collect);
  child.stderr?.setEncoding('utf8').on('data', collect);
  child.on('message', (message: ProgressMessage) => {
    if ('note' in message) say(`     ${name}: ${message.note}`);
    else ({ doing } = message);
  });
  const start = performance.now();
  const life = setInterval(() => {
    say(`...  ${name}: ${Math.round((performance.now() - start) / 1000)} s${isNode ? `, in "${doing}"` : ''}`);
  }, SIGN_OF_LIFE_MS);
  const stopped = stopAtDeadline(child, deadlineMs);
  const problem = await ended(child);
  clearInterval(life);
  const late = stopped();
  return { output, problem: late ? `it took longer than ${deadlineMs / 1000} s, in "${doing}"` : problem };
}

/** undefined: it ended with status 0. */
function ended(child: ChildProcess): Promise<string | undefined> {
  return new Promise((resolve) => {
    child.on('error', (error) => {
      resolve(error.message);
    });
    child.on('close', (status, name) => {
      if (status === 0) resolve(undefined);
      else resolve(name === null ? `it ended with status ${String(status)}` : `it was ended by ${name}`);
    });
  });
}

/** Ends the process when its time is over, or this run. Returns what stops that; whether it has come to it. */
function stopAtDeadline(child: ChildProcess, deadlineMs: number): () => boolean {
  const { pid } = child;
  let late = false;
  let force: NodeJS.Timeout | undefined;
  const kill = (): void => {
    if (pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    // Its servers would outlive it.
    for (const descendant of descendantsOf(pid)) signal(descendant, 'SIGKILL');
    signal(pid, 'SIGKILL');
  };
  const timer = setTimeout(() => {
    late = true;
    child.kill('SIGTERM');
    force = setTimeout(kill, CLEANUP_MS);
  }, deadlineMs);
  const forget = atExit({
    close: async () => {
      child.kill('SIGTERM');
      await ended(child);
    },
    closeNow: kill,
  });
  return () => {
    clearTimeout(timer);
    clearTimeout(force);
    forget();
    return late;
  };
}

/** Dots while nothing is said, until the result is called. */
export function beginDots(): () => void {
  dots ??= new SignOfLife(() => {
    process.stdout.write('.');
    dotted = true;
  });
  return () => {
    dots?.close();
    dots = undefined;
  };
}

/** One line. */
export function say(text: string): void {
  dots?.heard();
  process.stdout.write(dotted ? `\n${text}\n` : `${text}\n`);
  dotted = false;
}

function green(text: string): string {
  return SAY_COLOURS ? `\u001b[32m${text}\u001b[0m` : text;
}

function red(text: string): string {
  return SAY_COLOURS ? `\u001b[31m${text}\u001b[0m` : text;
}
