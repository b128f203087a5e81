// SPDX-License-Identifier: MIT
// The effective configuration as text: a TOML file that would give the same
// configuration, each value with its source. Secrets are masked, in comments.

import { oneLine } from './config-problems.js';
import type { LoadedConfig, SettingValue } from './config-types.js';

/** The lines of `--check-config`, each ended by a line feed. */
export function describeConfig(config: LoadedConfig): string {
  const lines = [
    '# The effective configuration of pg-gateway.',
    config.sources.length === 0 ? '# No file was read.' : '# Files read:',
    ...config.sources.map((path) => `#   ${oneLine(path)}`),
    '',
  ];
  let table = '';
  for (const { key, value, masked, from } of config.settings) {
    const dot = key.indexOf('.');
    const name = key.slice(dot + 1);
    const home = dot < 0 ? '' : key.slice(0, dot);
    if (home !== table) {
      lines.push('', `[${home}]`);
      table = home;
    }
    if (value === undefined) lines.push(`# ${name} is not set`);
    else if (masked) lines.push(`# ${name} = ${tomlValue(value)}  # ${oneLine(from)}, masked`);
    else lines.push(`${name} = ${tomlValue(value)}  # ${oneLine(from)}`);
  }
  return `${lines.join('\n')}\n`;
}

/**
 * JSON's text of a value is TOML's too (TOML 1.0, "String" and "Array"), but for DEL, which TOML wants escaped.
 */
function tomlValue(value: SettingValue): string {
  if (typeof value === 'object') return `[${value.map(tomlValue).join(', ')}]`;
  return JSON.stringify(value).replaceAll('\u007f', '\\u007f');
}
