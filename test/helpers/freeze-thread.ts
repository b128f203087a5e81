// SPDX-License-Identifier: MIT
// Stops one thread of a process while the others run on, by ptrace(2).

import { readFileSync, readdirSync } from 'node:fs';

import { Child } from './child.js';
import { testFile } from './paths.js';
import { assert } from './suite.js';

export interface FrozenThread {
  /** Lets it run again. Idempotent. */
  thaw(): Promise<void>;
}

/** Thread ids by name; the main thread's is the process id. */
export function threadIds(pid: number, name: RegExp): number[] {
  return readdirSync(`/proc/${pid}/task`)
    .filter((task) => name.test(readFileSync(`/proc/${pid}/task/${task}/comm`, 'utf8').trim()))
    .map(Number);
}

/** @throws Error saying why where the machine does not permit it (ptrace(2), "Ptrace access mode checking") */
export async function freezeThread(thread: number): Promise<FrozenThread> {
  const child = new Child(['python3', testFile('helpers/thread-fault.py'), 'freeze', String(thread)]);
  try {
    const answer = await child.output('the thread to stand still', (stdout) => /^(.+)\n/.exec(stdout)?.[1]);
    if (answer !== 'frozen') throw new Error(`thread ${thread} cannot be stopped: ${answer}`);
  } catch (error) {
    await child.close();
    throw error;
  }
  return {
    thaw: async () => {
      child.endInput();
      await child.ended;
    },
  };
}

/**
 * Undefined where the machine does not permit it: that is said loudly.
 * @param untested what nobody knows then
 */
export async function freezeIfPermitted(thread: number, untested: string): Promise<FrozenThread | undefined> {
  try {
    return await freezeThread(thread);
  } catch (error) {
    assert.match(String(error), 'Operation not permitted');
    console.error(`NOT TESTED ${untested}, as ptrace(2) is forbidden: ${String(error)}`);
    return undefined;
  }
}
