// SPDX-License-Identifier: MIT
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { exposedPasswordFile } from '#src/config-exposure.js';
import type { EffectiveSetting } from '#src/config.js';
import { temporaryFolder } from '../helpers/paths.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('config-exposure');

function passwordFrom(from: string): readonly EffectiveSetting[] {
  return [{ key: 'probe.password', value: '***', masked: true, from }];
}

const folder = await temporaryFolder();
test.after(() => folder.close());

function file(name: string, mode: number, text: string): string {
  const path = join(folder.path, name);
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

test('a configuration file that all may read exposes its password', () => {
  const path = file('open.toml', 0o644, '');
  assert.is(exposedPasswordFile(passwordFrom(path)), path);
});

test('one for its owner and group does not', () => {
  assert.is(exposedPasswordFile(passwordFrom(file('closed.toml', 0o640, ''))), undefined);
});

test('the environment file exposes the password if it sets it', () => {
  const setting = passwordFrom('environment PGPASSWORD');
  const path = file('default', 0o644, '# PGPASSWORD=x\nPGUSER=probe\nPGPASSWORD="secret"\n');
  assert.is(exposedPasswordFile(setting, path), path);
  assert.is(exposedPasswordFile(setting, file('other', 0o644, '#PGPASSWORD=\nPGPASSWORD=\n')), undefined);
  assert.is(exposedPasswordFile(setting, file('private', 0o600, 'PGPASSWORD=secret\n')), undefined);
  assert.is(exposedPasswordFile(setting, join(folder.path, 'missing')), undefined);
});

test('a credential, a default and an environment without a file expose nothing', () => {
  const path = file('with-password', 0o644, 'PGPASSWORD=secret\n');
  assert.is(exposedPasswordFile(passwordFrom('credential pgpassword'), path), undefined);
  assert.is(exposedPasswordFile(passwordFrom('default'), path), undefined);
  assert.is(exposedPasswordFile([], path), undefined);
});

test.run();
