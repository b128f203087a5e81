// SPDX-License-Identifier: MIT
// The password file: "34.16. The Password File" in the PostgreSQL manual.

import { ProbeFault } from './failure.js';
import { readProbeFile } from './probe-file.js';

/** What a line of the file is matched against. */
export interface PasswordKey {
  /** As the candidate is named, not its address. */
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
}

/**
 * The password of the first line that fits, or undefined. Like libpq, refuses a file that others may read.
 * @throws ProbeFault auth: the file cannot be read or must not be used; the signal's reason
 */
export async function readPassfile(path: string, key: PasswordKey, signal: AbortSignal): Promise<string | undefined> {
  try {
    const { text, mode } = await readProbeFile(path, signal);
    if ((mode & 0o077) === 0) return passwordFrom(text, key);
  } catch (error) {
    if (signal.aborted) throw error;
    const why = error instanceof Error ? ('code' in error ? String(error.code) : error.message) : 'unreadable';
    throw new ProbeFault('auth', `password file ${path}: ${why}`, { cause: error });
  }
  throw new ProbeFault('auth', `password file ${path} can be read by others: expected permissions 0600 or less`);
}

/** `host:port:database:user:password` lines; `*` fits all, a backslash takes the next sign literally, `#` begins a comment. */
export function passwordFrom(text: string, { host, port, database, user }: PasswordKey): string | undefined {
  const wanted = [host, String(port), database, user];
  for (const line of text.split(/\r?\n/)) {
    if (line.startsWith('#')) continue;
    const fields = splitFields(line);
    const fits = wanted.every((value, index) => fields[index]?.raw === '*' || fields[index]?.value === value);
    // Whatever follows a fifth bare colon is ignored, as libpq does.
    const password = fields[4]?.value;
    if (fits && password !== undefined) return password;
  }
  return undefined;
}

/** `\*` is a star and not the wildcard, so both forms are needed. */
interface Field {
  readonly raw: string;
  readonly value: string;
}

function splitFields(line: string): readonly Field[] {
  const fields: Field[] = [];
  let start = 0;
  let value = '';
  for (let at = 0; at <= line.length; at += 1) {
    const sign = line[at];
    if (sign === undefined || sign === ':') {
      fields.push({ raw: line.slice(start, at), value });
      start = at + 1;
      value = '';
      continue;
    }
    if (sign === '\\' && at + 1 < line.length) at += 1;
    value += line[at] ?? '';
  }
  return fields;
}
