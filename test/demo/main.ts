// SPDX-License-Identifier: MIT
// `npm run demo`: plays a failover and takes everything away again.
//
// With --keep a background process of its own plays it and then keeps the cluster
// and the gateway, until it is ended by the `kill` line that was printed.

import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

import { closeAll } from '../helpers/cleanup.js';
import { postgresProgram, SUPERUSER } from '../helpers/postgres-install.js';
import { playFailover } from './failover-story.js';
import type { Stage } from './failover-story.js';
import { Narrator } from './narrator.js';

const HELP = `Usage: npm run demo [-- OPTION]

Starts a throwaway PostgreSQL primary, two streaming standbys, and pg-gateway in
front of them; writes through it, kills the primary, promotes a standby, and
prints what the client saw. Everything is on free ports of 127.0.0.1, and taken
away at the end.

  --keep  Leave the cluster and the gateway running, and print how to connect
          to it and how to end it.
  --help  Print this text.
`;

/** For the background process of --keep. */
const KEEPER = '--keeper';

const EXIT_USAGE = 64;

/** Plays, and takes everything away. */
async function play(): Promise<number> {
  const narrator = new Narrator();
  try {
    const { good } = await playFailover(narrator);
    return good ? 0 : 1;
  } finally {
    await closeAll();
    narrator.close();
  }
}

/** Starts the keeper, shows what it prints, and leaves when it says so. */
async function playAndKeep(): Promise<number> {
  const keeper = spawn(process.execPath, [fileURLToPath(import.meta.url), KEEPER], {
    detached: true,
    // Pipes: what it keeps open must not keep open what the caller reads.
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  keeper.stdout?.pipe(process.stdout);
  keeper.stderr?.pipe(process.stderr);
  // It is not of the terminal's process group.
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => keeper.kill('SIGTERM'));
  return new Promise((resolve) => {
    keeper.on('message', () => {
      keeper.disconnect();
      keeper.unref();
      resolve(0);
    });
    keeper.on('close', (status) => {
      resolve(status ?? 1);
    });
  });
}

/** Never returns if all went well: signals end it, by way of what is registered for the exit. */
async function keep(): Promise<number> {
  // Its reader is going to leave.
  process.stdout.on('error', () => undefined);
  process.stderr.on('error', () => undefined);
  const narrator = new Narrator();
  let stage: Stage;
  try {
    stage = await playFailover(narrator);
  } catch (error) {
    await closeAll();
    throw error;
  }
  const { host, port } = stage.gateway.clients;
  narrator.title('It keeps running');
  narrator.detail(`connect:  ${postgresProgram('psql')} -h ${host} -p ${port} -U ${SUPERUSER} postgres`);
  narrator.detail(`end it:   kill ${process.pid}`);
  narrator.close();
  process.stdout.write('\n', () => process.send?.('kept'));
  return new Promise(() => undefined);
}

async function main(args: readonly string[]): Promise<number> {
  const [option] = args;
  if (args.length > 1 || (option !== undefined && !['--keep', '--help', '-h', KEEPER].includes(option))) {
    process.stderr.write(`demo: not understood: ${args.join(' ')}\n\n${HELP}`);
    return EXIT_USAGE;
  }
  if (option === '--help' || option === '-h') {
    process.stdout.write(HELP);
    return 0;
  }
  if (option === '--keep') return playAndKeep();
  return option === KEEPER ? keep() : play();
}

process.exitCode = await main(process.argv.slice(2));
// What --keep leaves behind still has a pipe to this process.
if (process.argv.includes('--keep')) process.exit();
