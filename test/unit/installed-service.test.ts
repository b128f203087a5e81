// SPDX-License-Identifier: MIT
// Whose configuration it is: what the units have, and when a check is one for the service.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { missingSocket, serviceOf, serviceToJudgeFor } from '#src/installed-service.js';
import { PROJECT_ROOT } from '../helpers/paths.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('installed service');

function unit(name: string, instance: string): string {
  return readFileSync(join(PROJECT_ROOT, 'systemd', name), 'utf8').replaceAll('%i', instance);
}

/** `--config`, the file of the unit. */
const UNITS = [
  [undefined, 'pg-gateway.service'],
  ['/etc/pg-gateway/pg-gateway.toml', 'pg-gateway.service'],
  ['/etc/pg-gateway/sales.toml', 'pg-gateway@.service'],
] as const;

for (const [file, name] of UNITS) {
  test(`${file ?? 'no file'}: what ${name} has`, () => {
    const service = serviceOf(file);
    assert.ok(service);
    const text = unit(name, 'sales');
    assert.match(text, `\nUser=${service.user}\n`);
    assert.match(text, `\nLoadCredential=pgpassword:${service.passwordFile}\n`);
    assert.match(text, `\nStateDirectory=${service.stateDirectory.replace('/var/lib/', '')}\n`);
    assert.is(service.unit, name.replace('@', '@sales'));
    if (file?.includes('sales') === true) assert.match(text, `--config ${file}\n`);
  });
}

test('another file is nobody', () => {
  const files = [
    '/etc/pg-gateway/conf.d/a.toml',
    '/etc/pg-gateway/sales',
    '/etc/pg-gateway/.toml',
    '/dev/null',
    'a.toml',
  ];
  for (const file of files) assert.is(serviceOf(file), undefined, file);
});

test('a check is for the service if root asks, and its unit is there', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pg-gateway-units-'));
  try {
    const folders = [join(folder, 'none'), join(folder, 'units')];
    mkdirSync(join(folder, 'units'));
    assert.is(serviceToJudgeFor(undefined, 0, folders), undefined, 'no unit');
    writeFileSync(join(folder, 'units/pg-gateway.service'), '');
    assert.is(serviceToJudgeFor(undefined, 0, folders)?.unit, 'pg-gateway.service');
    assert.is(serviceToJudgeFor(undefined, 1000, folders), undefined, 'not root');
    assert.is(serviceToJudgeFor('/dev/null', 0, folders), undefined, 'another file');
    const sales = '/etc/pg-gateway/sales.toml';
    assert.is(serviceToJudgeFor(sales, 0, folders), undefined, 'no template');
    writeFileSync(join(folder, 'units/pg-gateway@.service'), '');
    assert.is(serviceToJudgeFor(sales, 0, folders)?.unit, 'pg-gateway@sales.service');
  } finally {
    rmSync(folder, { recursive: true });
  }
});

const MAIN_ENV = { NOTIFY_SOCKET: '/run/systemd/notify', STATE_DIRECTORY: '/var/lib/pg-gateway' };
const SALES_ENV = { ...MAIN_ENV, STATE_DIRECTORY: '/var/lib/pg-gateway-sales' };

/** What is so, `--config`, environment, sockets for clients, the unit that is named. */
const MISSING: readonly (readonly [string, string | undefined, NodeJS.ProcessEnv, number[], string | undefined])[] = [
  ['the service', undefined, MAIN_ENV, [], 'pg-gateway.socket'],
  ['an instance', '/etc/pg-gateway/sales.toml', SALES_ENV, [], 'pg-gateway@sales.socket'],
  ['the service with its socket', undefined, MAIN_ENV, [3], undefined],
  ['in the foreground', undefined, {}, [], undefined],
  ['in a container', undefined, { STATE_DIRECTORY: '/var/lib/pg-gateway' }, [], undefined],
  ['a unit of somebody else', undefined, { ...MAIN_ENV, STATE_DIRECTORY: '/var/lib/mine' }, [], undefined],
];

for (const [what, file, env, clients, expected] of MISSING) {
  test(`${what}: ${expected ?? 'no socket'} is missed`, () => assert.is(missingSocket(file, env, clients), expected));
}

test.run();
