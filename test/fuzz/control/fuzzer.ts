// SPDX-License-Identifier: MIT
// Runs one target: inputs of the corpus, then mutations of them; what runs code that nothing ran before is kept. The
// options, and what is said, are those of libFuzzer, so that one runner serves all targets.
//
//   node build/test/fuzz/control/fuzzer.js TARGET [-max_total_time=S] [-runs=N] [-seed=N] [-artifact_prefix=P] [FOLDER...]
//   node build/test/fuzz/control/fuzzer.js TARGET FILE       that input alone
//   node build/test/fuzz/control/fuzzer.js TARGET -merge=1 TO FROM...    the inputs of FROM that TO lacks, the short ones first
//
// New inputs go to the first folder.

import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';

import { Coverage } from './coverage.js';
import { Dice, mutate } from './mutations.js';
import { controlSocket, http, probe } from './streams.js';
import type { Target } from './target.js';
import { TEXT_TARGETS } from './texts.js';

const TARGETS = new Map<string, () => Target | Promise<Target>>([
  ...TEXT_TARGETS,
  ['http', http],
  ['control-socket', controlSocket],
  ['probe', probe],
]);

/** The compiled sources, whose coverage counts. */
const COMPILED = new URL('../../../../dist/', import.meta.url).href;
const MAX_BYTES = 4096;
const HANG_MS = 20_000;
const PULSE_MS = 2000;
/** Asking V8 takes as long as many runs. */
const BATCH = 64;
const BATCH_MS = 200;
/** Beyond what the heap of the control plane may ever need. */
const MAX_RSS_BYTES = 1024 * 1024 * 1024;
const FINDING_STATUS = 77;

interface Options {
  readonly target: string;
  readonly seconds: number;
  readonly runs: number;
  readonly seed: number;
  readonly artifacts: string;
  readonly merge: boolean;
  readonly paths: readonly string[];
}

