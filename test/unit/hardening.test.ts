// SPDX-License-Identifier: MIT
// What the compiler and the linker do against faults of memory (native/binding.gyp), as
// it is seen in the addon that was built: a flag that is set may have no effect.

import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { arch } from 'node:process';

import { PROJECT_ROOT } from '../helpers/paths.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('hardening');
/** As packaging/build leaves it, which is as the package ships it. */
const ADDON = join(PROJECT_ROOT, 'dist/dataplane.node');
const MAX_OUTPUT = 64 * 1024 * 1024;

function output(program: string, ...args: readonly string[]): string {
  const env = { PATH: process.env['PATH'], LC_ALL: 'C' };
  return execFileSync(program, [...args, ADDON], { encoding: 'utf8', env, maxBuffer: MAX_OUTPUT });
}

const imported = output('readelf', '--dyn-syms', '--wide')
  .split('\n')
  .filter((line) => line.includes(' UND '))
  .map((line) => /(\w+)@/.exec(line)?.[1] ?? '');

test('it may be loaded anywhere: a shared object without text relocations', () => {
  assert.match(output('readelf', '--file-header'), /Type: +DYN /);
  assert.not.match(output('readelf', '--dynamic'), /TEXTREL/);
});

test('what the linker has filled in cannot be overwritten: full RELRO', () => {
  assert.match(output('readelf', '--program-headers', '--wide'), /GNU_RELRO/);
  assert.match(output('readelf', '--dynamic'), /BIND_NOW/);
});

test('nothing is writable and executable, neither a segment nor the stack', () => {
  const segments = output('readelf', '--program-headers', '--wide').split('\n');
  const flagsOf = (type: string): string[] =>
    segments
      .filter((line) => line.trim().startsWith(type))
      .map((line) => /0x[0-9a-f]+ ([R ][W ][E ]) 0x[0-9a-f]+$/.exec(line.trim())?.[1] ?? 'not found');
  assert.equal(flagsOf('GNU_STACK'), ['RW ']);
  assert.ok(flagsOf('LOAD').length >= 3);
  for (const flags of flagsOf('LOAD')) assert.ok(!/W.*E/.test(flags) && flags !== 'not found', flags);
});

test('no path of the machine that built it is searched for libraries', () => {
  assert.not.match(output('readelf', '--dynamic'), /RPATH|RUNPATH/);
});

test('functions with buffers on the stack look for an overflow before they return', () => {
  assert.ok(imported.includes('__stack_chk_fail'), imported.join(' '));
});

test('sizes are checked where they are known only when it runs: FORTIFY_SOURCE', () => {
  const checked = imported.filter((name) => /^__\w+_chk$/.test(name));
  assert.ok(checked.length > 0, imported.join(' '));
});

test('an index into a vector, and an empty optional, end the process rather than read what is there', () => {
  assert.ok(
    imported.some((name) => name.includes('glibcxx_assert_fail')),
    imported.join(' '),
  );
});

test('a jump by a pointer must land on a function: the marks for it', () => {
  // The note that would switch it on for the process needs every object of it: neither Node nor gcc's crtbeginS.o of
  // Debian has it. The instructions are there for a system on which they do.
  const code = output('objdump', '--disassemble', '--no-show-raw-insn');
  const marks = code.match(arch === 'arm64' ? /\b(?:bti|paciasp)\b/g : /\bendbr64\b/g);
  assert.ok((marks?.length ?? 0) > 100, String(marks?.length));
});

test('nothing but the entry points of the addon can be called or replaced from outside', () => {
  const exported = output('readelf', '--dyn-syms', '--wide')
    .split('\n')
    .filter((line) => / (?:GLOBAL|WEAK) +DEFAULT +\d+ /.test(line))
    .map((line) => line.trim().split(/\s+/)[7] ?? '')
    .filter((name) => !name.startsWith('_Z') && name !== '');
  assert.equal(
    exported.filter((name) => !/^n(?:api|ode)_/.test(name)),
    [],
  );
});

test.run();
