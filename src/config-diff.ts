// SPDX-License-Identifier: MIT
// What a reload would change. Pure.

import { SETTINGS } from './config-schema.js';
import type { Config } from './config-types.js';
import { settingValues } from './config-values.js';

export interface ConfigDiff {
  /** Keys of the changed settings that take effect at once. */
  readonly live: readonly string[];
  /** Keys of the changed settings that wait for a restart. */
  readonly fixed: readonly string[];
  /** The next configuration, with the fixed settings as they are running. */
  readonly applied: Config;
}

/**
 * Compares the running configuration with the next one. Keys are those of the files, as in `listen.port`.
 * Give `applied` as `running` to the next comparison: then what waits for a restart is told every time.
 */
export function diffConfig(running: Config, next: Config): ConfigDiff {
  const before = settingValues(running);
  const after = settingValues(next);
  const changed = SETTINGS.filter(({ key }) => JSON.stringify(before.get(key)) !== JSON.stringify(after.get(key)));
  return {
    live: changed.filter(({ live }) => live).map(({ key }) => key),
    fixed: changed.filter(({ live }) => !live).map(({ key }) => key),
    applied: {
      ...next,
      stateDirectory: running.stateDirectory,
      listen: running.listen,
      metrics: running.metrics,
      control: running.control,
      workers: running.workers,
    },
  };
}