function optionsOf(argv: readonly string[]): Options {
  const [target = '', ...rest] = argv;
  const value = (name: string): string | undefined =>
    rest.find((one) => one.startsWith(`-${name}=`))?.slice(name.length + 2);
  return {
    target,
    seconds: Number(value('max_total_time') ?? 60),
    runs: Number(value('runs') ?? Number.MAX_SAFE_INTEGER),
    seed: Number(value('seed') ?? Math.floor(Math.random() * 2 ** 32)),
    artifacts: value('artifact_prefix') ?? './',
    merge: value('merge') === '1',
    paths: rest.filter((one) => !one.startsWith('-')),
  };
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

function nameOf(input: Uint8Array): string {
  return createHash('sha1').update(input).digest('hex');
}

function inputsOf(folder: string): Buffer[] {
  return readdirSync(folder)
    .sort()
    .map((name) => readFileSync(join(folder, name)));
}

/** Where the input is that runs: a thread of its own keeps it if it never ends. */
class Lookout {
  readonly #memory = new SharedArrayBuffer(8 + 64 * 1024);
  readonly #head = new Int32Array(this.#memory, 0, 2);
  readonly #bytes = new Uint8Array(this.#memory, 8);
  readonly #worker: Worker;

  constructor(artifact: string) {
    this.#worker = new Worker(
      `const { workerData: { memory, artifact, limit } } = require('node:worker_threads');
       const head = new Int32Array(memory, 0, 2);
       let last = -1, since = Date.now();
       setInterval(() => {
         if (head[0] !== last) { last = head[0]; since = Date.now(); return; }
         if (Date.now() - since < limit) return;
         require('node:fs').writeFileSync(artifact, Buffer.from(memory.slice(8, 8 + head[1])));
         require('node:fs').writeSync(2, 'hangs; the input is in ' + artifact + '\\n');
         process.kill(process.pid, 'SIGKILL');
       }, 500);`,
      { eval: true, workerData: { memory: this.#memory, artifact, limit: HANG_MS } },
    );
    this.#worker.unref();
  }

  begins(input: Uint8Array): void {
    this.#bytes.set(input.subarray(0, this.#bytes.length));
    this.#head[1] = input.length;
    this.#head[0] = (this.#head[0] ?? 0) + 1;
  }
}

class Fuzzer {
  readonly #options: Options;
  readonly #target: Target;
  readonly #coverage: Coverage;
  readonly #dice: Dice;
  readonly #lookout: Lookout;
  readonly #corpus: Buffer[] = [];
  readonly #begun = performance.now();
  #runs = 0;
  #kept = 0;
  #said = 0;
  #now: Buffer = Buffer.alloc(0);

  constructor(options: Options, target: Target) {
    this.#options = options;
    this.#target = target;
    this.#coverage = new Coverage(COMPILED, target.modules);
    this.#dice = new Dice(options.seed);
    this.#lookout = new Lookout(`${options.artifacts}hang-${target.name}`);
    for (const event of ['uncaughtException', 'unhandledRejection']) {
      process.on(event, (error: unknown) => this.#found(error));
    }
  }

  async run(): Promise<void> {
    await this.#readCorpus();
    this.#say('INITED');
    while (!this.#isOver()) await this.#batch();
    this.#say('DONE');
    await this.#target.close?.();
  }

  async merge(): Promise<void> {
    const [to = [], ...from] = this.#options.paths.map(inputsOf);
    for (const input of to) await this.#execute(input);
    this.#coverage.grew(true);
    for (const input of from.flat().sort((a, b) => a.length - b.length)) {
      await this.#execute(input);
      if (this.#coverage.grew(true)) this.#keep(input);
    }
    await this.#target.close?.();
  }

  async one(input: Buffer): Promise<void> {
    await this.#execute(input);
    await this.#target.close?.();
  }

  #isOver(): boolean {
    const { seconds, runs } = this.#options;
    return this.#runs >= runs || performance.now() - this.#begun >= seconds * 1000;
  }

  async #readCorpus(): Promise<void> {
    for (const input of [Buffer.alloc(0), ...this.#options.paths.flatMap(inputsOf)]) {
      await this.#execute(input);
      if (this.#coverage.grew(true) || input.length > 0) this.#corpus.push(input);
    }
  }

  async #batch(): Promise<void> {
    const inputs: Buffer[] = [];
    const until = performance.now() + BATCH_MS;
    while (inputs.length < BATCH && performance.now() < until) {
      const input = this.#next();
      inputs.push(input);
      await this.#execute(input);
    }
    if (this.#coverage.grew(false)) {
      // Which of them it was.
      for (const input of inputs) {
        await this.#execute(input);
        if (this.#coverage.grew(true)) this.#keep(input);
      }
    }
    this.#pulse();
  }

  #next(): Buffer {
    const input = this.#dice.one(this.#corpus, Buffer.alloc(0));
    const { words, maxBytes = MAX_BYTES } = this.#target;
    return mutate(input, this.#dice, { words, corpus: this.#corpus, maxBytes });
  }

  async #execute(input: Buffer): Promise<void> {
    this.#now = input;
    this.#lookout.begins(input);
    this.#runs += 1;
    try {
      await this.#target.run(input);
    } catch (error) {
      this.#found(error);
    }
    if (this.#runs % 1024 === 0 && process.memoryUsage.rss() > MAX_RSS_BYTES) this.#found(new Error('out of memory'));
  }

  #keep(input: Buffer): void {
    this.#corpus.push(input);
    const [folder] = this.#options.paths;
    if (folder === undefined) return;
    writeFileSync(join(folder, nameOf(input)), input);
    this.#kept += 1;
  }

  #pulse(): void {
    const now = performance.now();
    if (now - this.#said < PULSE_MS) return;
    this.#said = now;
    this.#say('pulse');
  }

  #say(what: string): void {
    const seconds = (performance.now() - this.#begun) / 1000;
    const each = Math.round(this.#runs / Math.max(seconds, 0.001));
    say(`#${this.#runs} ${what} cov: ${this.#coverage.covered} corp: ${this.#corpus.length} exec/s: ${each}`);
  }

  #found(error: unknown): never {
    const path = `${this.#options.artifacts}crash-${this.#target.name}-${nameOf(this.#now).slice(0, 12)}`;
    writeFileSync(path, this.#now);
    say(error instanceof Error ? (error.stack ?? error.message) : String(error));
    say(`the input is in ${path}: ${JSON.stringify(this.#now.toString('latin1').slice(0, 400))}`);
    process.exit(FINDING_STATUS);
  }
}

const options = optionsOf(process.argv.slice(2));
const make = TARGETS.get(options.target);
if (make === undefined) {
  say(`targets: ${[...TARGETS.keys()].join(' ')}`);
  process.exit(64);
}
const fuzzer = new Fuzzer(options, await make());
say(`Seed: ${options.seed}`);
const [first] = options.paths;
if (first !== undefined && statSync(first).isFile()) await fuzzer.one(readFileSync(first));
else if (options.merge) await fuzzer.merge();
else await fuzzer.run();
process.exit(0);
