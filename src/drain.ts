// SPDX-License-Identifier: MIT
// A stop lets sessions end by themselves, for as long as the configuration has it.

import type { DataPlane } from './dataplane.js';
import type { DataPlaneStats } from './dataplane-stats.js';
import type { Logger } from './log.js';
import { systemTimers } from './timers.js';

/** How often it is looked whether all sessions have ended. */
export const DRAIN_LOOK_MS = 50;

/** Resolves when all have ended, or after `timeoutMs`. 0: does not wait, and nobody is kept from coming. */
export async function drain(dataPlane: DataPlane, timeoutMs: number, logger: Logger): Promise<void> {
  if (timeoutMs === 0) return;
  const deadline = systemTimers.now() + timeoutMs;
  dataPlane.stopAccepting();
  logger.notice('waiting for sessions to end', { sessions: clientsOf(dataPlane.stats()), at_most_ms: timeoutMs });
  while (clientsOf(dataPlane.stats()) > 0) {
    const leftMs = deadline - systemTimers.now();
    if (leftMs <= 0) return;
    await new Promise<void>((resolve) => systemTimers.after(Math.min(leftMs, DRAIN_LOOK_MS), resolve));
  }
}

/** Whom a drain waits for. */
export function clientsOf({ active, held }: DataPlaneStats): number {
  return active + held;
}
