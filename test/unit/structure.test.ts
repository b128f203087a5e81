// SPDX-License-Identifier: MIT
// Rules of the source tree that no compiler checks: who may import what, and that
// every error code has somebody who throws it.

import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';

import { ERROR_CODES } from '#src/errors.js';
import { PROJECT_ROOT } from '../helpers/paths.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('structure');

/** Path below the project -> text, of every TypeScript file of a folder. */
function sourcesOf(folder: string): ReadonlyMap<string, string> {
  const root = join(PROJECT_ROOT, folder);
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter(
    (file) => file.endsWith('.ts') && !file.endsWith('.d.ts'),
  );
  return new Map(
    files.map((file) => [relative(PROJECT_ROOT, join(root, file)), readFileSync(join(root, file), 'utf8')]),
  );
}

const src = sourcesOf('src');
const all = new Map([...src, ...sourcesOf('test')]);

const OWNERS: readonly (readonly [name: string, owner: string])[] = [
  ['convict', 'src/config.ts'],
  ['smol-toml', 'src/config.ts'],
  ['pg', 'src/probe/connection.ts'],
  ['prom-client', 'src/metrics.ts'],
  ['sd-notify', 'src/systemd.ts'],
  ['./dataplane.node', 'src/dataplane.ts'],
  ['uvu', 'test/helpers/suite.ts'],
  ['playwright-core', 'test/browser/browser.ts'],
];

for (const [name, owner] of OWNERS) {
  test(`${name} is imported by ${owner} alone`, () => {
    const quoted = `['"]${name.replaceAll('.', '\\.')}(?:/[^'"]*)?['"]`;
    const pattern = new RegExp(`\\bfrom ${quoted}|\\bimport\\(${quoted}|\\)\\(${quoted}`, 'u');
    const importers = [...all].filter(([, text]) => pattern.test(text)).map(([file]) => file);
    assert.equal(importers, [owner]);
  });
}

test('every production dependency is one of these', () => {
  const manifest: unknown = JSON.parse(readFileSync(join(PROJECT_ROOT, 'package.json'), 'utf8'));
  const { dependencies, optionalDependencies } = manifest as Record<string, Record<string, string>>;
  const names = Object.keys({ ...dependencies, ...optionalDependencies });
  const known = OWNERS.map(([name]) => name);
  assert.equal(
    names.filter((name) => !known.includes(name)),
    [],
  );
});

test('every error code is thrown somewhere', () => {
  for (const code of Object.keys(ERROR_CODES)) {
    const users = [...src].filter(([file, text]) => file !== 'src/errors.ts' && text.includes(`'${code}'`));
    assert.ok(users.length > 0, `nobody uses ${code}`);
  }
});

/** Where the time of day may be asked for, and what for. Everything else is on the monotonic clock (src/timers.ts). */
const WALL_CLOCK_READERS: readonly string[] = [
  'src/log.ts', // the time in front of a line
  'src/check/gather.ts', // whether a certificate is still valid
  'src/control/clock.ts', // monotonic times as people read them
  'src/ctl/commands.ts', // how long ago that was
  'src/ctl/top.ts', // likewise
  'src/status/script.ts', // in the browser: how old its picture is, also after a sleep
];

test('nothing is decided by the wall clock, which may be set while the gateway runs', () => {
  const asks = /\bDate\.now\b|\bnew Date(?:\(\)|(?!\())|(?<!new )\bDate\(|\btimeOrigin\b/u;
  assert.equal(
    [...src].filter(([, text]) => asks.test(text)).map(([file]) => file),
    WALL_CLOCK_READERS,
  );
});

test('nor by the data plane', () => {
  const folder = join(PROJECT_ROOT, 'native');
  const files = readdirSync(folder).filter((file) => /\.(?:cc|h)$/u.test(file));
  // Also what waits until a moment of CLOCK_REALTIME.
  const asks =
    /CLOCK_REALTIME|CLOCK_TAI|\bgettimeofday\b|::time\(|\bstd::time\b|system_clock|high_resolution_clock|_timedwait|_timedlock|\bwait_until\b|CLOCK_REALTIME_ALARM/u;
  assert.ok(files.length > 30);
  assert.equal(
    files.filter((file) => asks.test(readFileSync(join(folder, file), 'utf8'))),
    [],
  );
  const monotonic = files.filter((file) => readFileSync(join(folder, file), 'utf8').includes('clock_gettime'));
  assert.equal(monotonic, ['fd.cc']);
});

test('no source file imports the tests, and no module of src is forgotten', () => {
  const imported = new Set<string>();
  for (const [file, text] of src) {
    for (const [, target] of text.matchAll(/(?:from |import\()'(\.[^']+)\.js'/gu)) {
      imported.add(relative(PROJECT_ROOT, join(PROJECT_ROOT, file, '..', `${String(target)}.ts`)));
    }
  }
  assert.equal(
    [...imported].filter((file) => !file.startsWith('src/')),
    [],
  );
  assert.equal(
    [...src.keys()].filter((file) => file !== 'src/main.ts' && file !== 'src/ctl/main.ts' && !imported.has(file)),
    [],
  );
});

test.run();
