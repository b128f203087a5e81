// SPDX-License-Identifier: MIT
// The installed service on a machine that is not well: journald stands still, the disk of
// the state directory is full; and what a crash leaves behind.

import { assert, suite } from '../helpers/suite.js';
import { eventually } from '../helpers/wait.js';
import { Cluster } from './cluster.js';
import { bootWithGateway, configure, mainPid, samples, SERVICE, SOCKET } from './gateway-package.js';
import type { Machine } from './machine.js';

const STATE = '/var/lib/private/pg-gateway';
const WHERE = 'SELECT inet_server_port()';
/** What becomes of lines that nobody takes, a reader that stands still shows in integration/log: here 8 MB wait. */
const REJECTED_RELOADS = 20;

const test = suite('faults of the machine');

let machine: Machine;
let cluster: Cluster;

test.before(async () => {
  ({ machine, cluster } = await bootWithGateway());
  assert.is(await cluster.query(WHERE), String(Cluster.primary));
});

test.after(() => machine.close());

test('journald stands still: the gateway serves and reloads all the while, and its words come afterwards', async () => {
  const before = await mainPid(machine);
  const mark = await machine.mark();
  await configure(machine, 'nonsense = 1\n');
  const journald = await machine.property('systemd-journald.service', 'MainPID');
  await machine.succeed(['kill', '-STOP', journald]);
  try {
    await machine.shell(
      `for count in $(seq "$2"); do
        kill -HUP "$1"
        for look in $(seq 200); do
          curl -sS --max-time 5 http://127.0.0.1:9090/metrics | grep -q "reloads_total{result=\\"rejected\\"} $count\\$" && continue 2
          sleep 0.05
        done
        exit 1
      done`,
      String(before),
      String(REJECTED_RELOADS),
    );
    assert.is(await cluster.query(WHERE), String(Cluster.primary));
  } finally {
    await machine.succeed(['kill', '-CONT', journald]);
    await configure(machine);
  }
  await machine.logged(/the new configuration was rejected/, { unit: SERVICE, after: mark });
  await machine.systemctl('reload', SERVICE);
  assert.is(await mainPid(machine), before, 'the watchdog has heard of it all the while');
});

test('a disk that is full when the service starts: it serves, and remembers as soon as there is room', async () => {
  await machine.systemctl('stop', SOCKET);
  await machine.succeed(['mount', '-t', 'tmpfs', '-o', 'size=16k,mode=700', 'tmpfs', STATE]);
  try {
    await machine.shell('head -c 100000 /dev/zero >"$1/filler" 2>/dev/null || :', STATE);
    const mark = await machine.mark();
    await machine.systemctl('start', SOCKET);
    assert.is(await cluster.query(WHERE), String(Cluster.primary));
    await machine.logged(/cannot be remembered beyond a stop code=STATE_WRITE_FAILED/, { unit: SERVICE, after: mark });
    assert.is((await samples(machine)).get('pg_gateway_state_saved'), 0);
    await machine.succeed(['rm', `${STATE}/filler`]);
    await eventually('the cluster to be remembered', async () => {
      return (await samples(machine)).get('pg_gateway_state_saved') === 1;
    });
    assert.match(await machine.succeed(['cat', `${STATE}/cluster.json`]), /"timeline": \d+,/);
    assert.match(await machine.succeed(['cat', `${STATE}/owner`]), `${await mainPid(machine)} `);
  } finally {
    await machine.systemctl('stop', SOCKET);
    await machine.succeed(['umount', STATE]);
    await machine.systemctl('start', SOCKET);
  }
});

test('a crash dumps no memory, in which the password is', async () => {
  await cluster.query('SELECT 1');
  const limits = await machine.succeed(['cat', `/proc/${await mainPid(machine)}/limits`]);
  assert.match(limits, /^Max core file size +0 +0 /m);
});

test.run();
