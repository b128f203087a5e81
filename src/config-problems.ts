// SPDX-License-Identifier: MIT
// How configuration errors are said: one line each, `where: key = value: what
// was expected`. No line ever holds a secret.

import { withoutLogin } from './candidates.js';
import { SETTINGS } from './config-schema.js';
import type { NamedSetting } from './config-schema.js';
import { GatewayError } from './errors.js';

/** One fault of the configuration. */
export interface Problem {
  readonly kind: 'invalid' | 'unreadable';
  /** One line, whole and without secrets. */
  readonly line: string;
}

/**
 * Every fault of the configuration at once; `message` is their lines, in the order of the sources.
 * The code is CONFIG_UNREADABLE if files that could not be read are all there is to say.
 */
export class ConfigError extends GatewayError {
  readonly problems: readonly string[];

  constructor(problems: readonly Problem[]) {
    const lines = problems.map(({ line }) => line);
    const unreadable = problems.every(({ kind }) => kind === 'unreadable');
    super(unreadable ? 'CONFIG_UNREADABLE' : 'CONFIG_INVALID', lines.join('\n'));
    this.name = 'ConfigError';
    this.problems = lines;
  }
}

/** Stands for every secret. */
export const MASKED_VALUE = '***';

const MAX_SHOWN = 120;

export function invalid(where: string, what: string): Problem {
  return { kind: 'invalid', line: oneLine(`${where}: ${what}`) };
}

/** A setting with a value that it cannot have. */
export function badValue(where: string, setting: NamedSetting, value: unknown, expected: string): Problem {
  return invalid(where, `${setting.key} = ${showValue(setting, value)}: ${expected}`);
}

/**
 * A key that is no setting. Its value is not shown: it may be a secret under a misspelt name.
 */
export function unknownKey(where: string, key: readonly string[]): Problem {
  const near = suggestion(key);
  const hint = near === undefined ? '' : `, did you mean ${near}?`;
  return invalid(where, `${showKey(key)}: unknown key${hint}`);
}

/** A file or folder that could not be read. `what` says what it is for, if the path does not. */
export function unreadable(path: string, error: unknown): Problem {
  return { kind: 'unreadable', line: oneLine(`${path}: cannot be read: ${systemReason(error)}`) };
}

/** `ENOENT: no such file or directory`, without the path and the system call that Node adds. */
export function systemReason(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.replace(/, [a-z]+(?: '.*)?$/s, '');
}

/** A value as it is shown in a line: quoted, bounded, and masked if secret. */
export function showValue(setting: NamedSetting, value: unknown): string {
  if (setting.secret) return JSON.stringify(MASKED_VALUE);
  if (value instanceof Date) return value.toISOString();
  if (typeof value === 'number') return String(value);
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return 'a table';
  const shown = setting.key === 'candidates' ? withoutLogin(JSON.stringify(value)) : JSON.stringify(value);
  return shown.length <= MAX_SHOWN ? shown : `${shown.slice(0, MAX_SHOWN)}...`;
}

/** A dotted key as TOML writes it. */
function showKey(key: readonly string[]): string {
  return key.map((part) => (/^[\w-]+$/.test(part) ? part : JSON.stringify(part))).join('.');
}

/** Signs that break a line, steer a terminal or turn the order of others around must not come from a path or value. */
export function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (sign) => {
    return `\\u${(sign.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`;
  });
}

/** The setting that was probably meant: by its key, its last part, or its environment variable. */
function suggestion(key: readonly string[]): string | undefined {
  const written = key.join('.');
  const last = key.at(-1) ?? '';
  let best: { readonly key: string; readonly distance: number } | undefined;
  for (const setting of SETTINGS) {
    const leaf = setting.key.slice(setting.key.lastIndexOf('.') + 1);
    const distance = Math.min(
      closeness(written, setting.key),
      closeness(written, setting.env),
      // A right name in the wrong table: less sure than a slip of the keyboard in the whole key.
      closeness(last, leaf) + 0.5,
      closeness(last, setting.env) + 0.5,
    );
    if (best === undefined || distance < best.distance) best = { key: setting.key, distance };
  }
  return best !== undefined && Number.isFinite(best.distance) ? best.key : undefined;
}

/** Number of slips between two names, or Infinity if they are too far apart to be meant for each other. */
function closeness(written: string, name: string): number {
  const a = plain(written);
  const b = plain(name);
  const limit = Math.max(1, Math.floor(b.length / 4));
  if (Math.abs(a.length - b.length) > limit) return Infinity;
  const distance = editDistance(a, b);
  return distance <= limit ? distance : Infinity;
}

function plain(name: string): string {
  return name.toLowerCase().replace(/[-_]/g, '.');
}

/** Levenshtein's distance. The caller has bounded the difference in length. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let index = 0; index < a.length; index++) {
    const next = [index + 1];
    for (let column = 1; column <= b.length; column++) {
      const replaced = (row[column - 1] ?? 0) + (a[index] === b[column - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[column] ?? 0) + 1, (next[column - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? Infinity;
}
