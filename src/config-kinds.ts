// SPDX-License-Identifier: MIT
// The kinds of values a setting may have: how text from the environment or the
// command line becomes a value, and what is wrong with a value.
//
// Pure. Conversion never guesses: text that does not read as the kind stays the
// text it was, so that the check after it names what was written. (convict's own
// formats turn "5432x" into 5432 and "abc" into NaN or true.)

import { hostProblem, parseCandidates, splitCandidates } from './candidates.js';

/** What is allowed, in words, and in those parts of them that every document must have. */
export interface Allowed {
  /** `a whole number of seconds from 0 to 32767`: what comes after "expected". */
  readonly text: string;
  readonly range?: { readonly min: number; readonly max: number };
  /** A plural such as "milliseconds". */
  readonly unit?: string;
  /** The words that may stand there; with `range`: besides numbers. */
  readonly words?: readonly string[];
}

export interface Kind {
  readonly allowed: Allowed;
  /** A value of this kind may stand between quotes in a file. */
  readonly quotable: boolean;
  /** Text -> the value it stands for; other text is returned as it is. */
  readonly fromText: (text: string) => unknown;
  /** What is wrong with a value; empty if nothing is. Each one is a sentence without a line break. */
  readonly problems: (value: unknown) => readonly string[];
}

const SERVERS = 'a list of servers, as in ["db1:5432", "db2:5432"]';

/** A list of servers: one text, or an array of texts. */
export const candidateList: Kind = {
  allowed: { text: SERVERS },
  quotable: true,
  fromText: splitCandidates,
  problems: (value) => {
    if (!isTextArray(value)) return [`expected ${SERVERS}`];
    const list = parseCandidates(value);
    return list.kind === 'good' ? [] : list.problems;
  },
};

/** A whole number from `min` to `max`; `unit` is a plural such as "milliseconds". */
export function integer(min: number, max: number, unit?: string): Kind {
  const name = unit === undefined ? 'a whole number' : `a whole number of ${unit}`;
  const text = `${name} from ${String(min)} to ${String(max)}`;
  return {
    allowed: { text, range: { min, max }, ...(unit === undefined ? {} : { unit }) },
    quotable: false,
    fromText: integerFromText,
    problems: (value) => (Number.isInteger(value) && isWithin(value, min, max) ? [] : [`expected ${text}`]),
  };
}

/** A number, fractions allowed, from `min` to `max`. */
export function decimal(min: number, max: number, unit: string): Kind {
  const text = `a number of ${unit} from ${String(min)} to ${String(max)}`;
  return {
    allowed: { text, range: { min, max }, unit },
    quotable: false,
    fromText: (given) => (/^\s*\+?(?:\d+\.?\d*|\.\d+)\s*$/.test(given) ? Number(given) : given),
    problems: (value) => (isWithin(value, min, max) ? [] : [`expected ${text}`]),
  };
}

const PORT = 'a port from 1 to 65535, or 0 for any free port';

/** A TCP port; 0 lets the kernel choose a free one. */
export const port: Kind = {
  allowed: { text: PORT, range: { min: 1, max: 65535 } },
  quotable: false,
  fromText: integerFromText,
  problems: (value) => (Number.isInteger(value) && isWithin(value, 0, 65535) ? [] : [`expected ${PORT}`]),
};

/** A number of something, from 1 on, or `auto`. */
export function countOrAuto(max: number, unit = ''): Kind {
  const text = `a whole number${unit === '' ? '' : ` of ${unit}`} from 1 to ${String(max)}, or "auto"`;
  const isGood = (value: unknown): boolean => value === 'auto' || (Number.isInteger(value) && isWithin(value, 1, max));
  return {
    allowed: { text, range: { min: 1, max }, words: ['auto'], ...(unit === '' ? {} : { unit }) },
    quotable: true,
    fromText: (given) => (given.trim().toLowerCase() === 'auto' ? 'auto' : integerFromText(given)),
    problems: (value) => (isGood(value) ? [] : [`expected ${text}`]),
  };
}

const SWITCH_WORDS: Readonly<Record<string, boolean>> = {
  '1': true,
  true: true,
  yes: true,
  on: true,
  '0': false,
  false: false,
  no: false,
  off: false,
};

