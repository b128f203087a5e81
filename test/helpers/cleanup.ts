// SPDX-License-Identifier: MIT
// What a test process has started or made and must not leave behind: closed in
// reverse order when the process is asked to end, and, for what was forgotten or
// when it crashes, at its exit.
//
// Nothing is installed before the first resource is registered.

export interface Leftover {
  /** Orderly end; idempotent. */
  close(): Promise<void>;
  /** The same by force and at once: the process ends. Must not throw. */
  closeNow(): void;
}

const leftovers = new Set<Leftover>();
let installed = false;

/** Returns what takes the resource out again, to be called when it is closed. */
export function atExit(leftover: Leftover): () => void {
  if (!installed) install();
  leftovers.add(leftover);
  return () => {
    leftovers.delete(leftover);
  };
}

/** Closes everything that is still registered, the youngest first. */
export async function closeAll(): Promise<void> {
  for (const leftover of [...leftovers].reverse()) {
    leftovers.delete(leftover);
    try {
      await leftover.close();
    } catch {
      leftover.closeNow();
    }
  }
}

function install(): void {
  installed = true;
  process.on('exit', () => {
    for (const leftover of [...leftovers].reverse()) leftover.closeNow();
  });
  for (const [signal, status] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const) {
    // A second signal must not wait for an orderly end that does not come.
    process.once(signal, () => {
      void closeAll().then(() => process.exit(status));
      process.once(signal, () => process.exit(status));
    });
  }
}
