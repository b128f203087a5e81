// SPDX-License-Identifier: MIT
// What is shipped around the program must not drift from it: manual, completion,
// units, and the papers of the Debian package. (Of settings: config-docs.test.ts.)

import { execFileSync, spawn, spawnSync } from 'node:child_process';
import type { SpawnSyncReturns } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { helpText } from '#src/cli.js';
import { PATHS } from '#src/control/api.js';
import { COMMANDS, parseCtlArguments, SOCKET_DIRECTORY } from '#src/ctl/arguments.js';
import { CTL_EXIT } from '#src/ctl/exit.js';
import { ERROR_CODES, EXIT } from '#src/errors.js';
import { PROJECT_ROOT } from '../helpers/paths.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('packaging');

function read(path: string): string {
  return readFileSync(join(PROJECT_ROOT, path), 'utf8');
}

function matches(text: string, pattern: RegExp): string[] {
  return [...text.matchAll(pattern)].map((match) => match[1] ?? '');
}

const OPTIONS = [...new Set(matches(helpText(), /(?<=^ {2}.{4})--([a-z-]+)/gmu))].sort();

// ---- command line -------------------------------------------------------------

test('pg-gateway(8) has every option and no other, and every exit status', () => {
  const page = read('packaging/man/pg-gateway.8');
  const items = matches(page, /^(\.It Fl .*)$/gmu).join('\n');
  assert.equal([...matches(items, /Fl -([a-z-]+)/gu)].sort(), OPTIONS);
  const status = page.slice(page.indexOf('.Sh EXIT STATUS'), page.indexOf('.Sh EXAMPLES'));
  assert.equal(matches(status, /^\.It (\d+)$/gmu), Object.values(EXIT).map(String));
});

test('the completion offers every option and no other', () => {
  const words = /\*\) words="([^"]*)"/u.exec(read('packaging/pg-gateway.bash-completion'))?.[1] ?? '';
  assert.equal(words.split(/\s+/u).sort(), OPTIONS.map((name) => `--${name}`).sort());
});

// ---- pg-gatewayctl ----------------------------------------------------------

test('in the container image the socket is where pg-gatewayctl looks for it, in a folder that is there', () => {
  const file = read('packaging/Dockerfile');
  const [socket = ''] = matches(file, /^ENV CONTROL_SOCKET=(\S+)$/gmu);
  const asked = parseCtlArguments(['status'], {});
  assert.ok(asked.kind === 'run');
  assert.is(socket, asked.socket);
  assert.match(file, `install -d -m 1777 ${SOCKET_DIRECTORY}\n`);
});

test('pg-gatewayctl(8) has every command, option, path, error and exit status', () => {
  const page = read('packaging/man/pg-gatewayctl.8');
  assert.equal(
    matches(page, /^\.It Cm (\S+)/gmu),
    COMMANDS.map(({ name }) => name),
  );
  const options = COMMANDS.flatMap(({ options: own = [] }) => own.map(({ name }) => name));
  const global = ['socket', 'instance', 'json', 'help', 'version'];
  assert.equal(matches(page, /^\.It Fl -([a-z-]+)/gmu), [...options, ...global]);
  assert.equal(
    matches(page, /^\.It Li ((?:GET|POST) \S+)$/gmu),
    PATHS.map((pair) => pair.join(' ')),
  );
  for (const code of matches(page, /^\.It Li ([A-Z_]+)$/gmu)) assert.ok(Object.hasOwn(ERROR_CODES, code), code);
  const status = page.slice(page.indexOf('.Sh EXIT STATUS'), page.indexOf('.Sh EXAMPLES'));
  assert.equal(
    matches(status, /^\.It (\d+)$/gmu),
    CTL_EXIT.map(([number]) => String(number)),
  );
});

