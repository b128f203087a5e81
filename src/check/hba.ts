// SPDX-License-Identifier: MIT
// What a server needs for the probes to log in: a role, and a line of pg_hba.conf
// ("21.1. The pg_hba.conf File" in the PostgreSQL manual). Pure.

import { isIPv6 } from 'node:net';

import { oneLine } from '../config-problems.js';
import type { ProbeConfig } from '../config.js';
import type { InstalledService } from '../installed-service.js';
import { wrap } from '../text-layout.js';
import type { Inspected, Source } from './facts.js';

/** Stands for an address that nobody could tell. */
export const UNKNOWN_SOURCE = 'GATEWAY_ADDRESS/32';

/** The line that lets the probes in, from this address. */
export function hbaLine(probe: ProbeConfig, source: Pick<Source, 'address'> | undefined): string {
  const database = quotedInHba(probe.database);
  const user = quotedInHba(probe.user ?? 'PROBE_USER');
  return [connectionType(probe), database, user, hbaAddress(source), authMethod(probe)].join('  ');
}

/** The way the probes ask for: what they do not insist on is not demanded of them. */
function connectionType({ tls }: ProbeConfig): string {
  return tls.mode === 'disable' || tls.mode === 'prefer' ? 'host' : 'hostssl';
}

/** A certificate is what they log in with if there is nothing else. It needs hostssl, and so an sslmode that insists. */
function authMethod(probe: ProbeConfig): 'cert' | 'scram-sha-256' {
  const { tls, password, passfile } = probe;
  const certificateAlone = tls.cert !== undefined && password === undefined && passfile === undefined;
  return certificateAlone && connectionType(probe) === 'hostssl' ? 'cert' : 'scram-sha-256';
}

function hbaAddress(source: Pick<Source, 'address'> | undefined): string {
  if (source === undefined) return UNKNOWN_SOURCE;
  return `${source.address}/${isIPv6(source.address) ? '128' : '32'}`;
}

/** Quoted, a word of the file has no meaning but itself: `all`, `replication`, `+group`, `@file`. */
function quotedInHba(name: string): string {
  const plain = /^[a-z_][a-z0-9_]*$/i.test(name) && !HBA_WORDS.has(name.toLowerCase());
  return plain ? name : oneLine(`"${name.replaceAll('"', '""')}"`);
}

const HBA_WORDS: ReadonlySet<string> = new Set(['all', 'sameuser', 'samerole', 'samegroup', 'replication']);

/** An SQL identifier; always quoted, but where it is certain that it need not be. */
export function quotedInSql(name: string): string {
  return /^[a-z_][a-z0-9_]*$/.test(name) && !SQL_WORDS.has(name) ? name : oneLine(`"${name.replaceAll('"', '""')}"`);
}

/** Reserved words that somebody might call a role or a database ("Appendix C" in the manual). */
const SQL_WORDS: ReadonlySet<string> = new Set(
  `all analyse analyze and any array as asc both case cast check collate column constraint create current_role
  current_user default deferrable desc distinct do else end except false fetch for foreign from grant group having in
  initially intersect into lateral leading limit localtime not null offset on only or order placing primary public
  references returning select session_user some symmetric system_user table then to trailing true union unique user
  using variadic when where window with`.split(/\s+/),
);

/**
 * The text of `--print-hba`: the role, then the lines of each server. Its comments are such in both places.
 * No secret is in it: psql asks for the password.
 * @param service it is for, if it is not for who asks
 */
export function hbaText(probe: ProbeConfig, inspected: readonly Inspected[], service?: InstalledService): string {
  const whose = service === undefined ? [] : [`-- For ${service.unit}, which is the user ${service.user}.`];
  return [...whose, ...roleLines(probe), '', ...fileLines(probe, inspected), ''].join('\n');
}

function roleLines(probe: ProbeConfig): string[] {
  const user = quotedInSql(probe.user ?? 'PROBE_USER');
  const byPassword = authMethod(probe) !== 'cert';
  return [
    ...comment('--', 'The role of the probes: in psql on the primary, as a superuser. Standbys get it from there.'),
    ...(byPassword ? ["SET password_encryption = 'scram-sha-256';"] : []),
    `CREATE ROLE ${user} LOGIN;`,
    ...(byPassword
      ? [...comment('--', 'Asks for the password, which so is in no log and no history.'), `\\password ${user}`]
      : comment('--', 'It logs in by a certificate, whose CN is the name of the role, and has no password.')),
    ...comment('--', 'Not needed: it lets the gateway see which timeline a standby streams.'),
    `GRANT pg_read_all_stats TO ${user};`,
  ];
}

function fileLines(probe: ProbeConfig, inspected: readonly Inspected[]): string[] {
  const groups = new Map<string, Inspected[]>();
  for (const one of inspected) {
    const key = `${one.source?.toldBy ?? ''} ${one.source?.address ?? ''}`;
    groups.set(key, [...(groups.get(key) ?? []), one]);
  }
  return [
    ...comment('#', 'pg_hba.conf: of each server, above lines that catch the same; then SELECT pg_reload_conf();'),
    ...[...groups.values()].flatMap((group) => [
      `# ${group.map(({ candidate }) => candidate.name).join(', ')}: ${sourceText(group[0]?.source)}`,
      hbaLine(probe, group[0]?.source),
    ]),
    ...comment(
      '#',
      'Clients of the gateway come from there too: they need lines of their own, by a password or a certificate, never by trust.',
    ),
  ];
}

function sourceText(source: Source | undefined): string {
  if (source === undefined) {
    return `where the gateway comes from could not be told: put its address in the place of ${UNKNOWN_SOURCE}.`;
  }
  if (source.toldBy === 'server') return 'the address is the one that the server sees.';
  return 'the address is the one that this machine would use; behind NAT the server sees another.';
}

function comment(sign: string, text: string): string[] {
  return wrap(text, `${sign} `).map((line) => line.trimEnd());
}
