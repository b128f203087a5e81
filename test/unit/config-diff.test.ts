// SPDX-License-Identifier: MIT
// What a reload changes at once, and what waits for a restart.

import { diffConfig } from '#src/config.js';
import { SETTINGS } from '#src/config-schema.js';
import type { LoadedConfig } from '#src/config.js';
import { ConfigMachine } from '../helpers/config-input.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite<{ machine: ConfigMachine }>('config diff');

test.before.each((context) => {
  context.machine = new ConfigMachine();
});
test.after.each(({ machine }) => {
  machine.close();
});
function withoutSettings({ settings: _, warnings: __, ...config }: LoadedConfig): object {
  return config;
}

test('tells what a reload changes, and what waits for a restart', ({ machine }) => {
  const base = { CANDIDATES: 'a', PGPASSWORD: 'old', HOME: machine.path('home') };
  const running = machine.load(base);
  const same = diffConfig(running, machine.load(base));
  assert.equal([same.live, same.fixed], [[], []]);

  const root = machine.write('root.crt', '');
  const next = machine.load({
    CANDIDATES: 'a, b',
    STATE_DIRECTORY: '/state',
    LISTEN_HOST: '::',
    LISTEN_PORT: '1',
    NUM_THREADS: '2',
    MAX_CONNECTIONS: '1',
    MAX_CONNECTIONS_PER_CLIENT: '1',
    MAX_CONNECTION_RATE: '1',
    TCP_KEEPALIVE: '0',
    TCP_KEEPALIVES_IDLE: '1',
    TCP_KEEPALIVES_INTERVAL: '1',
    TCP_KEEPALIVES_COUNT: '1',
    TCP_USER_TIMEOUT: '1',
    DRAIN_TIMEOUT_MS: '1',
    HOLD_TIMEOUT_MS: '1',
    MAX_HELD: '1',
    RELEASE_RATE: '1',
    CUT_POLICY: 'eager',
    PGUSER: 'u2',
    PGPASSWORD: 'new',
    PGPASSFILE: root,
    PGDATABASE: 'd2',
    CONNECT_TIMEOUT_MS: '1',
    QUERY_TIMEOUT_MS: '1',
    CHECK_EVERY: '1',
    PGSSLMODE: 'require',
    PGSSLROOTCERT: root,
    PGSSLCERT: root,
    PGSSLKEY: root,
    METRICS_HOST: '::1',
    METRICS_PORT: '1',
    STATUS_PAGE: '0',
    CONTROL_SOCKET: '/c',
    LOG_LEVEL: 'err',
  });
  const { live, fixed, applied } = diffConfig(running, next);
  assert.equal(fixed, [
    'state_directory',
    'listen.host',
    'listen.port',
    'sessions.workers',
    'metrics.host',
    'metrics.port',
    'metrics.status_page',
    'control.socket',
  ]);
  assert.equal([...live, ...fixed].sort(), SETTINGS.map(({ key }) => key).sort());
  assert.equal(
    withoutSettings({ ...next, ...applied }),
    withoutSettings({
      ...next,
      stateDirectory: running.stateDirectory,
      listen: running.listen,
      metrics: running.metrics,
      control: running.control,
      workers: running.workers,
    }),
  );
  assert.equal(diffConfig(applied, next).fixed, fixed, 'and says it again at the next reload');
});

test('the order of the candidates is part of the configuration', ({ machine }) => {
  const { live } = diffConfig(machine.load({ CANDIDATES: 'a,b' }), machine.load({ CANDIDATES: 'b,a' }));
  assert.equal(live, ['candidates']);
});

test.run();
