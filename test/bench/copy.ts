// SPDX-License-Identifier: MIT
// Bulk: one COPY out of the server, one into it. Neither touches a table's pages: rows are made by the server from a
// constant, and thrown away by it (COPY ... WHERE false), so that disks have no part in it.

import { clientProgram } from '../helpers/psql.js';
import { cpuBetween, cpuTimes } from './costs.js';
import type { Part } from './part.js';
import { interleaved } from './routes.js';
import type { Route } from './routes.js';
import type { Settings } from './settings.js';
import { LINE_BYTES } from './stand.js';
import type { Stand } from './stand.js';

const GB = 1e9;
/** A machine that copies less than this in a second is not measured but broken. */
const LEAST_MB_PER_S = 2;
const GRACE_MS = 60_000;
/** For the announcement. */
const USUAL_MB_PER_S = 600;

const DIRECTIONS = { 'COPY out': copyOut, 'COPY in': copyIn } as const;

export const copy: Part = {
  name: 'copy',
  title: 'bulk COPY of one session',
  metrics: [
    { key: 'mbPerS', title: 'MB/s', digits: 0, better: 'more', headline: true },
    { key: 'cpuSPerGb', title: 'CPU of the proxy, s/GB', digits: 3, better: 'less', headline: true },
  ],
  seconds: ({ copyMegabytes, rounds }, routes) => 2 * routes * rounds * (0.3 + copyMegabytes / USUAL_MB_PER_S),
  run: async (bench) => {
    const { settings, stand, progress } = bench;
    for (const [what, transfer] of Object.entries(DIRECTIONS)) {
      await interleaved(settings.rounds, stand.routes, async (route, round) => {
        const figures = await progress.during(
          `${what}, round ${round}/${settings.rounds}, ${route.name}`,
          () => measured(stand, route, settings, transfer),
          ({ mbPerS = 0, cpuSPerGb }) =>
            `${mbPerS.toFixed(0)} MB/s${cpuSPerGb === undefined ? '' : `, ${cpuSPerGb.toFixed(3)} s/GB`}`,
        );
        bench.record({ part: copy.name, case: what, route: route.name, round, figures });
      });
      bench.finished(copy, what);
    }
  },
};

/** A query that gives so many lines, for `COPY ... TO`. */
export function linesQuery(lines: number): string {
  // repeat() is computed once, when the query is planned. In FROM, generate_series() would make all rows first.
  return `SELECT repeat('x', ${LINE_BYTES - 1}) FROM (SELECT generate_series(1, ${lines})) AS line`;
}

type Transfer = (stand: Stand, settings: Settings) => { readonly bytes: number; readonly command: readonly string[] };

async function measured(
  stand: Stand,
  route: Route,
  settings: Settings,
  transfer: Transfer,
): Promise<Record<string, number>> {
  const { bytes, command } = transfer(stand, settings);
  const deadlineMs = (bytes / 1e6 / LEAST_MB_PER_S) * 1000 + GRACE_MS;
  const before = cpuTimes(route.pids);
  const start = performance.now();
  const args = ['-Xq', '-v', 'ON_ERROR_STOP=1', ...command];
  const { status, stderr } = await clientProgram(route, 'psql', args, deadlineMs);
  const seconds = (performance.now() - start) / 1000;
  const { totalUs } = cpuBetween(before, cpuTimes(route.pids));
  if (status !== 0) throw new Error(`COPY by ${route.name} failed (status ${String(status)}): ${stderr}`);
  return {
    mbPerS: bytes / 1e6 / seconds,
    ...(route.pids.length > 0 ? { cpuSPerGb: totalUs / 1e6 / (bytes / GB) } : {}),
  };
}

function copyOut(_stand: Stand, { copyMegabytes }: Settings) {
  const lines = Math.ceil((copyMegabytes * 1e6) / LINE_BYTES);
  return { bytes: lines * LINE_BYTES, command: ['-o', '/dev/null', '-c', `COPY (${linesQuery(lines)}) TO STDOUT`] };
}

function copyIn({ lines: { file, megabytes } }: Stand, { copyMegabytes }: Settings) {
  const times = Math.ceil(copyMegabytes / megabytes);
  const files = Array.from({ length: times }, () => file).join(' ');
  return {
    bytes: times * megabytes * 1e6,
    command: ['-c', `\\copy bulk FROM PROGRAM 'cat ${files}' WHERE false`],
  };
}
