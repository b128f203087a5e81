// SPDX-License-Identifier: MIT
// `npm run fuzz`: everything that reads bytes from outside, and whole sessions, by inputs that nobody thought of.
//
//   npm run fuzz                                    each target a minute
//   npm run fuzz -- --seconds 600 --only recovery   this one for ten
//   npm run fuzz -- --keep                          and what was found new goes into test/fuzz/corpus
//
// Ends with a table, and `N passed, N failed`: a target fails by a crash, a hang, or a property that does not hold. The
// input is then in build/fuzz/, and the command that repeats it is printed. The status is 0 only if none failed.

import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';

import { atExit } from '../helpers/cleanup.js';
import { PROJECT_ROOT } from '../helpers/paths.js';
import { inputsIn, keep, workingFolder } from './corpus.js';
import { FUZZ_TARGETS } from './targets.js';
import type { FuzzTarget } from './targets.js';

const FINDINGS = join(PROJECT_ROOT, 'build/fuzz');
/** A target that ends so much later than it should hangs in a way that it does not notice itself. */
const GRACE_MS = 60_000;
const SIGN_OF_LIFE_MS = 10_000;
const OUTPUT_LIMIT = 64 * 1024;

interface Result {
  readonly target: FuzzTarget;
  readonly seconds: number;
  executions: number;
  coverage: number;
  newInputs: number;
  problem: string | undefined;
}

interface Options {
  readonly seconds: number;
  readonly targets: readonly FuzzTarget[];
  readonly keep: boolean;
}

function optionsOf(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: { seconds: { type: 'string' }, only: { type: 'string' }, keep: { type: 'boolean' } },
  });
  const seconds = Number(values.seconds ?? 60);
  if (!Number.isInteger(seconds) || seconds < 1)
    throw new Error(`--seconds ${String(values.seconds)}: not a number from 1`);
  const names = values.only?.split(',') ?? FUZZ_TARGETS.map(({ name }) => name);
  const targets = names.map((name) => {
    const target = FUZZ_TARGETS.find((one) => one.name === name);
    if (target === undefined)
      throw new Error(`--only ${name}: not one of ${FUZZ_TARGETS.map((one) => one.name).join(', ')}`);
    return target;
  });
  return { seconds, targets, keep: values.keep ?? false };
}

/** Ports and connections of its own for each target, where the system allows that. */
const OWN_NETWORK = ['unshare', '--net', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh'];

function launcher(): readonly string[] {
  return spawnSync('unshare', ['--net', 'true']).status === 0 ? OWN_NETWORK : [];
}

function inputCount(folder: string | undefined): number {
  return folder === undefined ? 0 : readdirSync(folder).length;
}

async function fuzz(target: FuzzTarget, seconds: number): Promise<Result> {
  const folder = target.corpus ? workingFolder(target.name) : undefined;
  const before = inputCount(folder);
  const result: Result = { target, seconds, executions: 0, coverage: 0, newInputs: 0, problem: undefined };
  const options = [`-max_total_time=${seconds}`, `-artifact_prefix=${FINDINGS}/${target.name}-`];
  const [program = '', ...args] = [
    ...launcher(),
    ...target.command,
    ...options,
    ...(folder === undefined ? [] : [folder]),
  ];
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const forget = atExit({
    close: () => Promise.resolve(void child.kill('SIGKILL')),
    closeNow: () => child.kill('SIGKILL'),
  });
  let output = '';
  const deadline = setTimeout(() => child.kill('SIGKILL'), seconds * 1000 + GRACE_MS);
  // A line may come in two parts.
  createInterface({ input: child.stderr.setEncoding('utf8') }).on('line', (line) => {
    output = `${output}${line}\n`.slice(-OUTPUT_LIMIT);
    const [, executions, coverage] = /^#(\d+)\s+\w+\s+cov: (\d+)/.exec(line) ?? [];
    if (executions === undefined) return;
    result.executions = Number(executions);
    result.coverage = Number(coverage);
  });
  const life = setInterval(() => {
    say(`...  ${target.name}: ${result.executions} executions, ${result.coverage} ${target.unit}`);
  }, SIGN_OF_LIFE_MS);
  const ended = await new Promise<string | undefined>((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('close', (status, signal) =>
      resolve(status === 0 ? undefined : `ended by ${signal ?? `status ${String(status)}`}`),
    );
  });
  clearInterval(life);
  clearTimeout(deadline);
  forget();
  result.newInputs = inputCount(folder) - before;
  if (ended !== undefined) result.problem = `${ended}\n${output.slice(-8000)}\n${reproduction(target, output)}`;
  return result;
}

/** The command that repeats what was found. */
function reproduction(target: FuzzTarget, output: string): string {
  const seed = /^seed (\d+): /m.exec(output)?.[1];
  const file = /(?:Test unit written to|the input is in) ([^\s:]+)/.exec(output)?.[1];
  const argument = seed === undefined ? file : `-seed=${seed} -runs=1`;
  const command = target.command.map((word) => word.replace(PROJECT_ROOT, './').replace('.//', './'));
  return `to repeat it: ${[...command, argument ?? '(it left no input)'].join(' ')}`;
}

/** The smallest set of inputs that reaches what all that were ever found here reach. */
function minimize(target: FuzzTarget): void {
  const to = mkdtempSync(join(FINDINGS, 'merge-'));
  const command: readonly string[] = [...launcher(), ...target.command, '-merge=1', to, workingFolder(target.name)];
  const [program = '', ...args] = command;
  const { status, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  const merged = status === 0 ? inputsIn(to) : [];
  if (merged.length > 0) keep(target.name, merged);
  else say(`${target.name}: its inputs could not be merged:\n${stderr.slice(-2000)}`);
  rmSync(to, { recursive: true });
}

function table(results: readonly Result[]): string {
  const rows = results.map(({ target, seconds, executions, coverage, newInputs, problem }) => [
    target.name,
    String(executions),
    (executions / seconds).toFixed(0),
    `${coverage} ${target.unit}`,
    target.corpus ? String(newInputs) : '-',
    problem === undefined ? '0' : '1',
  ]);
  const all = [['target', 'executions', 'per second', 'coverage', 'new inputs', 'findings'], ...rows];
  const widths = all[0]?.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0))) ?? [];
  return all
    .map((row) =>
      row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join('  '),
    )
    .join('\n');
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

async function main(args: readonly string[]): Promise<number> {
  const options = optionsOf(args);
  mkdirSync(FINDINGS, { recursive: true });
  const results: Result[] = [];
  // One for each processor, but for the sessions, which take all that there are.
  const waiting = [...options.targets];
  const work = async (): Promise<void> => {
    for (let target = waiting.shift(); target !== undefined; target = waiting.shift()) {
      say(`     ${target.name}: ${options.seconds} s`);
      const result = await fuzz(target, options.seconds);
      results.push(result);
      say(`${result.problem === undefined ? 'ok  ' : 'FAIL'} ${target.name}: ${result.executions} executions`);
      if (result.problem !== undefined) say(result.problem.replace(/^/gm, '    '));
      else if (options.keep && target.corpus) minimize(target);
    }
  };
  if (waiting[0]?.corpus === false) {
    const [sessions] = waiting.splice(0, 1);
    const rest = waiting.splice(0);
    if (sessions !== undefined) waiting.push(sessions);
    await work();
    waiting.push(...rest);
  }
  await Promise.all(Array.from({ length: Math.min(2, availableParallelism()) }, work));
  say('');
  say(table(results));
  say('');
  const failed = results.filter(({ problem }) => problem !== undefined).length;
  say(`${results.length - failed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
