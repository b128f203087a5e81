// SPDX-License-Identifier: MIT
// What the gateway costs as a service: how long it takes from its start to READY=1, and `pg-gatewayctl status` of another one
// to its end, as the package has them and beside a bare Node; and what it does when there is nothing to do, with the probes'
// default cadence.

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { Child } from '../helpers/child.js';
import { ControlledGateway } from '../helpers/ctl.js';
import { PROJECT_ROOT, temporaryFolder } from '../helpers/paths.js';
import { SUPERUSER } from '../helpers/postgres-install.js';
import { wakeUps } from '../helpers/processes.js';
import { ServiceManager } from '../helpers/service-manager.js';
import { observeFor } from '../helpers/wait.js';
import { AT_REST, STARTED } from './cases.js';
import { cpuBetween, cpuTimes } from './costs.js';
import type { Bench, Part } from './part.js';
import { gatewayRoute } from './routes.js';
import { GATEWAY } from './samples.js';

/** Starts in a round. */
const STARTS = 4;
const READY_DEADLINE_MS = 20_000;
/** In readings: after its start V8 compiles, collects and gives back memory for a while. */
const REST = 4;
/** As the unit that the package has. */
const THREADS = '16';

export const service: Part = {
  name: 'service',
  title: 'as a service',
  metrics: [
    { key: 'readyMs', title: 'exec to READY=1, ms', digits: 0, better: 'less' },
    { key: 'nodeMs', title: 'a start of Node that does nothing, ms', digits: 0, better: 'less' },
    { key: 'ctlMs', title: 'pg-gatewayctl status, ms', digits: 0, better: 'less' },
    { key: 'wakeUps', title: 'wake-ups/s', digits: 1, better: 'less' },
    { key: 'cpuPercent', title: 'CPU time, % of a core', digits: 3, better: 'less' },
  ],
  seconds: ({ rounds, settleSeconds }) => 5 + rounds * STARTS * 0.6 + (REST + rounds) * settleSeconds,
  run: async (bench) => {
    await startUp(bench);
    bench.finished(service, STARTED);
    await rest(bench);
    bench.finished(service, AT_REST);
  },
};

async function startUp({ settings, stand, progress, record }: Bench): Promise<void> {
  const folder = await temporaryFolder();
  const manager = await ServiceManager.start([]);
  const candidate = `127.0.0.1:${stand.server.port}`;
  // Who is asked for its status. It is at rest.
  const controlled = await ControlledGateway.start({ candidates: [candidate], env: { CHECK_EVERY: undefined } });
  try {
    await controlled.gateway.primaryIs(candidate);
    const staged = join(folder.path, 'staged');
    await progress.during('the program as the package has it', () =>
      promisify(execFile)(join(PROJECT_ROOT, 'packaging/stage'), [staged]),
    );
    for (let round = 1; round <= settings.rounds * STARTS; round += 1) {
      const figures = await progress.during(
        `start, ${round}/${settings.rounds * STARTS}`,
        async () => ({
          // Less is not to be had.
          nodeMs: await nodeMs('-e', '0'),
          ctlMs: await nodeMs(join(staged, 'dist/pg-gatewayctl.js'), '--socket', controlled.socket, 'status'),
          readyMs: await readyMs(manager, staged, stand.server.port),
        }),
        (seen) =>
          `${seen.readyMs.toFixed(0)} ms, pg-gatewayctl status ${seen.ctlMs.toFixed(0)} ms, Node alone ${seen.nodeMs.toFixed(0)} ms`,
      );
      record({ part: service.name, case: STARTED, route: GATEWAY, round, figures });
    }
  } finally {
    await controlled.close();
    await manager.close();
    await folder.close();
  }
}

/** From the start of Node with these arguments to its end. */
async function nodeMs(...args: readonly string[]): Promise<number> {
  const begun = performance.now();
  const { status } = await new Child([process.execPath, ...args]).ended;
  if (status !== 0) throw new Error(`node ${args.join(' ')} ended with status ${String(status)}`);
  return performance.now() - begun;
}

async function readyMs(manager: ServiceManager, staged: string, serverPort: number): Promise<number> {
  const addon = join(staged, 'dist/dataplane.node');
  const earlier = manager.notifications.length;
  const begun = performance.now();
  const child = new Child([process.execPath, join(staged, 'dist/main.js')], {
    cwd: '/',
    env: {
      PATH: process.env['PATH'],
      NOTIFY_SOCKET: manager.notifySocket,
      LD_PRELOAD: addon,
      LISTEN_HOST: '127.0.0.1',
      LISTEN_PORT: '0',
      CANDIDATES: `127.0.0.1:${serverPort}`,
      PGUSER: SUPERUSER,
      METRICS_PORT: '0',
      UV_THREADPOOL_SIZE: THREADS,
    },
  });
  try {
    const ready = manager.notified('READY=1', (told) => told.get('READY') === '1', earlier);
    const ended = child.ended.then(({ stderr }) => {
      throw new Error(`the gateway ended before it was ready: ${stderr}`);
    });
    const late = observeFor(READY_DEADLINE_MS).then(() => {
      throw new Error(`no READY=1 within ${READY_DEADLINE_MS} ms: ${child.stderr}`);
    });
    await Promise.race([ready, ended, late]);
    return performance.now() - begun;
  } finally {
    await child.close();
  }
}

async function rest({ settings, stand, progress, record }: Bench): Promise<void> {
  const route = await gatewayRoute({ serverPort: stand.server.port, workers: 1, connections: 0 });
  try {
    await progress.during('until the start is over', () => observeFor(REST * settings.settleSeconds * 1000));
    for (let round = 1; round <= settings.rounds; round += 1) {
      const figures = await progress.during(
        `at rest, round ${round}/${settings.rounds}`,
        () => atRest(route.pids, settings.settleSeconds),
        ({ wakeUps: count = 0, cpuPercent = 0 }) =>
          `${count.toFixed(1)} wake-ups/s, ${cpuPercent.toFixed(3)} % of a core`,
      );
      record({ part: service.name, case: AT_REST, route: GATEWAY, round, figures });
    }
  } finally {
    await route.close();
  }
}

async function atRest(pids: readonly number[], seconds: number): Promise<Record<string, number>> {
  const asleep = (): number => pids.reduce((all, pid) => all + wakeUps(pid), 0);
  const [count, cpu, begun] = [asleep(), cpuTimes(pids), performance.now()];
  await observeFor(seconds * 1000);
  const passedMs = performance.now() - begun;
  const { totalUs } = cpuBetween(cpu, cpuTimes(pids));
  return { wakeUps: (asleep() - count) / (passedMs / 1000), cpuPercent: totalUs / 10 / passedMs };
}
