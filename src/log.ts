// SPDX-License-Identifier: MIT
// The log: one line per event, `message key=value key="quoted value"`, to stderr.
// Under systemd each line begins with the syslog priority in angle brackets
// (sd-daemon(3)), which the journal takes off; elsewhere with time and level.
//
// Invariants: one call makes exactly one line, whatever bytes are in it, so that
// what a server or client says can neither split nor forge a line; a line is
// bounded well below journald's LineMax (48 KiB), beyond which it would be split.

import { StderrSink, stderrIsJournal } from './stderr-sink.js';
import { systemTimers } from './timers.js';

/** From the least to the most urgent. */
export const LOG_LEVELS = ['debug', 'info', 'notice', 'warning', 'err'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** undefined leaves the field out. */
export type LogFields = Readonly<Record<string, string | number | boolean | bigint | null | undefined>>;

export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  /** Normal but significant: a state change. */
  notice(message: string, fields?: LogFields): void;
  warning(message: string, fields?: LogFields): void;
  err(message: string, fields?: LogFields): void;
  setLevel(level: LogLevel): void;
}

export interface LoggerOptions {
  /** Lines less urgent than this are left out. */
  readonly level: LogLevel;
  /** Takes one line with its newline; must not throw. Default: stderr, bounded and never blocking. */
  readonly write?: (line: string) => void;
  /** Prefix lines for the journal. Default: stderr is the journal (false where `write` is given). */
  readonly journal?: boolean;
}

/** syslog(3) severities. */
const PRIORITY: Readonly<Record<LogLevel, number>> = { debug: 7, info: 6, notice: 5, warning: 4, err: 3 };

const MAX_LINE_CHARS = 8192;
const MAX_VALUE_CHARS = 2048;

/** Throws nothing, neither now nor when logging. */
export function createLogger(options: LoggerOptions): Logger {
  const journal = options.journal ?? (options.write === undefined && stderrIsJournal(process.env));
  const prefix = journal ? journalPrefix : readablePrefix;
  const write = options.write ?? openSink(prefix);
  let threshold = PRIORITY[options.level];
  const at =
    (level: LogLevel) =>
    (message: string, fields?: LogFields): void => {
      if (PRIORITY[level] <= threshold) write(`${prefix(level)}${formatLine(message, fields)}\n`);
    };
  return {
    debug: at('debug'),
    info: at('info'),
    notice: at('notice'),
    warning: at('warning'),
    err: at('err'),
    setLevel: (level) => {
      threshold = PRIORITY[level];
    },
  };
}

function openSink(prefix: (level: LogLevel) => string): (line: string) => void {
  const sink = new StderrSink({
    droppedLine: (lines) =>
      `${prefix('warning')}${formatLine('log lines were lost: stderr did not take them', { lines })}\n`,
  });
  return (line) => {
    sink.write(line);
  };
}

function journalPrefix(level: LogLevel): string {
  return `<${PRIORITY[level].toString()}>`;
}

function readablePrefix(level: LogLevel): string {
  return `${new Date().toISOString()} ${level.toUpperCase().padEnd(7)} `;
}

/** One line without prefix and newline: the message, then the fields in their order. */
export function formatLine(message: string, fields: LogFields = {}): string {
  let line = escapeControls(message);
  for (const [key, value] of Object.entries(fields)) {
    if (value !== undefined) line += ` ${key.replace(/[^\w.]/gu, '_')}=${formatValue(String(value))}`;
  }
  return bounded(line, MAX_LINE_CHARS);
}

function formatValue(value: string): string {
  const text = bounded(value, MAX_VALUE_CHARS);
  const escaped = escapeControls(text);
  if (escaped === text && /^[^\s"'=\\]+$/u.test(text)) return text;
  return `"${escapeControls(text.replace(/["\\]/gu, '\\$&'))}"`;
}

function bounded(text: string, maxChars: number): string {
  if (text.length <= maxChars) return text;
  return `${text.slice(0, maxChars)}...(${(text.length - maxChars).toString()} more characters)`;
}

// Cc: C0, DEL and C1 controls (newline, escape sequences). Zl, Zp: line and paragraph separators. The rest: marks that
// reorder what a terminal shows, by which a line could be made to look like another.
const CONTROLS = /[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;
const SHORT_ESCAPES: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

function escapeControls(text: string): string {
  return text.replace(CONTROLS, (char) => {
    const code = char.charCodeAt(0);
    const hex = code.toString(16);
    return SHORT_ESCAPES[char] ?? (code < 0x100 ? `\\x${hex.padStart(2, '0')}` : `\\u${hex.padStart(4, '0')}`);
  });
}

/**
 * Bounds the lines that others can cause: one per key and interval.
 *
 *     const similar = limit.admit('startup');
 *     if (similar !== undefined) logger.warning(`malformed startup message${similar}`, { client });
 */
export class RateLimit {
  readonly #perMs: number;
  readonly #now: () => number;
  readonly #maxKeys: number;
  readonly #keys = new Map<string, { until: number; suppressed: number }>();

  /** `now` is a monotonic clock in milliseconds. Of more than `maxKeys` keys the longest unused is forgotten. */
  constructor(perMs: number, options: { readonly now?: () => number; readonly maxKeys?: number } = {}) {
    this.#perMs = perMs;
    this.#now = options.now ?? (() => systemTimers.now());
    this.#maxKeys = options.maxKeys ?? 256;
  }

  /**
   * undefined: say nothing, it was counted. Else the line may be printed and the result appended to it: '' or
   * ' (N similar suppressed)'.
   */
  admit(key: string): string | undefined {
    const now = this.#now();
    const entry = this.#keys.get(key);
    if (entry !== undefined && now < entry.until) {
      entry.suppressed += 1;
      return undefined;
    }
    this.#keys.delete(key); // set again below: the Map's order is the order of last use
    this.#keys.set(key, { until: now + this.#perMs, suppressed: 0 });
    this.#forgetOldest();
    const suppressed = entry?.suppressed ?? 0;
    return suppressed === 0 ? '' : ` (${suppressed.toString()} similar suppressed)`;
  }

  #forgetOldest(): void {
    const oldest = this.#keys.keys().next();
    if (this.#keys.size > this.#maxKeys && oldest.done !== true) this.#keys.delete(oldest.value);
  }
}