test('the completion of pg-gatewayctl offers what there is for each command', () => {
  const complete = (line: string): string[] => {
    const words = line.split(' ');
    const script = `. ${join(PROJECT_ROOT, 'packaging/pg-gatewayctl.bash-completion')}
      COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}
      _pg_gatewayctl; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return execFileSync('bash', ['-c', script], { encoding: 'utf8' })
      .split('\n')
      .filter((word) => word !== '')
      .sort();
  };
  const names = COMMANDS.map(({ name }) => name);
  assert.equal(
    complete('pg-gatewayctl '),
    [...names, '--socket', '--instance', '--json', '--help', '--version'].sort(),
  );
  for (const { name, options = [] } of COMMANDS) {
    const expected = ['--socket', '--instance', '--json', '--help', ...options.map((option) => `--${option.name}`)];
    assert.equal(complete(`pg-gatewayctl --json ${name} --`), expected.sort(), name);
  }
  assert.equal(complete('pg-gatewayctl log-level de'), ['debug']);
  assert.equal(complete('pg-gatewayctl sessions --limit '), []);
});

// ---- units --------------------------------------------------------------------

/** Directives without comments, and with what names an instance taken out. */
function directives(unit: string): string[] {
  return read(`systemd/${unit}`)
    .replaceAll(/^#.*\n/gmu, '')
    .replaceAll(' --config /etc/pg-gateway/%i.toml', '')
    .replaceAll('/etc/pg-gateway/%i.pgpassword', '/etc/pg-gateway/pgpassword')
    .replaceAll(/^Description=.*(?:primary|gateway)\b.*$/gmu, 'Description')
    .replaceAll(/@%i|-%i/gu, '')
    .replaceAll(/^Wants=pg-gateway-metrics\.socket$/gmu, '')
    .replaceAll(' pg-gateway-metrics.socket', '')
    .split('\n')
    .filter((line) => line !== '');
}

for (const unit of ['pg-gateway.service', 'pg-gateway.socket', 'pg-gateway-control.socket']) {
  const template = unit.replace('.', '@.');
  test(`${template} is ${unit} but for the instance`, () => {
    assert.equal(directives(template), directives(unit));
  });
}

test('a crash leaves no dump of the memory, in which the password is', () => {
  for (const unit of ['pg-gateway.service', 'pg-gateway@.service'])
    assert.match(read(`systemd/${unit}`), /^LimitCORE=0$/m);
});

test('every manual is in the package', () => {
  const shipped = read('debian/pg-gateway.manpages').trim().split('\n');
  assert.equal(
    [...shipped].sort(),
    readdirSync(join(PROJECT_ROOT, 'packaging/man'))
      .map((name) => `packaging/man/${name}`)
      .sort(),
  );
});

test('no unit uses what systemd 252 does not know', () => {
  const newer = /^(?:ImportCredential|RestartSteps|RestartMaxDelaySec|FileDescriptorStorePreserve|PollLimit\w+)=/mu;
  for (const unit of [
    'pg-gateway.service',
    'pg-gateway.socket',
    'pg-gateway-metrics.socket',
    'pg-gateway-control.socket',
  ]) {
    const text = read(`systemd/${unit}`);
    assert.not.match(text, newer);
    assert.not.match(text, /^Type=notify-reload$/mu);
  }
});

// ---- the Debian package -------------------------------------------------------

test('debian/copyright covers every npm package that is shipped', () => {
  execFileSync(process.execPath, [join(PROJECT_ROOT, 'packaging/vendor.js'), '--check-copyright'], {
    encoding: 'utf8',
  });
});

test('the program as it is shipped is a few files, and runs without the packages of a checkout', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pg-gateway-stage-'));
  try {
    const stage = spawnSync('sh', [join(PROJECT_ROOT, 'packaging/stage'), folder], { encoding: 'utf8' });
    assert.is(stage.status, 0, stage.stderr);
    const files = readdirSync(join(folder, 'dist'));
    assert.ok(files.length <= 6, files.join(' '));
    const run = (file: string): SpawnSyncReturns<string> =>
      spawnSync(process.execPath, [file, '--check-config', '--config', '/dev/null'], {
        encoding: 'utf8',
        env: { PATH: process.env['PATH'], HOME: '/nonexistent', CANDIDATES: 'db1,[::1]:7', PGUSER: 'probe' },
      });
    const { status, stdout, stderr } = run(join(folder, 'dist/main.js'));
    const checkout = run(join(PROJECT_ROOT, 'dist/main.js'));
    assert.equal([status, stdout, stderr], [0, checkout.stdout, checkout.stderr]);
    const ctl = (file: string): SpawnSyncReturns<string> =>
      spawnSync(process.execPath, [file, '--help'], { encoding: 'utf8', env: { PATH: process.env['PATH'] } });
    const help = ctl(join(folder, 'dist/pg-gatewayctl.js'));
    assert.equal([help.status, help.stdout], [0, ctl(join(PROJECT_ROOT, 'dist/ctl/main.js')).stdout]);
    const { stdout: versionLine } = spawnSync(process.execPath, [join(folder, 'dist/pg-gatewayctl.js'), '--version'], {
      encoding: 'utf8',
    });
    assert.match(versionLine, /^pg-gatewayctl \d+\.\d+\.\d+\n$/u);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('the test of the installed package waits for the words that the program says', () => {
  const [words = ''] = matches(read('debian/tests/unconfigured'), /grep -c '([^']*)'/gu);
  const { status, stderr } = spawnSync(
    process.execPath,
    [join(PROJECT_ROOT, 'dist/main.js'), '--check-config', '--quiet', '--config', '/dev/null'],
    { encoding: 'utf8', env: { PATH: process.env['PATH'], HOME: '/nonexistent' } },
  );
  assert.is(status, EXIT.CONFIG);
  assert.is(stderr.split('\n').filter((line) => words !== '' && line.includes(words)).length, 1, stderr);
});

test('the health check of the image asks where the metrics are', async () => {
  const command = /^HEALTHCHECK .*?CMD (\[.*?\]\n)/msu.exec(read('packaging/Dockerfile'))?.[1] ?? '';
  const [, ...args] = JSON.parse(command.replaceAll('\\\n', '')) as readonly string[];
  let status = 200;
  const server = createServer((request, response) => {
    response.writeHead(request.url === '/readyz' ? status : 404).end();
  });
  server.listen(0, '127.0.0.7');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const check = async (host: string): Promise<number | null> => {
    const env = { PATH: process.env['PATH'], METRICS_HOST: host, METRICS_PORT: String(port) };
    const child = spawn(process.execPath, args, { env, stdio: 'ignore' });
    const [code] = (await once(child, 'exit')) as [number | null];
    return code;
  };
  try {
    assert.is(await check('127.0.0.7'), 0);
    status = 503;
    assert.is(await check('127.0.0.7'), 1);
    status = 200;
    assert.is(await check('::'), 1, 'on this machine there is nobody');
  } finally {
    server.close();
  }
});

test('the package and the program have one version', () => {
  const manifest: unknown = JSON.parse(read('package.json'));
  const { version } = manifest as { readonly version: string };
  assert.is(/^pg-gateway \(([^)]*)\)/u.exec(read('debian/changelog'))?.[1], version);
});

test.run();
