// SPDX-License-Identifier: MIT
// Whose a state directory is, and forgetting what is in it.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { ClusterFile, encodeCluster } from '#src/cluster-file.js';
import { GatewayError } from '#src/errors.js';
import { forgetCluster } from '#src/forget-cluster.js';
import type { RememberedCluster } from '#src/memory.js';
import { createLogger } from '#src/log.js';
import { openState, StateDirectory } from '#src/state-directory.js';
import { Child } from '../helpers/child.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite<{ folder: string }>('state directory');

const CLUSTER = { systemId: '7000000000000000001', timeline: 3 };

test.before.each((context) => {
  context.folder = mkdtempSync(join(tmpdir(), 'pg-gateway-state-'));
});
test.after.each(({ folder }) => {
  rmSync(folder, { recursive: true, force: true });
});

/** `CODE message` of what `action` throws. */
function refusal(action: () => unknown): string {
  try {
    return `nothing was thrown: ${String(action())}`;
  } catch (error) {
    if (error instanceof GatewayError) return `${error.code} ${error.message}`;
    throw error;
  }
}

function open(
  path: string | undefined,
  noted: RememberedCluster | null = null,
): { state: ReturnType<typeof openState>; lines: readonly string[] } {
  const lines: string[] = [];
  const logger = createLogger({ level: 'info', journal: true, write: (line) => lines.push(line.trimEnd()) });
  return { state: openState(path, undefined, noted, logger), lines };
}

/** Runs while `use` does, and has claimed the directory. */
async function withOwner(path: string, use: (pid: number) => void): Promise<void> {
  const module = new URL('../../../dist/state-directory.js', import.meta.url).href;
  const program = `
    import { StateDirectory } from ${JSON.stringify(module)};
    new StateDirectory(${JSON.stringify(path)}).claim();
    console.log('claimed');
    setInterval(() => undefined, 1000);`;
  const child = new Child([process.execPath, '--input-type=module', '-e', program]);
  try {
    await child.output('the claim', (stdout) => (stdout.includes('claimed') ? true : undefined));
    use(child.pid);
  } finally {
    await child.close();
  }
}

test('without a directory one line says what that means', () => {
  const { state, lines } = open(undefined);
  assert.equal(state, { directory: undefined, file: undefined, remembered: null });
  assert.equal(lines, ['<6>no state directory: a stop of the gateway forgets the cluster']);
});

test('an absent directory is made, for its owner alone, and given back', ({ folder }) => {
  const path = join(folder, 'made');
  const { state } = open(path);
  assert.is(statSync(path).mode & 0o777, 0o700);
  assert.is(state.remembered, null);
  assert.match(readFileSync(join(path, 'owner'), 'utf8'), `${process.pid} `);
  state.directory?.release();
  assert.throws(() => statSync(join(path, 'owner')));
});

test('a start says which cluster is known', ({ folder }) => {
  writeFileSync(new ClusterFile(folder).path, encodeCluster(CLUSTER));
  const { state, lines } = open(folder);
  assert.equal(state.remembered, CLUSTER);
  assert.match(lines.join('\n'), /^<6>the cluster is known path=\S+ system_identifier=7000000000000000001 timeline=3$/);
});

test('a damaged file stops the start, unless an earlier process has said what should be in it', ({ folder }) => {
  const file = join(folder, 'cluster.json');
  writeFileSync(file, 'damaged');
  assert.match(
    refusal(() => open(folder)),
    /^STATE_INVALID \S+: it is damaged/,
  );
  const { state, lines } = open(folder, CLUSTER);
  assert.is(state.remembered, null);
  assert.match(
    lines.join('\n'),
    /^<3>\S+ cannot be used, and is written anew: .* code=STATE_INVALID system_identifier=7000000000000000001 timeline=3$/,
  );
  assert.is(readFileSync(file, 'utf8'), 'damaged', 'who remembers the cluster writes it');
});

test('a directory that cannot be written to is an error line, and no reason to stay down', ({ folder }) => {
  const path = join(folder, 'file/state');
  writeFileSync(join(folder, 'file'), '');
  // ENOTDIR, which root has no way round either; for reading it is as good as absent only where it is a file.
  const text = refusal(() => open(path));
  assert.match(text, /^STATE_UNREADABLE /);
  const { state, lines } = open('/proc/pg-gateway');
  assert.is(state.remembered, null);
  assert.match(
    lines.join('\n'),
    /^<3>the state directory cannot be written to code=STATE_WRITE_FAILED path=\/proc\/pg-gateway error="?ENOENT/,
  );
});

test('one that could not be claimed at the start is claimed when it can be', ({ folder }) => {
  const obstacle = join(folder, 'owner');
  mkdirSync(obstacle);
  const { state, lines } = open(folder);
  assert.match(lines.join('\n'), /^<3>the state directory cannot be written to code=STATE_WRITE_FAILED .*EISDIR/);
  state.directory?.claimIfNot(); // still not; said often enough by who writes there
  rmSync(obstacle, { recursive: true });
  state.directory?.claimIfNot();
  assert.match(readFileSync(obstacle, 'utf8'), `${process.pid} `);
});

