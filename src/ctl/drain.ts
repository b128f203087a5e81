// SPDX-License-Identifier: MIT
// Waits until a gateway that is being drained has no clients any more, or has ended.

import { setTimeout as pause } from 'node:timers/promises';

import type { StatusDocument } from '../control/documents.js';
import { GatewayError } from '../errors.js';
import { systemTimers } from '../timers.js';
import type { Client } from './client.js';

export interface DrainResult {
  readonly drained: boolean;
  /** Clients that were there when it was last asked. */
  readonly left: number;
}

const LOOK_EVERY_MS = 200;
/** What an orderly end takes, and more. */
const END_MS = 5000;

/**
 * @param pid of the gateway that drains: another one has taken its place when it has ended
 * @param seconds how long it waits for sessions
 * @param exits whether it ends then, which is waited for too
 * @param told how many are left, whenever that is another number
 */
export async function waitForDrain(
  client: Client,
  pid: number,
  seconds: number,
  exits: boolean,
  told: (left: number) => void,
): Promise<DrainResult> {
  const deadline = systemTimers.now() + seconds * 1000;
  let left: number | undefined;
  for (;;) {
    const seen = await clientsOf(client, pid);
    const isOver = systemTimers.now() >= deadline;
    // It has ended: of its own accord when nobody was left, or because the time was over.
    if (seen === undefined) return { drained: !isOver || left === 0, left: isOver ? (left ?? 0) : 0 };
    if (seen !== left) told(seen);
    left = seen;
    if (!exits && (left === 0 || isOver)) return { drained: left === 0, left };
    if (systemTimers.now() > deadline + END_MS) throw new GatewayError('CONTROL_BUSY', 'the gateway has not ended');
    await pause(LOOK_EVERY_MS);
  }
}

/** Undefined: it has ended. */
async function clientsOf(client: Client, pid: number): Promise<number | undefined> {
  try {
    const { pid: now, clients } = await client.get<StatusDocument>('/v1/status');
    return now === pid ? clients.sessions + clients.held : undefined;
  } catch (error) {
    if (error instanceof GatewayError && error.code === 'CONTROL_UNREACHABLE') return undefined;
    throw error;
  }
}