const SWITCH = 'true or false (in the environment also 1, yes, on, 0, no, off)';

/** true or false; in text also the words PostgreSQL knows for them. */
export const onOff: Kind = {
  allowed: { text: SWITCH, words: ['true', 'false'] },
  quotable: false,
  fromText: (text) => {
    const word = text.trim().toLowerCase();
    return Object.hasOwn(SWITCH_WORDS, word) ? SWITCH_WORDS[word] : text;
  },
  problems: (value) => (typeof value === 'boolean' ? [] : [`expected ${SWITCH}`]),
};

const HOST = 'a host name or an IP address';

/** A host name or a literal address, without brackets. */
export const host: Kind = {
  allowed: { text: `${HOST} without brackets` },
  quotable: true,
  fromText: (text) => text.trim(),
  problems: (value) => {
    if (typeof value !== 'string') return [`expected ${HOST}`];
    const problem = hostProblem(value);
    return problem === undefined ? [] : [`expected ${HOST} without brackets: ${problem}`];
  },
};

/** Any text but the empty one. */
export function text(what: string): Kind {
  const isGood = (value: unknown): boolean =>
    // NUL ends a string in the protocol and in a path: what follows it would silently be lost.
    typeof value === 'string' && value !== '' && !value.includes('\0');
  return {
    allowed: { text: what },
    quotable: true,
    fromText: (value) => value,
    problems: (value) =>
      isGood(value) ? [] : [`expected ${what}${typeof value === 'string' ? '' : ' in quotation marks'}`],
  };
}

const DIRECTORY = 'the absolute path of a directory';

/** An absolute path. Of several, divided by colons as systemd.exec(5) gives them, the first. */
export const directory: Kind = {
  allowed: { text: DIRECTORY },
  quotable: true,
  fromText: (value) => value.split(':', 1)[0],
  problems: (value) =>
    typeof value === 'string' && value.startsWith('/') && !value.includes('\0') ? [] : [`expected ${DIRECTORY}`],
};

/** What the path of an AF_UNIX socket may be long; unix(7). */
const MAX_SOCKET_PATH_BYTES = 107;
const SOCKET_PATH = `an absolute path of at most ${String(MAX_SOCKET_PATH_BYTES)} bytes, or "off"`;

/** The path of an AF_UNIX socket, or `off`. */
export const socketPath: Kind = {
  allowed: { text: SOCKET_PATH },
  quotable: true,
  fromText: (value) => (value.trim().toLowerCase() === 'off' ? 'off' : value),
  problems: (value) =>
    value === 'off' ||
    (typeof value === 'string' &&
      value.startsWith('/') &&
      !value.includes('\0') &&
      Buffer.byteLength(value) <= MAX_SOCKET_PATH_BYTES)
      ? []
      : [`expected ${SOCKET_PATH}`],
};

export interface WordOptions {
  /** Other words for a listed one. */
  readonly aliases?: Readonly<Record<string, string>>;
  /** Whether case matters. */
  readonly exact?: boolean;
  /** Words that people may expect here -> why they are not there. */
  readonly refused?: Readonly<Record<string, string>>;
}

/** One of a few words. */
export function oneOf(words: readonly string[], { aliases = {}, exact = false, refused = {} }: WordOptions = {}): Kind {
  const text = `one of ${words.join(', ')}`;
  const expected = `expected ${text}`;
  return {
    allowed: { text, words },
    quotable: true,
    fromText: (value) => {
      const word = exact ? value.trim() : value.trim().toLowerCase();
      return Object.hasOwn(aliases, word) ? aliases[word] : word;
    },
    problems: (value) => {
      if (typeof value !== 'string') return [expected];
      if (words.includes(value)) return [];
      const why = Object.hasOwn(refused, value) ? refused[value] : undefined;
      return [why === undefined ? expected : `${expected} (${why})`];
    },
  };
}

function integerFromText(value: string): number | string {
  return /^\s*[+-]?\d{1,15}\s*$/.test(value) ? Number(value) : value;
}

function isWithin(value: unknown, min: number, max: number): boolean {
  return typeof value === 'number' && value >= min && value <= max;
}

function isTextArray(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}
