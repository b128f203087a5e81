// SPDX-License-Identifier: MIT
// The commented sample of the configuration, made from the schema: what
// `--print-sample-config` prints, and packaging/pg-gateway.toml is. Pure.

import { SETTINGS } from './config-schema.js';
import type { NamedSetting, SettingKey, TableName } from './config-schema.js';
import { SAMPLE_HEADER, SETTING_TEXTS, TABLE_TEXTS } from './sample-config-texts.js';
import { wrap } from './text-layout.js';

/** TOML that sets nothing: every setting is a comment, with its default. */
export function sampleConfig(): string {
  const blocks = [['# SPDX-License-Identifier: MIT', '#', ...comment(SAMPLE_HEADER)]];
  let table = '';
  for (const setting of SETTINGS) {
    const home = tableOf(setting);
    if (home !== undefined && home !== table) {
      blocks.push([...comment(TABLE_TEXTS[home]), `[${home}]`]);
      table = home;
    }
    blocks.push(settingLines(setting));
  }
  return `${blocks.map((lines) => lines.join('\n')).join('\n\n')}\n`;
}

function tableOf({ key }: NamedSetting): TableName | undefined {
  const dot = key.indexOf('.');
  return dot < 0 ? undefined : (key.slice(0, dot) as TableName);
}

function settingLines(setting: NamedSetting): string[] {
  const { key, env, live } = setting;
  const text = SETTING_TEXTS[key as SettingKey];
  return [
    ...comment(live ? text : `${text} [restart]`),
    ...comment(`Value: ${allowedText(setting)}.`),
    `# Environment: ${env}`,
    `#${key.slice(key.indexOf('.') + 1)} = ${JSON.stringify(setting.default ?? '')}`,
  ];
}

/** What may stand there, and what it means that nothing does. */
function allowedText({ kind, nullable, defaultNote }: NamedSetting): string {
  return nullable ? `${kind.allowed.text}. Default (""): ${defaultNote ?? 'none'}` : kind.allowed.text;
}

function comment(text: string): string[] {
  return text
    .split('\n')
    .flatMap((line) => (line.startsWith('  ') ? [line] : wrap(line, '', 82)))
    .map((line) => `# ${line}`.trimEnd());
}
