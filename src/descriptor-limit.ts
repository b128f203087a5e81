// SPDX-License-Identifier: MIT
// How many sessions fit under the limit of open files (RLIMIT_NOFILE, getrlimit(2)).

import { readFileSync } from 'node:fs';

/** What listening sockets, probes, pipes and Node itself hold, with room to spare. */
const RESERVE = 128;
/** A client's socket and a server's. Their kept copies are counted apart, against a limit of the same size. */
const PER_SESSION = 2;

/** Undefined where there is no limit, or no /proc. */
export function sessionsThatFit(limits = '/proc/self/limits'): number | undefined {
  let text: string;
  try {
    text = readFileSync(limits, 'utf8');
  } catch {
    return undefined;
  }
  const soft = /^Max open files\s+(\d+)\s/m.exec(text)?.[1];
  return soft === undefined ? undefined : Math.max(0, Math.floor((Number(soft) - RESERVE) / PER_SESSION));
}
