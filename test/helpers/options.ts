// SPDX-License-Identifier: MIT
// Command lines of what measures: `npm run bench`, `npm run soak`.

import { parseArgs } from 'node:util';
import type { ParseArgsConfig } from 'node:util';

const EXIT_USAGE = 64; // sysexits.h: EX_USAGE

/** The text names the option, and what was expected. */
export class UsageError extends Error {}

/**
 * The values of the options; nothing but options is taken.
 * @throws UsageError
 */
export function optionValues<T extends NonNullable<ParseArgsConfig['options']>>(
  args: readonly string[],
  options: T,
): ReturnType<typeof parseArgs<{ options: T }>>['values'] {
  try {
    return parseArgs({ args: [...args], options }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

/**
 * Of a list with commas, in the order of `known`.
 * @throws UsageError
 */
export function words<T extends string>(name: string, text: string | undefined, known: readonly T[]): T[] | undefined {
  if (text === undefined) return undefined;
  const asked = text.split(',');
  const unknown = asked.filter((word) => !known.some((one) => one === word));
  if (unknown.length > 0) throw new UsageError(`--${name}: ${unknown.join(', ')}: not one of ${known.join(', ')}`);
  return known.filter((word) => asked.includes(word));
}

/**
 * Of a list with commas, each once, the smallest first.
 * @throws UsageError
 */
export function numbers(name: string, text: string | undefined): number[] | undefined {
  const all = text?.split(',').map((word) => number(name, word) ?? 0);
  return all && [...new Set(all)].sort((a, b) => a - b);
}

/** @throws UsageError */
export function number(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^[1-9]\d{0,6}$/.test(text)) throw new UsageError(`--${name}: ${text}: not a number from 1`);
  return Number(text);
}

/** What `settingsOf` makes of the arguments; a number: the exit status, after the help was shown to who needs it. */
export function understood<T extends object>(
  args: readonly string[],
  settingsOf: (args: readonly string[]) => T | undefined,
  help: string,
): T | number {
  try {
    const settings = settingsOf(args);
    if (settings !== undefined) return settings;
    process.stdout.write(help);
    return 0;
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    process.stderr.write(`${error.message}\n\n${help}`);
    return EXIT_USAGE;
  }
}

/** For announcements: `40 seconds`, `12 minutes`. */
export function announced(seconds: number): string {
  return seconds < 90 ? `${Math.ceil(seconds)} seconds` : `${Math.ceil(seconds / 60)} minutes`;
}
