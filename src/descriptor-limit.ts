// SPDX-License-Identifier: MIT
// How many clients fit under the limit of open files (RLIMIT_NOFILE, getrlimit(2)),
// and what of it is nobody's but the control plane's.
//
// Node raises the soft limit to the hard one when it begins (PlatformInit() in its
// src/node.cc), and native/early_start.cc where that comes before Node: what is
// read here is what there is.

import { readFileSync } from 'node:fs';

import { MAX_CLIENTS } from './config-types.js';
import type { Config } from './config-types.js';
import type { DescriptorBounds } from './dataplane.js';
import type { Logger } from './log.js';

export interface DescriptorShare {
  /** So many clients fit, each with a server. */
  readonly clients: number;
  readonly bounds: DescriptorBounds;
}

/**
 * Three parts of this size are not the clients': one that only the control plane can get, for probes, look-ups, scrapes
 * and what it writes; one for the pipes of sessions whose peers do not read; one for what is open in any case.
 */
const MOST_RESERVED = 128;
/** Where the limit is low, each is this part of it. */
const RESERVED_PART = 8;
/** A client's socket and a server's. Their kept copies are counted apart, against a limit of the same size. */
const PER_CLIENT = 2;
const NO_BOUND = 2 ** 31 - 1;

/** What there is for whom under the limit of this process. */
export function descriptorShare(limits = '/proc/self/limits'): DescriptorShare {
  const limit = openFilesLimit(limits);
  if (limit === undefined) return { clients: MAX_CLIENTS, bounds: { clients: NO_BOUND, all: NO_BOUND } };
  const part = Math.min(MOST_RESERVED, Math.floor(limit / RESERVED_PART));
  return {
    clients: Math.min(MAX_CLIENTS, Math.max(1, Math.floor((limit - 3 * part) / PER_CLIENT))),
    bounds: { clients: limit - 2 * part, all: limit - part },
  };
}

/** How many clients there may be at once. */
export function maxConnectionsOf({ maxConnections }: Pick<Config, 'maxConnections'>): number {
  return maxConnections ?? descriptorShare().clients;
}

/** More than fit may be asked for; the last of them will find no descriptor. */
export function warnOfTooMany({ maxConnections }: Pick<Config, 'maxConnections'>, logger: Logger): void {
  const { clients } = descriptorShare();
  if (maxConnections === undefined || maxConnections <= clients) return;
  logger.warning('MAX_CONNECTIONS is more than the limit of open files has room for', {
    max_connections: maxConnections,
    that_fit: clients,
    hint: 'a client takes two descriptors: raise LimitNOFILE= of the service (ulimit -n)',
  });
}

/** How many files this process may have open; undefined where there is no limit, or no /proc. */
export function openFilesLimit(limits = '/proc/self/limits'): number | undefined {
  let text: string;
  try {
    text = readFileSync(limits, 'utf8');
  } catch {
    return undefined;
  }
  const soft = /^Max open files\s+(\d+)\s/m.exec(text)?.[1];
  return soft === undefined ? undefined : Math.min(Number(soft), NO_BOUND);
}
