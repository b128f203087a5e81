// SPDX-License-Identifier: MIT
// The password of the probes is in nothing that a gateway produces, whatever way it was
// given and whatever goes wrong: one distinctive password, and a search through all of it.

import { createHash } from 'node:crypto';
import { chmod, mkdir, readdir, readFile, readlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { run } from '../helpers/child.js';
import { runCtl } from '../helpers/ctl.js';
import { Gateway } from '../helpers/gateway.js';
import type { GatewayOptions } from '../helpers/gateway.js';
import { MAIN, preloading, PROGRAM_ENV, temporaryFolder } from '../helpers/paths.js';
import { PgSession } from '../helpers/pg-session.js';
import { PostgresServer } from '../helpers/postgres.js';
import { query } from '../helpers/psql.js';
import { ServiceManager } from '../helpers/service-manager.js';
import { assert, suite } from '../helpers/suite.js';

const SECRET = 'Tr0ub4dor&3-Zx8Qv';
const PROBE_USER = 'probe';
const RELOADS = 'pg_gateway_config_reloads_total';

/** What would be as good as the password itself, or lead to it. */
const NEEDLES: readonly string[] = [
  SECRET,
  encodeURIComponent(SECRET),
  Buffer.from(SECRET).toString('base64').replace(/=+$/, ''),
  Buffer.from(SECRET).toString('hex'),
  createHash('md5').update(`${SECRET}${PROBE_USER}`).digest('hex'),
];

const test = suite('secrets');
let server: PostgresServer;

test.before(async () => {
  server = await PostgresServer.create({
    hba: [
      'host all postgres all trust',
      'host all md5_role all md5',
      'host all clear_role all password',
      'host all all all scram-sha-256',
    ],
  });
  await server.query(`CREATE ROLE ${PROBE_USER} LOGIN PASSWORD '${SECRET}';
    CREATE ROLE denied LOGIN PASSWORD 'another';
    CREATE ROLE clear_role LOGIN PASSWORD 'another';
    SET password_encryption = 'md5'; CREATE ROLE md5_role LOGIN PASSWORD 'another'`);
});

test.after(async () => {
  await server.close();
});

/** Everything that a process leaves behind, by what it is. */
class Evidence {
  readonly #texts = new Map<string, string>();

  add(what: string, text: string): void {
    this.#texts.set(what, (this.#texts.get(what) ?? '') + text);
  }

  /** What the gateway shows while it runs. */
  async addRunning(gateway: Gateway): Promise<void> {
    for (const path of ['/metrics', '/', '/healthz', '/readyz', '/nothing']) {
      this.add(path, (await gateway.http(path)).body);
    }
    const process = `/proc/${gateway.pid}`;
    this.add('ps', await readFile(join(process, 'cmdline'), 'latin1'));
    for (const thread of await readdir(join(process, 'task'))) {
      this.add('threads', await readFile(join(process, 'task', thread, 'comm'), 'latin1'));
    }
    // Memory that outlives the process: the ledger of the sessions, and the note for the next process.
    for (const fd of await readdir(join(process, 'fd'))) {
      const path = join(process, 'fd', fd);
      const target = await readlink(path).catch(() => '');
      if (target.startsWith('/memfd:')) this.add('memory that is kept', await readFile(path, 'latin1'));
    }
  }

  /** What an administrator is told. */
  async addControl(socket: string): Promise<void> {
    for (const what of ['status', 'sessions', 'failovers', 'reload']) {
      for (const format of [[], ['--json']]) {
        const { stdout, stderr } = await runCtl(socket, [what, ...format]);
        this.add(`pg-gatewayctl ${what}`, stdout + stderr);
      }
    }
  }

  addOutput({ log, stdout }: Gateway): void {
    this.add('log', log);
    this.add('stdout', stdout);
  }

  async addFiles(folder: string): Promise<void> {
    for (const name of await readdir(folder)) this.add('state', await readFile(join(folder, name), 'latin1'));
  }

  assertClean(): void {
    for (const [what, text] of this.#texts) {
      for (const needle of NEEDLES) {
        const at = text.toLowerCase().indexOf(needle.toLowerCase());
        assert.ok(at < 0, `${what} has the password: ...${text.slice(Math.max(0, at - 200), at + 60)}`);
      }
    }
  }

  /** That there was something to search. */
  assertHas(what: string, expected: RegExp): void {
    assert.match(this.#texts.get(what) ?? '', expected);
  }
}

interface Given {
  readonly env: Readonly<Record<string, string>>;
  readonly config: string;
}

/** The ways to give it. The folder is for their files. */
const WAYS: Readonly<Record<string, (folder: string) => Promise<Given>>> = {
  environment: () => Promise.resolve({ env: { PGPASSWORD: SECRET }, config: '' }),
  credential: async (folder) => {
    await writeFile(join(folder, 'pgpassword'), `${SECRET}\n`);
    return { env: { CREDENTIALS_DIRECTORY: folder }, config: '' };
  },
  'password file': async (folder) => {
    const file = join(folder, 'passfile');
    await writeFile(file, `*:*:*:*:${SECRET}\n`, { mode: 0o600 });
    return { env: { PGPASSFILE: file }, config: '' };
  },
  'configuration file': () => Promise.resolve({ env: {}, config: `[probe]\npassword = "${SECRET}"\n` }),
};

function options({ env, config }: Given, more: GatewayOptions['env'] = {}): GatewayOptions {
  const base = `candidates = ["${server.candidate}"]\n`;
  return { config: `${base}${config}`, env: { PGUSER: PROBE_USER, LOG_LEVEL: 'debug', ...env, ...more } };
}

async function withFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await temporaryFolder();
  try {
    await use(folder.path);
  } finally {
    await folder.close();
  }
}

/** What --check-config says of it. */
async function checkConfig(file: string, env: NodeJS.ProcessEnv): Promise<string> {
  const command = [...preloading([process.execPath]), MAIN, '--config', file, '--check-config'];
  const { stdout, stderr } = await run(command, {
    env: { PATH: process.env['PATH'], ...PROGRAM_ENV, LD_PRELOAD: undefined, ...env },
  });
  return stdout + stderr;
}

for (const [way, give] of Object.entries(WAYS)) {
  test(`given by ${way}: a whole life at debug level, with a kept session and a reload`, async () => {
    await withFolder(async (folder) => {
      const given = await give(folder);
      const state = join(folder, 'state');
      await mkdir(state);
      const manager = await ServiceManager.start([['primary', 'tcp4']], { store: true });
      const evidence = new Evidence();
      try {
        const launcher = manager.earlyLauncher;
        const socket = join(folder, 'control.sock');
        const places = { STATE_DIRECTORY: state, CONTROL_SOCKET: socket };
        const gateway = await Gateway.start({ ...options(given, places), launcher });
        try {
          await gateway.primaryIs(server.candidate);
          const [clients] = manager.sockets;
          if (clients === undefined) throw new Error('no socket');
          const session = await PgSession.open(clients);
          assert.is(await query(clients, 'SELECT 1'), '1');
          gateway.kill('SIGHUP');
          await gateway.metric(RELOADS, { result: 'ok' }, (value) => value === 1);
          await gateway.logged('session closed');
          await evidence.addRunning(gateway);
          evidence.assertHas('memory that is kept', /"candidates"/);
          await evidence.addControl(socket);
          evidence.assertHas('pg-gatewayctl status', /"health":\s*"ok"/);
          evidence.assertHas('pg-gatewayctl sessions', /open/);
          const environment = await readFile(`/proc/${gateway.pid}/environ`, 'latin1');
          assert.is(environment.includes(SECRET), way === 'environment', 'it is where it was put, and nowhere else');
          evidence.add('--check-config', await checkConfig(gateway.configFile, given.env));
          evidence.assertHas('--check-config', /^(?:# )?candidates = |candidates/m);
          session.close();
          await gateway.stop();
          evidence.addOutput(gateway);
          await evidence.addFiles(state);
          evidence.assertHas('state', /system_identifier/);
          evidence.assertHas('log', /DEBUG/);
          for (const notification of manager.notifications) evidence.add('status', [...notification].join('\n'));
          evidence.assertHas('status', /STATUS/);
          evidence.add('log of the server', server.log);
          evidence.assertClean();
        } finally {
          await gateway.close();
        }
      } finally {
        await manager.close();
      }
    });
  });
}

for (const user of ['denied', 'md5_role', 'clear_role', 'nobody_of_that_name']) {
  test(`a log-in that is refused: ${user}`, async () => {
    await withFolder(async (folder) => {
      for (const give of Object.values(WAYS)) {
        const gateway = await Gateway.start(options(await give(folder), { PGUSER: user }));
        try {
          await gateway.logged('candidate does not answer', { candidate: server.candidate, reason: 'auth' });
          const evidence = new Evidence();
          await evidence.addRunning(gateway);
          await gateway.stop();
          evidence.addOutput(gateway);
          evidence.add('log of the server', server.log);
          evidence.assertClean();
        } finally {
          await gateway.close();
        }
      }
    });
  });
}

/** Slips of the hand, each with the password in it. Only the first of a file's errors of syntax is told, so one each. */
const SLIPS: Readonly<Record<string, string>> = {
  'an open string': `[probe]\npassword = "${SECRET}\n`,
  'no quotes': `[probe]\npassword = ${SECRET}\n`,
  'a colon': `[probe]\npassword: "${SECRET}"\n`,
  'something behind it': `[probe]\npassword = "${SECRET}"x\n`,
  'a list': `[probe]\npassword = ["${SECRET}"]\n`,
  'a table': `[probe]\npassword = { it = "${SECRET}" }\n`,
  twice: `[probe]\npassword = "${SECRET}"\npassword = "${SECRET}"\n`,
  'a sign that cannot be in it': `[probe]\npassword = "${SECRET}\\u0000"\n`,
  'a misspelt key': `[probe]\npasswort = "${SECRET}"\n`,
  'the wrong table': `[log]\npassword = "${SECRET}"\n`,
  'an unknown table': `[database]\npassword = "${SECRET}"\n`,
  'a URL': `candidates = ["postgres://probe:${SECRET}@db1:5432/postgres"]\n`,
  'a URL without an end': `candidates = ["postgres://probe:${SECRET}"]\n`,
  'a name and a password': `candidates = ["probe:${SECRET}@db1"]\n`,
  'a connection string': `candidates = "host=db1 password=${SECRET} user=probe"\n`,
  'connection strings': `candidates = ["host=db1 password='${SECRET} and more'", "db2"]\n`,
};

test('a configuration that has an error: none of its lines shows what may be the password', async () => {
  const folder = await temporaryFolder();
  const socket = join(folder.path, 'control.sock');
  const given = await (WAYS['configuration file'] as (folder: string) => Promise<Given>)('');
  const gateway = await Gateway.start(options(given, { CONTROL_SOCKET: socket }));
  const evidence = new Evidence();
  let rejected = 0;
  try {
    for (const [slip, text] of Object.entries(SLIPS)) {
      const base = text.startsWith('candidates') ? '' : `candidates = ["${server.candidate}"]\n`;
      await gateway.configure(`${base}${text}`);
      evidence.add(`--check-config: ${slip}`, await checkConfig(gateway.configFile, {}));
      gateway.kill('SIGHUP');
      rejected += 1;
      await gateway.metric(RELOADS, { result: 'rejected' }, (value) => value === rejected);
      const { stdout } = await runCtl(socket, ['status']);
      assert.match(stdout, 'the configuration was rejected');
      evidence.add(`status: ${slip}`, stdout);
    }
    for (const [variable, value] of [
      ['CANDIDATES', `postgres://probe:${SECRET}@db1/postgres`],
      ['CANDIDATES', `host=db1 password=${SECRET}`],
      ['PGPASSWORD', `${SECRET}\u0001\n`],
      ['PGSSLMODE', 'no'],
    ] as const) {
      const env = { CANDIDATES: server.candidate, PGPASSWORD: SECRET, [variable]: value };
      await gateway.configure('');
      evidence.add(`--check-config: ${variable}`, await checkConfig(gateway.configFile, env));
    }
    await gateway.stop();
    evidence.addOutput(gateway);
    evidence.assertHas('log', /not valid TOML/);
    evidence.assertHas('--check-config: a connection string', /not a connection string/);
    evidence.assertClean();
  } finally {
    await gateway.close();
    await folder.close();
  }
});

test('a password file that must not be used', async () => {
  await withFolder(async (folder) => {
    const given = await (WAYS['password file'] as (folder: string) => Promise<Given>)(folder);
    await chmod(join(folder, 'passfile'), 0o644);
    const gateway = await Gateway.start(options(given));
    try {
      const line = await gateway.logged('candidate does not answer', { reason: 'auth' });
      assert.match(line.fields.get('detail') ?? '', 'can be read by others');
      const evidence = new Evidence();
      await evidence.addRunning(gateway);
      await gateway.stop();
      evidence.addOutput(gateway);
      evidence.assertClean();
    } finally {
      await gateway.close();
    }
  });
});

test('an end that nobody foresaw: an exception that nothing catches, and a fatal signal', async () => {
  await withFolder(async (folder) => {
    const bomb = join(folder, 'bomb.cjs');
    await writeFile(bomb, `process.once('SIGUSR2', () => { throw new Error('for the test'); });\n`);
    for (const [signal, status] of [
      ['SIGUSR2', 70],
      ['SIGSEGV', null],
    ] as const) {
      const launcher = ['/usr/bin/env', `NODE_OPTIONS=--require=${bomb}`, process.execPath];
      const gateway = await Gateway.start({
        ...options(await (WAYS['environment'] as (folder: string) => Promise<Given>)(folder)),
        launcher: ['prlimit', '--core=0', ...launcher],
      });
      try {
        await gateway.primaryIs(server.candidate);
        gateway.kill(signal);
        assert.is((await gateway.ended).status, status);
        const evidence = new Evidence();
        evidence.addOutput(gateway);
        if (status !== null) evidence.assertHas('log', /internal error code=INTERNAL .*for the test/);
        evidence.assertClean();
      } finally {
        await gateway.close();
      }
    }
  });
});

test("SIGUSR1 does not open Node's debugger, by which everybody on the machine could read the memory", async () => {
  const gateway = await Gateway.start(options({ env: { PGPASSWORD: SECRET }, config: '' }));
  try {
    gateway.kill('SIGUSR1');
    gateway.kill('SIGHUP');
    await gateway.metric(RELOADS, { result: 'ok' }, (value) => value === 1);
    assert.is((await gateway.stop()).status, 0);
    assert.not.match(gateway.log, 'Debugger');
  } finally {
    await gateway.close();
  }
});

test.run();
