// SPDX-License-Identifier: MIT
// Waits until a gateway that is being drained has no clients any more, or has ended.
//
// Invariant: that it cannot be asked is no sign of anything. It has ended when nobody
// listens on its socket, or another process answers there; that nobody was left is what
// it has said itself.

import { setTimeout as pause } from 'node:timers/promises';

import type { StatusDocument } from '../control/documents.js';
import { GatewayError } from '../errors.js';
import { plural } from '../readable.js';
import { systemTimers } from '../timers.js';
import { hasNoListener } from './client.js';
import type { Client } from './client.js';

/** What is looked at. */
export type DrainStatus = Pick<StatusDocument, 'pid' | 'uptime_seconds' | 'clients' | 'drain' | 'sessions_kept'>;

/** What one look shows. */
export type DrainLook =
  | { readonly kind: 'answer'; readonly status: DrainStatus }
  | { readonly kind: 'nobody' } // nobody listens there
  | { readonly kind: 'trouble'; readonly error: GatewayError }; // it cannot be told

export interface DrainResult {
  /** Nobody was left when it was last seen. */
  readonly drained: boolean;
  /** Clients that were there then; null: it was not seen. */
  readonly left: number | null;
  /** The process has ended. */
  readonly ended: boolean;
  /** How many of its sessions it had kept for the next process; null: it kept none. */
  readonly kept: number | null;
}

export type DrainStep =
  | { readonly kind: 'again'; readonly seen: DrainStatus | undefined }
  | { readonly kind: 'done'; readonly result: DrainResult }
  | { readonly kind: 'failed'; readonly error: GatewayError };

/** Several times while the gateway, with nobody left, puts off its end: see LAST_LOOKS_MS of ../control/desk.ts. */
const LOOK_EVERY_MS = 100;
/** What an orderly end takes, and more; so long is it asked again, too, when the time for sessions is over. */
export const GRACE_MS = 5000;

/**
 * @param seconds how long the gateway waits for sessions
 * @param exits whether it ends then, which is waited for too
 * @param told how many are left, whenever that is another number
 */
export async function waitForDrain(
  client: Client,
  seconds: number,
  exits: boolean,
  told: (left: number) => void,
): Promise<DrainResult> {
  const deadline = systemTimers.now() + seconds * 1000;
  let last: DrainStatus | undefined;
  for (;;) {
    const look = await lookAt(client);
    const step = drainStep(last, look, deadline - systemTimers.now(), exits);
    if (step.kind === 'done') return step.result;
    if (step.kind === 'failed') throw step.error;
    const { seen } = step;
    if (seen !== undefined && (last === undefined || clientsOf(seen) !== clientsOf(last))) told(clientsOf(seen));
    last = seen;
    await pause(LOOK_EVERY_MS);
  }
}

/**
 * What follows from a look.
 * @param last when it was last seen; undefined: never
 * @param leftMs until its time for sessions is over
 */
export function drainStep(last: DrainStatus | undefined, look: DrainLook, leftMs: number, exits: boolean): DrainStep {
  const isLate = leftMs < -GRACE_MS;
  if (look.kind === 'trouble') {
    return isLate ? { kind: 'failed', error: look.error } : { kind: 'again', seen: last };
  }
  if (look.kind === 'nobody' || isAnother(look.status, last)) return { kind: 'done', result: resultOf(last, true) };
  const { status } = look;
  const isOver = clientsOf(status) === 0 || leftMs <= 0;
  if (!exits && isOver) return { kind: 'done', result: resultOf(status, false) };
  if (isLate) return { kind: 'failed', error: new GatewayError('CONTROL_BUSY', 'the gateway has not ended') };
  return { kind: 'again', seen: status };
}

/** What is known, for people. */
export function drainLine({ drained, left, ended, kept }: DrainResult): string {
  if (drained) return 'All sessions have ended.';
  if (left === null) return 'The gateway ended before it was seen whether sessions were left.';
  if (!ended) return `${plural(left, 'session')} had not ended.`;
  const fate = kept === null ? 'they ended with it' : `${kept} kept for the next process`;
  return `The gateway ended with ${plural(left, 'session')}: ${fate}.`;
}

/**
 * A drain ends with its process alone. In a container each process may have the same pid, and `started_at` moves
 * when the clock is set.
 */
function isAnother({ pid, uptime_seconds: uptime, drain }: DrainStatus, last: DrainStatus | undefined): boolean {
  return drain === null || (last !== undefined && (pid !== last.pid || uptime < last.uptime_seconds));
}

function resultOf(last: DrainStatus | undefined, ended: boolean): DrainResult {
  if (last === undefined) return { drained: false, left: null, ended, kept: null };
  const left = clientsOf(last);
  return { drained: left === 0, left, ended, kept: ended ? last.sessions_kept : null };
}

function clientsOf({ clients }: DrainStatus): number {
  return clients.sessions + clients.held;
}

async function lookAt(client: Client): Promise<DrainLook> {
  try {
    return { kind: 'answer', status: await client.get<StatusDocument>('/v1/status') };
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    return hasNoListener(error) ? { kind: 'nobody' } : { kind: 'trouble', error };
  }
}
