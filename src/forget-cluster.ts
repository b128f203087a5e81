// SPDX-License-Identifier: MIT
// `--forget-cluster`: takes away what fences servers of another cluster and of lower
// timelines, for the administrator who has restored or replaced the cluster. Works
// without a good configuration, for it is also the way out of a damaged file.

import { lstatSync, statSync } from 'node:fs';

import { ClusterFile } from './cluster-file.js';
import { configuredStateDirectory } from './config.js';
import type { LoadInput } from './config.js';
import { oneLine, systemReason } from './config-problems.js';
import { STATE_DIRECTORY } from './config-schema.js';
import { GatewayError } from './errors.js';
import { inUse, StateDirectory } from './state-directory.js';

/**
 * Forgets, and says in one line what was forgotten.
 * @param standard the directory of the installed service, where none is named
 * @throws GatewayError USAGE, CONFIG_INVALID, CONFIG_UNREADABLE, STATE_UNREADABLE, STATE_IN_USE, STATE_WRITE_FAILED;
 *   nothing was forgotten then
 */
export function forgetCluster(input: LoadInput, standard = STATE_DIRECTORY): string {
  const path = configuredStateDirectory(input) ?? standardDirectory(input, standard);
  mustBeDirectory(path);
  const owner = new StateDirectory(path).owner();
  if (owner !== undefined) throw inUse(path, owner);
  const file = new ClusterFile(path);
  const what = describe(file);
  try {
    if (!file.remove()) return `${oneLine(file.path)}: nothing was remembered`;
  } catch (error) {
    throw new GatewayError(
      'STATE_WRITE_FAILED',
      `${oneLine(file.path)}: it cannot be deleted: ${systemReason(error)}; the cluster is not forgotten`,
      { cause: error },
    );
  }
  return `${oneLine(file.path)}: forgot ${what}`;
}

/** The one of the service if it is the service that is meant: another configuration has another directory. */
function standardDirectory({ file }: LoadInput, standard: string): string {
  // The name alone: what it leads to may be hidden from who is not root.
  if (file === undefined && lstatSync(standard, { throwIfNoEntry: false }) !== undefined) return standard;
  const why = file === undefined ? `${standard} is not there` : `${oneLine(file)} names none`;
  throw new GatewayError(
    'USAGE',
    `--forget-cluster: no state directory is known (${why}): name it by --state-directory=DIRECTORY`,
  );
}

/** A slip in its name must not look as if there had been nothing to forget. */
function mustBeDirectory(path: string): void {
  let problem = 'it is not a directory';
  try {
    if (statSync(path).isDirectory()) return;
  } catch (error) {
    problem = systemReason(error);
  }
  throw new GatewayError('STATE_UNREADABLE', `${oneLine(path)}: ${problem}; the cluster is not forgotten`);
}

function describe(file: ClusterFile): string {
  try {
    const cluster = file.read();
    return cluster === null ? 'nothing' : `the cluster ${cluster.systemId} on timeline ${String(cluster.timeline)}`;
  } catch {
    return 'a cluster, of which the file did not tell any more';
  }
}
