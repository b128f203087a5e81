// SPDX-License-Identifier: MIT
// The inputs that are kept: in the repository a file for each target, a line of base64 for each input, the short ones
// first; while fuzzing a folder with a file for each, which stays for the next time.

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { PROJECT_ROOT, testFile } from '../helpers/paths.js';

const WORKING = join(PROJECT_ROOT, 'build/fuzz/corpus');

function keptFile(target: string): string {
  return testFile(`fuzz/corpus/${target}.base64`);
}

export function keptInputs(target: string): Buffer[] {
  const file = keptFile(target);
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').split('\n');
  return lines.filter((line) => line !== '').map((line) => Buffer.from(line, 'base64'));
}

/** The folder of a target, with all that the repository has in it. */
export function workingFolder(target: string): string {
  const folder = join(WORKING, target);
  fill(folder, keptInputs(target));
  return folder;
}

export function fill(folder: string, inputs: readonly Buffer[]): void {
  mkdirSync(folder, { recursive: true });
  for (const input of inputs) writeFileSync(join(folder, createHash('sha1').update(input).digest('hex')), input);
}

export function inputsIn(folder: string): Buffer[] {
  return readdirSync(folder).map((name) => readFileSync(join(folder, name)));
}

export function keep(target: string, inputs: readonly Buffer[]): void {
  const sorted = [...inputs].sort((a, b) => a.length - b.length || a.compare(b));
  writeFileSync(keptFile(target), sorted.map((input) => `${input.toString('base64')}\n`).join(''));
}
