// SPDX-License-Identifier: MIT
// What a check has found, and what to do about it. Data only.

export interface Finding {
  /** A `note` is for who wants the best of it; what is not as it should be is a `warning`. */
  readonly level: 'warning' | 'note';
  /** A candidate, a setting or a file; empty: the cluster. */
  readonly about: string;
  /** What is so: one sentence, without its full stop. */
  readonly what: string;
  /** What mends it: one sentence, without its full stop. */
  readonly fix: string;
  /** Lines to take over as they are: of pg_hba.conf, SQL, or for a shell. */
  readonly lines?: readonly string[];
}

/** Less than this is left of a certificate or a password: time to renew it. */
export const RENEW_BEFORE_DAYS = 30;

const DAY_MS = 86_400_000;

/**
 * How long something is still valid, if that is worth a word.
 * @param until milliseconds since 1970
 * @returns `has expired on 2026-01-31`, `expires on 2026-12-24, in 24 days`, or undefined
 */
export function expiryText(until: number, now: number): string | undefined {
  const date = new Date(until).toISOString().slice(0, 10);
  if (until <= now) return `has expired on ${date}`;
  const days = Math.floor((until - now) / DAY_MS);
  if (days >= RENEW_BEFORE_DAYS) return undefined;
  return `expires on ${date}, in ${days === 1 ? '1 day' : `${String(days)} days`}`;
}
