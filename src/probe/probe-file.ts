// SPDX-License-Identifier: MIT
// The files that a log-in of a probe needs: the password file, certificates, a key.
//
// Storage that does not answer keeps a thread of Node's pool for as long as it likes, and
// look-ups need these threads too. So there is one read of a path at a time, whoever asks,
// and nobody waits for it longer than for anything else in the probe.

import { constants } from 'node:fs';
import { open } from 'node:fs/promises';

import { abortable, abortError } from './deadline.js';

export interface ProbeFile {
  readonly text: string;
  /** Permission bits, as in stat(2). */
  readonly mode: number;
}

/** All roots of an operating system are a quarter of a mebibyte; this keeps a wrong path from being read whole. */
const MAX_MIB = 8;

const underWay = new Map<string, Promise<ProbeFile>>();

/** @throws Error of the system call that failed, or of a sentence; the signal's reason */
export async function readProbeFile(path: string, signal: AbortSignal): Promise<ProbeFile> {
  if (signal.aborted) throw abortError(signal);
  const read = underWay.get(path) ?? begin(path);
  return abortable(signal, (resolve, reject) => {
    read.then(resolve, reject);
    return () => undefined;
  });
}

function begin(path: string): Promise<ProbeFile> {
  const read = readWhole(path).finally(() => underWay.delete(path));
  underWay.set(path, read);
  return read;
}

/** Not to block is for a FIFO: whoever opens one to read waits for a writer. */
async function readWhole(path: string): Promise<ProbeFile> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw new Error('not a plain file');
    if (stat.size > MAX_MIB << 20) throw new Error(`larger than ${String(MAX_MIB)} MiB`);
    return { text: await file.readFile('utf8'), mode: stat.mode };
  } finally {
    await file.close();
  }
}
