// SPDX-License-Identifier: MIT
// What a proxy costs, as Linux counts it (proc(5)): CPU time of its threads, memory, descriptors.

import { readdirSync, readFileSync } from 'node:fs';

import { descriptorsOf } from '../helpers/processes.js';
import { observeFor } from '../helpers/wait.js';
import { quantile, sum } from './statistics.js';

/** `pid/tid` -> nanoseconds on a CPU since its start, in user space and in the kernel. */
export type CpuTimes = ReadonlyMap<string, number>;

export interface CpuUse {
  readonly totalUs: number;
  /** Of the thread that used most: it is what limits. */
  readonly busiestUs: number;
}

/** The unit of the times in /proc/PID/stat is USER_HZ, which is 100 on every platform of Linux that Node has. */
const TICK_NS = 10_000_000;
const LOOK_EVERY_MS = 250;

/**
 * All threads of the processes. Those of a proxy live as long as it does.
 * @throws Error if one of the processes has ended
 */
export function cpuTimes(pids: readonly number[]): CpuTimes {
  const times = new Map<string, number>();
  for (const pid of pids) {
    for (const task of tasksOf(pid)) {
      const time = threadNs(`/proc/${pid}/task/${task}`);
      if (time !== undefined) times.set(`${pid}/${task}`, time);
    }
  }
  return times;
}

export function cpuBetween(before: CpuTimes, after: CpuTimes): CpuUse {
  const used = [...after].map(([thread, ns]) => (ns - (before.get(thread) ?? 0)) / 1000);
  return { totalUs: sum(used), busiestUs: Math.max(0, ...used) };
}

export interface Held {
  /** Memory in RAM that is not of a file, what processes share counted once. A program's file is shared with others. */
  readonly bytes: number;
  readonly descriptors: number;
}

/** Median of what the processes hold over some time: a heap with a garbage collector breathes. */
export async function held(pids: readonly number[], seconds: number): Promise<Held> {
  const readings: number[] = [];
  const end = performance.now() + seconds * 1000;
  do {
    readings.push(sum(pids.map(proportionalBytes)));
    await observeFor(LOOK_EVERY_MS);
  } while (performance.now() < end);
  return { bytes: quantile(readings, 0.5), descriptors: sum(pids.map((pid) => descriptorsOf(pid).length)) };
}

function tasksOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch (error) {
    throw new Error(`the process ${pid} of the proxy has ended`, { cause: error });
  }
}

/** To the nanosecond where the kernel has that (CONFIG_SCHED_INFO), else in ticks. Undefined: the thread has ended. */
function threadNs(path: string): number | undefined {
  const exact = read(`${path}/schedstat`)?.split(' ')[0];
  if (exact !== undefined && exact !== '0') return Number(exact);
  const stat = read(`${path}/stat`);
  if (stat === undefined) return undefined;
  // utime and stime are the fields 14 and 15; the first two end with the name of the program.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK_NS;
}

function proportionalBytes(pid: number): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const sizes = [...text.matchAll(/^Pss_(?:Anon|Shmem):\s+(\d+) kB/gm)].map(([, size]) => Number(size) * 1024);
  if (sizes.length !== 2)
    throw new Error(`/proc/${pid}/smaps_rollup has no Pss_Anon and Pss_Shmem: it needs Linux 5.3`);
  return sum(sizes);
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
