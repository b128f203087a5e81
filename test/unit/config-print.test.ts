// SPDX-License-Identifier: MIT
// The effective configuration as text.

import { describeConfig } from '#src/config.js';
import { ConfigMachine, withoutSettings } from '../helpers/config-input.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite<{ machine: ConfigMachine }>('config print');

test.before.each((context) => {
  context.machine = new ConfigMachine();
});
test.after.each(({ machine }) => {
  machine.close();
});

test('prints a file that gives the same configuration', ({ machine }) => {
  const odd = machine.write('od"d \\ \u007f\té', '');
  const config = machine.load(
    {
      CANDIDATES: 'db1, [::1]:2',
      NUM_THREADS: 'auto',
      CHECK_EVERY: '0.05',
      TCP_KEEPALIVE: 'off',
      PGSSLCERT: odd,
      PGSSLKEY: odd,
      LOG_LEVEL: 'warn',
    },
    { overrides: [{ key: 'listen.port', value: '0', option: '<listen_port>' }] },
  );
  const file = machine.write('printed', describeConfig(config));
  assert.equal(withoutSettings(machine.load({}, { file })), { ...withoutSettings(config), sources: [file] });
});

test('prints each value with its source, and no secret', ({ machine }) => {
  const path = machine.write('etc/pg-gateway.toml', '[probe]\ndatabase = "d"');
  const printed = describeConfig(
    machine.load(
      { CANDIDATES: 'db1 db2:1', PGUSER: 'u', PGPASSWORD: 'hunter2', HOME: machine.path('none') },
      { overrides: [{ key: 'listen.port', value: '6432', option: '--listen-port' }] },
    ),
  );
  assert.is(
    printed,
    `# The effective configuration of pg-gateway.
# Files read:
#   ${path}

candidates = ["db1:5432", "db2:1"]  # environment CANDIDATES
# state_directory is not set

[listen]
host = "localhost"  # default
port = 6432  # argument --listen-port

[sessions]
workers = 1  # default
max_connections = "auto"  # default
max_connections_per_client = 0  # default
max_connection_rate = 0  # default
tcp_keepalive = true  # default
tcp_keepalives_idle = 60  # default
tcp_keepalives_interval = 10  # default
tcp_keepalives_count = 12  # default
tcp_user_timeout = 0  # default
drain_timeout_ms = 0  # default

[failover]
hold_timeout_ms = 15000  # default
max_held = 1000  # default
release_rate = 500  # default
cut_policy = "proof"  # default

[probe]
user = "u"  # environment PGUSER
# password = "***"  # environment PGPASSWORD, masked
# passfile is not set
database = "d"  # ${path}
connect_timeout_ms = 800  # default
query_timeout_ms = 500  # default
check_every = 2  # default
sslmode = "prefer"  # default
# sslrootcert is not set
# sslcert is not set
# sslkey is not set

[metrics]
host = "::"  # default
port = 9090  # default
status_page = true  # default

[control]
socket = "off"  # default

[log]
level = "info"  # default
`,
  );
});

test('the password is nowhere in what is for reading, whoever gave it', ({ machine }) => {
  const secret = 'hunter2-hunter2';
  machine.write('cred/pgpassword', secret);
  const file = machine.write('file', `[probe]\npassword = "${secret}"`);
  const configs = [
    machine.load({ CANDIDATES: 'a', PGPASSWORD: secret }),
    machine.load({ CANDIDATES: 'a', CREDENTIALS_DIRECTORY: machine.path('cred') }),
    machine.load({ CANDIDATES: 'a' }, { file }),
  ];
  for (const config of configs) {
    assert.is(config.probe.password, secret);
    assert.not.match(describeConfig(config), secret);
    assert.not.match(JSON.stringify(config.settings), secret);
  }
});

test.run();