test('nor is it taken from another gateway that has come meanwhile', async ({ folder }) => {
  const obstacle = join(folder, 'owner');
  mkdirSync(obstacle);
  const { state } = open(folder);
  rmSync(obstacle, { recursive: true });
  await withOwner(folder, (pid) => {
    assert.is(
      refusal(() => state.directory?.claimIfNot()),
      `STATE_IN_USE ${folder}: a gateway is running on it, process ${pid}`,
    );
  });
});

test('of two gateways the second is refused, and gets it when the first has ended', async ({ folder }) => {
  await withOwner(folder, (pid) => {
    assert.is(
      refusal(() => open(folder)),
      `STATE_IN_USE ${folder}: a gateway is running on it, process ${pid}`,
    );
  });
  assert.is(new StateDirectory(folder).owner(), undefined, 'it was killed');
  open(folder);
});

test('what is in the file of the owner is not trusted', ({ folder }) => {
  for (const content of [
    '',
    '1',
    '1 ',
    '0 0\n',
    '-1 5\n',
    `${process.ppid} 1\n`,
    '../../etc 1\n',
    '99999999999999 1\n',
  ]) {
    writeFileSync(join(folder, 'owner'), content);
    assert.is(new StateDirectory(folder).owner(), undefined, JSON.stringify(content));
  }
});

// ---- forgetting -----------------------------------------------------------------

test('forgetting tells what it was, and then there is nothing', ({ folder }) => {
  const file = new ClusterFile(folder);
  writeFileSync(file.path, encodeCluster(CLUSTER));
  const env = { STATE_DIRECTORY: folder };
  assert.is(forgetCluster({ env }), `${file.path}: forgot the cluster 7000000000000000001 on timeline 3`);
  assert.is(file.read(), null);
  assert.is(forgetCluster({ env }), `${file.path}: nothing was remembered`);
});

test('a damaged file can be forgotten too', ({ folder }) => {
  const file = new ClusterFile(folder);
  writeFileSync(file.path, 'damaged');
  assert.match(
    forgetCluster({ env: { STATE_DIRECTORY: folder } }),
    /: forgot a cluster, of which the file did not tell any more$/,
  );
  assert.is(file.read(), null);
});

test('nothing is forgotten under a running gateway', async ({ folder }) => {
  const file = new ClusterFile(folder);
  writeFileSync(file.path, encodeCluster(CLUSTER));
  await withOwner(folder, () => {
    assert.match(
      refusal(() => forgetCluster({ env: { STATE_DIRECTORY: folder } })),
      /^STATE_IN_USE /,
    );
  });
  assert.equal(file.read(), CLUSTER);
});

test('the directory of the service stands in where none is named, but not for another configuration', ({ folder }) => {
  const file = new ClusterFile(folder);
  const directory = join(folder, 'etc');
  writeFileSync(file.path, encodeCluster(CLUSTER));
  const config = join(folder, 'other.toml');
  writeFileSync(config, '');
  assert.match(
    refusal(() => forgetCluster({ env: {}, file: config }, folder)),
    /^USAGE --forget-cluster: no state directory is known \(\S+other\.toml names none\): name it by --state-directory=DIRECTORY$/,
  );
  assert.match(
    refusal(() => forgetCluster({ env: {}, directory }, join(folder, 'none'))),
    /^USAGE .*is not there/,
  );
  assert.equal(file.read(), CLUSTER);
  // A configuration that would not do for a start does for this.
  assert.match(forgetCluster({ env: { LISTEN_PORT: 'x' }, directory }, folder), /: forgot /);
});

test('a name that leads nowhere is refused', ({ folder }) => {
  const named = (STATE_DIRECTORY: string): string => refusal(() => forgetCluster({ env: { STATE_DIRECTORY } }));
  assert.match(named(join(folder, 'slip')), /^STATE_UNREADABLE .*slip: ENOENT.*; the cluster is not forgotten$/);
  assert.match(named('relative'), /^CONFIG_INVALID .*expected the absolute path of a directory/);
});

test('a file of the configuration names it', ({ folder }) => {
  const file = new ClusterFile(folder);
  writeFileSync(file.path, encodeCluster(CLUSTER));
  const config = join(folder, 'other.toml');
  writeFileSync(config, `state_directory = ${JSON.stringify(folder)}\n[listen]\nport = "bad"\n`);
  assert.match(forgetCluster({ env: {}, file: config }), /: forgot /);
  writeFileSync(config, 'state_directory = 5\n');
  assert.match(
    refusal(() => forgetCluster({ env: {}, file: config })),
    /^CONFIG_INVALID /,
  );
  writeFileSync(config, 'state_directory = ');
  assert.match(
    refusal(() => forgetCluster({ env: {}, file: config })),
    /^CONFIG_INVALID /,
  );
});

test.run();
