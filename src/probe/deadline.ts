// SPDX-License-Identifier: MIT
// A bound in time for a piece of work that is stopped by an AbortSignal.

import type { Timers } from '../timers.js';

export interface Deadline {
  /** Aborted with the fault when time is up, or with the outer signal's reason. */
  readonly signal: AbortSignal;
  /** The work has ended: nothing will be aborted any more. Idempotent. */
  close(): void;
}

/** A timer that comes so late says that the loop stood still: a busy one is some milliseconds late. */
const STALL_MS = 100;

/**
 * Where the loop was stalled (SIGSTOP, a busy CPU) timers run before the sockets are read, so an answer that has long
 * been there would lose against its own deadline. So the judgement waits for the next `setImmediate`, which comes after
 * the sockets' turn; on a loop that is not stalled that costs nothing. And what takes several answers (TLS, a log-in)
 * could not go on meanwhile: after a stall it has its whole time once more, but only once.
 */
export function startDeadline(timers: Timers, ms: number, outer: AbortSignal, fault: () => Error): Deadline {
  const controller = new AbortController();
  let immediate: NodeJS.Immediate | undefined;
  let cancel = (): void => undefined;
  const arm = (isLast: boolean): void => {
    const dueAt = timers.now() + ms;
    cancel = timers.after(ms, () => {
      if (!isLast && timers.now() - dueAt >= STALL_MS) {
        arm(true);
        return;
      }
      immediate = setImmediate(() => {
        controller.abort(fault());
      });
    });
  };
  arm(false);
  const onOuter = (): void => {
    controller.abort(outer.reason);
  };
  if (outer.aborted) onOuter();
  else outer.addEventListener('abort', onOuter, { once: true });
  return {
    signal: controller.signal,
    close: () => {
      cancel();
      clearImmediate(immediate);
      outer.removeEventListener('abort', onOuter);
    },
  };
}

/** The reason of an aborted signal, as an Error. */
export function abortError(signal: AbortSignal): Error {
  const reason: unknown = signal.reason;
  return reason instanceof Error ? reason : new Error('aborted');
}

/**
 * A promise that also ends when the signal is aborted: then `abandon` is called, and it rejects with the signal's
 * reason. `begin` gets the two ways to settle and returns `abandon`; what settles first counts, the rest is ignored.
 */
export function abortable<T>(
  signal: AbortSignal,
  begin: (resolve: (value: T) => void, reject: (error: Error) => void) => () => void,
): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(abortError(signal));
      return;
    }
    let abandon = (): void => undefined;
    const onAbort = (): void => {
      abandon();
      reject(abortError(signal));
    };
    signal.addEventListener('abort', onAbort, { once: true });
    abandon = begin(
      (value) => {
        signal.removeEventListener('abort', onAbort);
        resolve(value);
      },
      (error) => {
        signal.removeEventListener('abort', onAbort);
        reject(error);
      },
    );
  });
}
