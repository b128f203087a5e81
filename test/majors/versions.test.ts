// SPDX-License-Identifier: MIT
// The choice among the versions of a registry, which is in no useful order.

import { majorOf } from '../helpers/postgres-install.js';
import { assert, suite } from '../helpers/suite.js';
import { newestOfEachMajor } from './versions.js';

const test = suite('majors versions');

test('the newest of each major version, by numbers and not by letters', () => {
  const versions = ['10.9.0-beta.6', '10.23.0-beta.11', '10.23.0-beta.9', '9.6.1-beta.1', '18.0.0-beta.15'];
  assert.equal(
    [...newestOfEachMajor(versions)],
    [
      [10, '10.23.0-beta.11'],
      [9, '9.6.1-beta.1'],
      [18, '18.0.0-beta.15'],
    ],
  );
});

test('alpha comes before beta, and both before what is neither', () => {
  const versions = ['14.3.0-beta.6', '14.3.0-alpha.21'];
  assert.is(newestOfEachMajor(versions).get(14), '14.3.0-beta.6');
  assert.is(newestOfEachMajor(['14.3.0', ...versions]).get(14), '14.3.0');
});

test('what is no version does not count', () => {
  assert.is(newestOfEachMajor(['', 'latest', '14', '14.3', '14.3.0-']).size, 0);
});

test('the major version is what `postgres --version` says', () => {
  assert.is(majorOf('postgres (PostgreSQL) 10.23\n'), 10);
  assert.is(majorOf('postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n'), 15);
  assert.is(majorOf('postgres (PostgreSQL) 19devel\n'), 19);
  assert.throws(() => majorOf('postgres: error while loading shared libraries'), /no version/);
});

test.run();
