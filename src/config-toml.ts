// SPDX-License-Identifier: MIT
// A parsed file held against the schema: what of it is settings, and what is
// not. Pure; the parsing itself is the business of `src/config.ts`.

import { badValue, invalid, unknownKey } from './config-problems.js';
import type { Problem } from './config-problems.js';
import { SETTINGS } from './config-schema.js';
import type { NamedSetting } from './config-schema.js';
import type { Layer } from './config-sources.js';

const BY_KEY: ReadonlyMap<string, NamedSetting> = new Map(SETTINGS.map((setting) => [setting.key, setting]));
const TABLES: ReadonlySet<string> = new Set(
  SETTINGS.filter(({ key }) => key.includes('.')).map(({ key }) => key.slice(0, key.indexOf('.'))),
);

type Table = Readonly<Record<string, unknown>>;

export interface FileContent {
  readonly layer: Layer;
  /** Keys of the settings that are there with a value of a wrong shape; they are not in `layer`. */
  readonly failed: ReadonlySet<string>;
  readonly problems: readonly Problem[];
}

/**
 * The settings in `document`, with every key that is no setting and every value of a wrong shape as a problem.
 * convict is only shown what comes out of here: it takes a table for a value, and a key with a dot for two.
 */
export function settingsOf(document: Table, path: string): FileContent {
  const layer: Layer = new Map();
  const failed = new Set<string>();
  const problems: Problem[] = [];

  const take = (setting: NamedSetting, value: unknown): void => {
    // As in the environment: an empty text takes nothing from the sources before it.
    if (setting.nullable && value === '') return;
    // convict would convert a text; but in a file "5432" in quotes is the wrong type.
    const wrongShape = isTable(value) || value instanceof Date || (typeof value === 'string' && !setting.kind.quotable);
    if (!wrongShape) {
      layer.set(setting.key, { value, from: path });
      return;
    }
    failed.add(setting.key);
    const fault = setting.kind.problems(value).join('; ');
    const isOnlyQuoted = typeof value === 'string' && setting.kind.problems(setting.kind.fromText(value)).length === 0;
    problems.push(badValue(path, setting, value, isOnlyQuoted ? `${fault}, without quotation marks` : fault));
  };

  const walk = (table: Table, above: readonly string[]): void => {
    for (const [name, value] of Object.entries(table)) {
      const key = [...above, name];
      const setting = settingAt(key);
      const isOurTable = above.length === 0 && TABLES.has(name);
      if (setting !== undefined) take(setting, value);
      else if (isTable(value) && (isOurTable || Object.keys(value).length > 0)) walk(value, key);
      else problems.push(isOurTable ? invalid(path, `${name}: expected a table, [${name}]`) : unknownKey(path, key));
    }
  };

  walk(document, []);
  return { layer, failed, problems };
}

/** A quoted key may hold a dot, and is not two keys then. */
function settingAt(key: readonly string[]): NamedSetting | undefined {
  return key.some((part) => part.includes('.')) ? undefined : BY_KEY.get(key.join('.'));
}

function isTable(value: unknown): value is Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
}
