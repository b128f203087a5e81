// SPDX-License-Identifier: MIT
// What comes from npm is what the lock file says, byte for byte, and runs no program of
// its own when it is installed but where packaging/README.md says why.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { PROJECT_ROOT } from '../helpers/paths.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('dependencies');

interface Locked {
  readonly version?: string;
  readonly integrity?: string;
  readonly resolved?: string;
  readonly link?: boolean;
  readonly hasInstallScript?: boolean;
  readonly dev?: boolean;
}

interface Manifest {
  readonly allowScripts?: Readonly<Record<string, boolean>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
  readonly optionalDependencies: Readonly<Record<string, string>>;
}

function read(path: string): string {
  return readFileSync(join(PROJECT_ROOT, path), 'utf8');
}

// Both are npm's own files.
const manifest = JSON.parse(read('package.json')) as Manifest;
const lock = JSON.parse(read('package-lock.json')) as {
  readonly lockfileVersion: number;
  readonly packages: Readonly<Record<string, Locked>>;
};
const packages = Object.entries(lock.packages).filter(([path]) => path !== '');

function nameOf(path: string): string {
  return path.replace(/^.*node_modules\//, '');
}

/** Packages that the table of the page names. */
function justified(): string[] {
  const page = read('packaging/README.md');
  const section = page.slice(page.indexOf('## Install scripts'));
  return [...section.matchAll(/^\| `([^`]+)` \|/gm)].map(([, name = '']) => name);
}

test('each package is pinned: an exact version, and a digest of its archive', () => {
  assert.ok(packages.length > 100);
  assert.ok(lock.lockfileVersion >= 2);
  const loose = packages.filter(([, { version = '', integrity = '', link = false }]) => {
    return link || !/^\d+\.\d+\.\d+/.test(version) || !/^sha512-[A-Za-z0-9+/]{86}==$/.test(integrity);
  });
  assert.equal(
    loose.map(([path]) => path),
    [],
  );
});

test('each comes from the registry, none from git, a file or an address', () => {
  const foreign = packages.filter(
    ([, { resolved }]) => resolved !== undefined && !resolved.startsWith('https://registry.npmjs.org/'),
  );
  assert.equal(
    foreign.map(([path]) => path),
    [],
  );
  const { dependencies, devDependencies, optionalDependencies } = manifest;
  for (const [name, range] of Object.entries({ ...dependencies, ...devDependencies, ...optionalDependencies })) {
    assert.match(range, /^[\^~]?\d/, `${name}: ${range}`);
    assert.ok(
      packages.some(([path]) => path === `node_modules/${name}`),
      `${name} is not in the lock file`,
    );
  }
});

test('those with a script that runs at the installation are the ones that packaging/README.md has a reason for', () => {
  const scripted = packages
    .filter(([, { hasInstallScript = false }]) => hasInstallScript)
    .map(([path]) => nameOf(path));
  assert.equal([...scripted].sort(), [...justified()].sort());
});

test('npm is told of each whether it may, and of those that are shipped one does', () => {
  const scripted = packages.filter(([, { hasInstallScript = false }]) => hasInstallScript);
  const expected = scripted.map(([path, { dev = false }]): [string, boolean] => [nameOf(path), !dev]);
  assert.equal(manifest.allowScripts, Object.fromEntries(expected));
  assert.equal(
    Object.entries(manifest.allowScripts ?? {})
      .filter(([, allowed]) => allowed)
      .map(([name]) => name),
    ['sd-notify'],
  );
});

test.run();
