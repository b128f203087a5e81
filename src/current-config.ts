// SPDX-License-Identifier: MIT
// Which configuration counts while the service runs, what is wrong with a newer one that
// was refused, and what of it the next process is left. Who applies it is asked to.

import { ConfigError, diffConfig } from './config.js';
import type { Config, LoadedConfig } from './config.js';
import type { ReloadDocument } from './control/documents.js';
import type { Logger } from './log.js';
import type { RestartNoteKeeper } from './restart-note.js';

export interface CurrentConfigOptions {
  readonly config: LoadedConfig;
  /** What is wrong with the one that was found at the start, if `config` is an earlier one; else empty. */
  readonly rejected: readonly string[];
  /** Reads it anew. Throws ConfigError. */
  readonly load: () => LoadedConfig;
  readonly note: RestartNoteKeeper;
  readonly logger: Logger;
}

export class CurrentConfig {
  readonly #options: CurrentConfigOptions;
  #config: Config;
  #warnings: readonly string[] = [];
  #rejected: readonly string[];

  constructor(options: CurrentConfigOptions) {
    this.#options = options;
    this.#config = options.config;
    this.#rejected = options.rejected;
  }

  get config(): Config {
    return this.#config;
  }

  /** What is wrong with the one that was found last, while an earlier one goes on; else empty. */
  get rejected(): readonly string[] {
    return this.#rejected;
  }

  /** From now on this one counts, whoever has made it. */
  set(config: Config): void {
    this.#config = config;
  }

  /** The first one is good for a start. Not told to the next process before: it would be no better off. */
  started(): void {
    this.#options.note.saveSettings(this.#options.config.given);
  }

  /** Says what should not be as it is, unless the log has that already. */
  warn({ warnings }: LoadedConfig = this.#options.config): void {
    for (const warning of warnings) if (!this.#warnings.includes(warning)) this.#options.logger.warning(warning);
    this.#warnings = warnings;
  }

  /**
   * Reads it anew. A bad one is refused whole, and the old one goes on.
   * @param apply has the service go by it, as far as it can without a restart, and calls set(); `live` are the keys of
   *   the settings that are others
   */
  reload(apply: (config: Config, live: readonly string[]) => void): ReloadDocument {
    const { load, logger, note } = this.#options;
    try {
      const next = load();
      const { live, fixed, applied } = diffConfig(this.#config, next);
      this.warn(next);
      apply(applied, live);
      if (fixed.length > 0) {
        logger.warning('these settings change only by a restart', { keys: fixed.join(' ') });
      }
      logger.notice('configuration reloaded', { changed: live.join(' ') || 'nothing' });
      note.saveSettings(next.given);
      this.#rejected = [];
      return { result: 'ok', changed: live, waiting_for_restart: fixed, problems: [] };
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      const { problems, code } = error;
      for (const problem of problems) logger.err(problem, { code });
      logger.err('the new configuration was rejected, the old one goes on');
      this.#rejected = problems;
      return { result: 'rejected', changed: [], waiting_for_restart: [], problems };
    }
  }
}
