// SPDX-License-Identifier: MIT
// The configuration cannot be read: at the start, and when it is to be read again.

import { chmod, rename } from 'node:fs/promises';

import { run } from '../helpers/child.js';
import { Gateway } from '../helpers/gateway.js';
import { MAIN, preloading, PROGRAM_ENV } from '../helpers/paths.js';
import { PgSession } from '../helpers/pg-session.js';
import { PostgresServer } from '../helpers/postgres.js';
import { query } from '../helpers/psql.js';
import { assert, suite } from '../helpers/suite.js';

const RELOADS = 'pg_gateway_config_reloads_total';
const REJECTED = 'the new configuration was rejected, the old one goes on';
const WHERE = 'SELECT inet_server_port()';

/** As for everybody else, what the mode of a file forbids is forbidden to root without these. */
const AS_ANYBODY =
  process.getuid?.() === 0
    ? ['setpriv', '--bounding-set=-dac_override,-dac_read_search', process.execPath]
    : [process.execPath];

const test = suite('unreadable configuration');
let server: PostgresServer;

test.before(async () => {
  server = await PostgresServer.create();
});

test.after(async () => {
  await server.close();
});

function startGateway(): Promise<Gateway> {
  const config = `candidates = ["${server.candidate}"]\n`;
  return Gateway.start({ config, launcher: AS_ANYBODY });
}

test('at the start: one line that names the file and the reason, and status 78', async () => {
  const gateway = await startGateway();
  try {
    await chmod(gateway.configFile, 0);
    const env = { PATH: process.env['PATH'], ...PROGRAM_ENV, LD_PRELOAD: undefined };
    for (const more of [[], ['--check-config']]) {
      const command = [...preloading(AS_ANYBODY), MAIN, '--config', gateway.configFile, ...more];
      const { status, stderr, stdout } = await run(command, { env });
      assert.is(status, 78, stderr);
      assert.match(stderr, `${gateway.configFile}: cannot be read: EACCES: permission denied`);
      assert.match(stderr, 'code=CONFIG_UNREADABLE');
      assert.is(stderr.trimEnd().split('\n').length, 1, stderr);
      assert.is(stdout, '');
    }
  } finally {
    await gateway.close();
  }
});

test('at a reload: refused, said, counted, and the old one goes on; when it can be read again it counts', async () => {
  const gateway = await startGateway();
  try {
    await gateway.primaryIs(server.candidate);
    const session = await PgSession.open(gateway.clients);
    const away = `${gateway.configFile}.away`;
    const obstacles: readonly (readonly [string, () => Promise<void>, () => Promise<void>])[] = [
      ['EACCES', () => chmod(gateway.configFile, 0), () => chmod(gateway.configFile, 0o600)],
      ['ENOENT', () => rename(gateway.configFile, away), () => rename(away, gateway.configFile)],
    ];
    for (const [index, [code, place, remove]] of obstacles.entries()) {
      await place();
      const mark = gateway.mark;
      gateway.kill('SIGHUP');
      await gateway.metric(RELOADS, { result: 'rejected' }, (value) => value === index + 1);
      await gateway.logged(REJECTED, {}, undefined, mark);
      assert.match(gateway.log, `${gateway.configFile}: cannot be read: ${code}`);
      const line = gateway.lines.find(({ message }) => message.includes(`cannot be read: ${code}`));
      assert.is(line?.fields.get('code'), 'CONFIG_UNREADABLE');
      assert.is(await query(gateway.clients, WHERE), String(server.port));
      assert.equal(await session.query(WHERE), [String(server.port)]);
      await remove();
      gateway.kill('SIGHUP');
      await gateway.metric(RELOADS, { result: 'ok' }, (value) => value === index + 1);
    }
    assert.is((await gateway.samples()).get('pg_gateway_has_primary'), 1);
    session.close();
  } finally {
    await gateway.close();
  }
});

test.run();
