// SPDX-License-Identifier: MIT
// Numbers, times and the words of others as people read them: what pg-gatewayctl, the
// status page and the problems that both show have in common. Pure.

/** What others say may hold anything: it must not move the cursor. */
export function safe(text: string): string {
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, '?');
}

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'] as const;
const STEP = 1000;

/** `0 B`, `999 B`, `1.0 kB`, `12 MB`: decimal units. */
export function bytes(count: number): string {
  let value = count;
  let unit = 0;
  while (value >= STEP - 0.5 && unit < UNITS.length - 1) {
    value /= STEP;
    unit += 1;
  }
  return `${unit > 0 && value < 9.95 ? value.toFixed(1) : Math.round(value).toString()} ${UNITS[unit] ?? ''}`;
}

const MINUTE = 60;
const HOUR = 3600;
const DAY = 86_400;

/** `0.4 s`, `12 s`, `3 min 4 s`, `2 h 5 min`, `3 d 4 h`: two units at most. */
export function duration(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < MINUTE) return `${whole} s`;
  if (whole < HOUR) return `${Math.floor(whole / MINUTE)} min ${whole % MINUTE} s`;
  if (whole < DAY) return `${Math.floor(whole / HOUR)} h ${Math.floor((whole % HOUR) / MINUTE)} min`;
  return `${Math.floor(whole / DAY)} d ${Math.floor((whole % DAY) / HOUR)} h`;
}

/** `2026-11-30 00:12:35.123Z` of an ISO 8601 time. */
export function moment(iso: string): string {
  return iso.replace('T', ' ');
}

/** Seconds since an ISO 8601 time; `nowMs`: milliseconds since 1970. */
export function secondsSince(iso: string, nowMs: number): number {
  return Math.max(0, (nowMs - Date.parse(iso)) / 1000);
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** `192.0.2.7:5432`, `[2001:db8::7]:5432` */
export function hostPort(address: string, port: number): string {
  return address.includes(':') ? `[${safe(address)}]:${port}` : `${safe(address)}:${port}`;
}
