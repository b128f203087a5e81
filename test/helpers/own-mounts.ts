// SPDX-License-Identifier: MIT
// A gateway with a mount namespace of its own, in which a disk is small or another
// file stands for one of /etc. Ends with the process; nobody else sees it.

import { spawnSync } from 'node:child_process';

import { note } from './suite.js';
import type { suite } from './suite.js';

/**
 * What starts a gateway there.
 * @param script of /bin/sh, which mounts; it has the gateway's environment
 */
export function withMounts(script: string): readonly string[] {
  const becoming = `set -e\n${script}\nexec "$@"`;
  return ['unshare', '--mount', '--propagation', 'private', '/bin/sh', '-c', becoming, 'sh', process.execPath];
}

/** A path in the gateway's namespace, as seen from here while it runs. */
export function pathInside(pid: number, path: string): string {
  return `/proc/${pid}/root${path}`;
}

/** Registers a test; where nothing can be mounted it is skipped, and the run says so. */
export function whereMountsCanBe(test: ReturnType<typeof suite>): (title: string, body: () => Promise<void>) => void {
  const mounts = ['--mount', '--propagation', 'private', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt'];
  const { status } = spawnSync('unshare', mounts, { stdio: 'ignore' });
  if (status === 0) return (title, body) => test(title, body);
  note('SKIPPED: tests with mounts of their own did not run: they need root and mount namespaces');
  return (title) => {
    test.skip(title);
  };
}
