// SPDX-License-Identifier: MIT
// What Linux tells about a process (proc(5)). Read-only, but for signals.

import { readFileSync, readdirSync, readlinkSync } from 'node:fs';

/** As /proc/net/tcp writes it. */
const TCP_LISTEN = '0A';
const TIMER_KEEPALIVE = '02';

/** Process ids of the children of `pid`. */
export function childrenOf(pid: number): number[] {
  return allProcesses().filter((other) => parentOf(other) === pid);
}

/** Process ids of the children, their children and so on, parents first. */
export function descendantsOf(pid: number): number[] {
  return childrenOf(pid).flatMap((child) => [child, ...descendantsOf(child)]);
}

export function isAlive(pid: number): boolean {
  // A zombie is dead, though kill(2) still finds it.
  return !['', 'Z', 'X'].includes(statField(pid, 0));
}

/** Sends the signal; a process that has ended is no error. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

/** What the descriptors of the process are: `socket:[123]`, `pipe:[45]`, `/dev/null`. */
export function descriptorsOf(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    const target = linkOf(`/proc/${pid}/fd/${fd}`);
    return target === undefined ? [] : [target];
  });
}

/** How many TCP connections to the local port `port` the process holds open: those it has accepted and not closed. */
export function connectionsAt(pid: number, port: number): number {
  return connectionsOf(pid).filter(({ localPort }) => localPort === port).length;
}

/** How many of its TCP connections wait for the time of their next keepalive probe, and for nothing else. */
export function keptAlive(pid: number): number {
  return connectionsOf(pid).filter(({ timer }) => timer === TIMER_KEEPALIVE).length;
}

/** The TCP connections of the process, as /proc/net/tcp has them. */
function connectionsOf(pid: number): { localPort: number; timer: string }[] {
  const held = new Set(descriptorsOf(pid));
  return ['tcp', 'tcp6']
    .flatMap((table) => read(`/proc/${pid}/net/${table}`).trim().split('\n').slice(1))
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , , state, , , , , , inode = '']) => state !== TCP_LISTEN && held.has(`socket:[${inode}]`))
    .map(([, local = '', , , , timer = '']) => ({
      localPort: parseInt(local.split(':')[1] ?? '', 16),
      timer: timer.split(':')[0] ?? '',
    }));
}

/** Memory of the process that is in RAM, in bytes. */
export function residentBytes(pid: number): number {
  return statusNumber(`/proc/${pid}/status`, 'VmRSS') * 1024;
}

/** How often the threads of the process have gone to sleep by themselves: each wake-up is one. */
export function wakeUps(pid: number): number {
  return readdirSync(`/proc/${pid}/task`)
    .map((task) => statusNumber(`/proc/${pid}/task/${task}/status`, 'voluntary_ctxt_switches'))
    .reduce((sum, count) => sum + count, 0);
}

/** Threads of the process with the given name. */
export function threadsNamed(pid: number, name: RegExp): number {
  return readdirSync(`/proc/${pid}/task`).filter((task) => name.test(read(`/proc/${pid}/task/${task}/comm`).trim()))
    .length;
}

/** Milliseconds on a CPU that the threads of that name have had since they began (CONFIG_SCHED_INFO). */
export function cpuMilliseconds(pid: number, name: RegExp): number {
  return readdirSync(`/proc/${pid}/task`)
    .filter((task) => name.test(read(`/proc/${pid}/task/${task}/comm`).trim()))
    .reduce((sum, task) => sum + Number(read(`/proc/${pid}/task/${task}/schedstat`).split(' ')[0]) / 1e6, 0);
}

function allProcesses(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

function parentOf(pid: number): number {
  return Number(statField(pid, 1));
}

/** Fields of /proc/PID/stat after the name of the program, which may contain anything; '' if the process is gone. */
function statField(pid: number, index: number): string {
  const text = read(`/proc/${pid}/stat`);
  return text.slice(text.lastIndexOf(')') + 2).split(' ')[index] ?? '';
}

function statusNumber(path: string, key: string): number {
  return Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(read(path))?.[1] ?? 0);
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}
