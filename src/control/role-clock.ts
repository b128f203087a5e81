// SPDX-License-Identifier: MIT
// Since when each candidate is what it is.

import type { Candidate } from '../candidates.js';
import type { Verdict } from '../election.js';
import type { Observation } from '../probe/observation.js';
import type { ServerRole } from './documents.js';
import { roleOf } from './status-document.js';

export class RoleClock {
  readonly #roles = new Map<string, { readonly role: ServerRole; readonly since: number }>();

  /** After each observation and each verdict. `now`: monotonic milliseconds. */
  update(
    candidates: readonly Candidate[],
    observations: ReadonlyMap<string, Observation>,
    verdict: Verdict | undefined,
    now: number,
  ): void {
    const names = new Set(candidates.map(({ name }) => name));
    for (const name of this.#roles.keys()) if (!names.has(name)) this.#roles.delete(name);
    for (const name of names) {
      const role = roleOf(name, observations.get(name), verdict);
      if (this.#roles.get(name)?.role !== role) this.#roles.set(name, { role, since: now });
    }
  }

  since(name: string): number | undefined {
    return this.#roles.get(name)?.since;
  }
}
