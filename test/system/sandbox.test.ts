// SPDX-License-Identifier: MIT
// The sandbox of the service bites: what the gateway never does is refused to a
// program that runs in its place.

import { testFile } from '../helpers/paths.js';
import { assert, note, suite } from '../helpers/suite.js';
import { bootWithGateway, SERVICE } from './gateway-package.js';
import type { Machine } from './machine.js';

type Attempts = Readonly<Record<string, string>>;

const SCRIPT = '/usr/local/lib/sandbox.py';
const EXPOSURE_LIMIT = 1.2;

/** Attempt -> the errors by which it may be refused. */
const REFUSED: Readonly<Record<string, readonly string[]>> = {
  'write /etc': ['EROFS', 'EACCES'],
  'write /etc/pg-gateway': ['EROFS', 'EACCES'],
  'write /usr': ['EROFS', 'EACCES'],
  'write /var/lib': ['EROFS', 'EACCES'],
  'write /root': ['EROFS', 'EACCES'],
  'write /home': ['EROFS', 'EACCES'],
  'write /run': ['EROFS', 'EACCES'],
  'read /root': ['EACCES', 'EPERM'],
  'see other processes': ['ENOENT', 'EACCES'],
  "signal another user's process": ['EPERM', 'ESRCH'],
  ptrace: ['EPERM'],
  'raw socket': ['EPERM', 'EACCES'],
  'packet socket': ['EAFNOSUPPORT'],
  'bind a privileged port': ['EACCES', 'EPERM'],
  mount: ['EPERM'],
  'new user namespace': ['EPERM'],
  'set the host name': ['EPERM'],
  'become root': ['EPERM', 'EINVAL'],
  'set-user-ID file': ['EPERM'],
};
const ALLOWED = ['write its state', 'TCP socket'];

const test = suite('sandbox');

let machine: Machine;
let outside: Attempts;
let inside: Attempts;

test.before(async () => {
  ({ machine } = await bootWithGateway());
  await machine.copyIn(testFile('system/sandbox.py'), SCRIPT);
  const other = (await machine.property('postgresql@*-primary.service', 'MainPID')).trim();
  outside = JSON.parse(await machine.succeed(['python3', SCRIPT, other])) as Attempts;
  const lines = [
    '[Service]',
    'Type=oneshot',
    'Restart=no',
    'WatchdogSec=0',
    'ExecStart=',
    `ExecStart=/usr/bin/python3 ${SCRIPT} ${other}`,
    'StandardOutput=file:/run/sandbox-result',
    'StandardError=journal',
  ];
  await machine.write('/run/systemd/system/pg-gateway.service.d/sandbox-test.conf', `${lines.join('\n')}\n`);
  await machine.systemctl('daemon-reload');
  await machine.systemctl('start', SERVICE);
  inside = JSON.parse(await machine.succeed(['cat', '/run/sandbox-result'])) as Attempts;
});

test.after(() => machine.close());

test('the attempts are real: root without the sandbox can do all of it', () => {
  const failed = Object.entries(outside).filter(([, result]) => result !== 'yes');
  assert.equal(failed, []);
  assert.equal(Object.keys(outside).sort(), [...Object.keys(REFUSED), ...ALLOWED].sort());
});

for (const [attempt, errors] of Object.entries(REFUSED)) {
  test(`refused: ${attempt}`, () => {
    assert.ok(errors.includes(inside[attempt] ?? ''), `${attempt}: ${String(inside[attempt])}`);
  });
}

for (const attempt of ALLOWED) {
  test(`allowed: ${attempt}`, () => {
    assert.is(inside[attempt], 'yes');
  });
}

test(`systemd rates the exposure of the service at ${EXPOSURE_LIMIT} or less`, async () => {
  await machine.succeed(['rm', '/run/systemd/system/pg-gateway.service.d/sandbox-test.conf']);
  await machine.systemctl('daemon-reload');
  for (const unit of [SERVICE, 'pg-gateway@one.service']) {
    const text = await machine.succeed(['systemd-analyze', 'security', '--no-pager', unit]);
    const exposure = /Overall exposure level for .*: ([\d.]+)/.exec(text)?.[1];
    note(`exposure of ${unit}: ${String(exposure)}`);
    assert.ok(Number(exposure) <= EXPOSURE_LIMIT, text);
  }
});

test.run();
