// SPDX-License-Identifier: MIT
// Thousands of sessions as light as can be: each logs in, asks one query, so that every proxy has a server connection
// for it, and then does nothing.

import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';

import { Child } from '../helpers/child.js';
import { queryMessage, startupMessage } from '../helpers/pg-session.js';
import { within } from '../helpers/wait.js';

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** As many logins at the same time as fit any proxy's backlog. */
const AT_ONCE = 50;
const SESSION_DEADLINE_MS = 20_000;
/** For what a proxy has open beside its sessions. */
const SPARE_DESCRIPTORS = 500;
const READY_TAIL = Buffer.from('Z\0\0\0\x05I', 'latin1');
const STARTUP = startupMessage();
const QUERY = queryMessage('SELECT 1');

/** How many sessions a proxy can have here: each is two descriptors at least (getrlimit(2)). */
export function sessionsThatFit(): number {
  const hard = /^Max open files\s+\S+\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
  return hard === undefined ? Infinity : Math.floor((Number(hard) - SPARE_DESCRIPTORS) / 2);
}

export class IdleServer {
  readonly port: number;
  readonly #process: Child;

  private constructor(port: number, process: Child) {
    this.port = port;
    this.#process = process;
  }

  /** `realPort`: where probes are handed on to. */
  static async start(realPort: number): Promise<IdleServer> {
    const script = fileURLToPath(new URL('idle-server.js', import.meta.url));
    const child = new Child([process.execPath, script, String(realPort)]);
    try {
      const port = await child.output('its port', (stdout) => (stdout.endsWith('\n') ? Number(stdout) : undefined));
      return new IdleServer(port, child);
    } catch (error) {
      await child.close();
      throw error;
    }
  }

  close(): Promise<void> {
    return this.#process.close();
  }
}

/** Opens sessions until there are `count` in `sessions`. */
export async function openSessions(target: Address, sessions: Socket[], count: number): Promise<void> {
  const opener = async (): Promise<void> => {
    while (started < count) {
      started += 1;
      sessions.push(await openSession(target));
    }
  };
  let started = sessions.length;
  await Promise.all(Array.from({ length: AT_ONCE }, opener));
}

/** Opens and closes so many sessions. */
export async function churnSessions(target: Address, count: number): Promise<void> {
  let started = 0;
  const churner = async (): Promise<void> => {
    while (started < count) {
      started += 1;
      await closeSession(await openSession(target));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, churner));
}

export async function closeSession(socket: Socket): Promise<void> {
  if (socket.destroyed) return;
  await new Promise((resolve) => {
    socket.once('close', resolve).destroy();
  });
}

function openSession(target: Address): Promise<Socket> {
  const socket = connect({ ...target, noDelay: true });
  const ready = new Promise<Socket>((resolve, reject) => {
    let asked = false;
    let tail = Buffer.alloc(0);
    socket.on('error', reject);
    socket.on('close', () => {
      reject(new Error('a session was closed instead of opened'));
    });
    socket.on('data', (chunk: Buffer) => {
      tail = Buffer.concat([tail, chunk]).subarray(-READY_TAIL.length);
      if (!tail.equals(READY_TAIL)) return;
      if (asked) resolve(socket);
      else socket.write(QUERY);
      asked = true;
    });
    socket.write(STARTUP);
  });
  return within(SESSION_DEADLINE_MS, 'a session', ready).catch((error: unknown) => {
    socket.destroy();
    throw error;
  });
}
