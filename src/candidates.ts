// SPDX-License-Identifier: MIT
// The candidate list: `host:port` items, parsed and named.
//
// Pure text work: nothing is looked up here. A list is either wholly good or it
// comes with every fault it has.

import { isIPv4, isIPv6, SocketAddress } from 'node:net';

/** One server of the cluster, as the configuration names it, or one of the addresses of such a name. */
export interface Candidate {
  /** Host name or literal address, without brackets. */
  readonly host: string;
  /** 1..65535 */
  readonly port: number;
  /** Which of the host's addresses is meant, where it has several: literal, without brackets. */
  readonly address?: string;
  /** Unique, as shown in logs and metrics: `host:port`, or `[v6]:port`; with an address `host:port/address`. */
  readonly name: string;
}

/** The port of an item that names none: PostgreSQL's. */
export const DEFAULT_CANDIDATE_PORT = 5432;

/**
 * How many are configured, and how many are watched where names have several addresses. The data plane has twice as
 * many server slots, so that servers which are candidates no more keep theirs while sessions are on them.
 */
export const MAX_CANDIDATES = 64;

export type CandidateList =
  | { readonly kind: 'good'; readonly candidates: readonly Candidate[] }
  /** Each problem is one sentence without a line break. */
  | { readonly kind: 'bad'; readonly problems: readonly string[] };

type Item =
  { readonly kind: 'good'; readonly candidate: Candidate } | { readonly kind: 'bad'; readonly problem: string };

/** `a:5432, b c` -> its items. Commas and white space divide, in any mixture. */
export function splitCandidates(text: string): string[] {
  return text.split(/[\s,]+/).filter((item) => item !== '');
}

/**
 * Parses a list of items: `host`, `host:port`, `[v6]` or `[v6]:port`. The order is kept.
 * Faults: no item at all, a malformed item, two items for one server, more than `MAX_CANDIDATES`.
 */
export function parseCandidates(items: readonly string[]): CandidateList {
  const candidates: Candidate[] = [];
  const problems: string[] = [];
  const seen = new Map<string, string>();
  // Not item by item: a password that has a space in it would be two, and be quoted.
  if (items.some((item) => /^\w+=/.test(item))) {
    return { kind: 'bad', problems: ['expected host:port, not a connection string of key=value'] };
  }
  if (items.length === 0) problems.push('expected at least one server, as in "db1:5432,db2:5432"');
  if (items.length > MAX_CANDIDATES) {
    problems.push(`expected at most ${String(MAX_CANDIDATES)} servers, found ${String(items.length)}`);
  }
  for (const text of items.slice(0, MAX_CANDIDATES)) {
    const item = parseItem(text);
    if (item.kind === 'bad') {
      problems.push(item.problem);
      continue;
    }
    const identity = identityOf(item.candidate);
    const before = seen.get(identity);
    if (before !== undefined) {
      problems.push(`${quote(text)} names the same server as ${quote(before)}: expected each server once`);
      continue;
    }
    seen.set(identity, text);
    candidates.push(item.candidate);
  }
  return problems.length === 0 ? { kind: 'good', candidates } : { kind: 'bad', problems };
}

/** What a host name or address must look like, or undefined if this one does. Brackets are not part of a host. */
export function hostProblem(host: string): string | undefined {
  if (isIPv4(host) || (host.includes(':') && isIPv6(host))) return undefined;
  if (/^[\d.]+$/.test(host)) return `${quote(host)} is not an IPv4 address`;
  if (host.includes(':')) return `${quote(host)} is not an IPv6 address`;
  // RFC 1123 names, and the underscore that container networks put into theirs.
  // The first and last sign must be a letter or a digit (one closing dot is a rooted name).
  if (host.length <= 253 && /^[a-z\d](?:[a-z\d._-]*[a-z\d])?\.?$/i.test(host) && !host.includes('..')) return undefined;
  return `${quote(host)} is not a host name or an IP address`;
}

/** How `host` and `port` are written together: an IPv6 address in brackets. */
export function formatHostPort(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${String(port)}` : `${host}:${String(port)}`;
}

/** The one of a candidate's addresses, as a candidate of its own. */
export function atAddress({ host, port }: Candidate, address: string): Candidate {
  return { host, port, address, name: `${formatHostPort(host, port)}/${address}` };
}

/** The name of the configuration's item that a candidate comes from: its own, if it is not one address of several. */
export function configuredName({ host, port }: Candidate): string {
  return formatHostPort(host, port);
}

function parseItem(text: string): Item {
  if (/[@/]/.test(text)) return { kind: 'bad', problem: inItem(text, 'expected host:port, not a URL or a path') };
  const parts = text.startsWith('[') ? splitBracketed(text) : splitPlain(text);
  if (typeof parts === 'string') return { kind: 'bad', problem: parts };
  const { host, portText } = parts;
  const wrongHost = hostProblem(host);
  if (wrongHost !== undefined) return { kind: 'bad', problem: inItem(text, wrongHost) };
  const port = portText === undefined ? DEFAULT_CANDIDATE_PORT : portFromText(portText);
  if (port === undefined) {
    const problem = `expected a port from 1 to 65535 after the colon, found ${quote(portText ?? '')}`;
    return { kind: 'bad', problem: inItem(text, problem) };
  }
  return { kind: 'good', candidate: { host, port, name: formatHostPort(host, port) } };
}

interface Parts {
  readonly host: string;
  readonly portText: string | undefined;
}

/** `[v6]` or `[v6]:port` (RFC 3986, 3.2.2); a text is what is wrong with it. */
function splitBracketed(text: string): Parts | string {
  const end = text.indexOf(']');
  if (end < 0) return inItem(text, 'the bracket "[" is not closed');
  const host = text.slice(1, end);
  const rest = text.slice(end + 1);
  if (!isIPv6(host)) return inItem(text, `${quote(host)} is not an IPv6 address`);
  if (rest === '') return { host, portText: undefined };
  if (!rest.startsWith(':')) return inItem(text, `expected ":port" or nothing after "]", found ${quote(rest)}`);
  return { host, portText: rest.slice(1) };
}

function splitPlain(text: string): Parts | string {
  const colon = text.indexOf(':');
  if (colon < 0) return { host: text, portText: undefined };
  if (text.includes(':', colon + 1)) {
    // Guessing which colon divides address and port would one day route to the wrong port.
    return inItem(
      text,
      `an IPv6 address must stand in brackets, as in "[2001:db8::1]:${String(DEFAULT_CANDIDATE_PORT)}"`,
    );
  }
  if (colon === 0) return inItem(text, 'expected a host before the colon');
  return { host: text.slice(0, colon), portText: text.slice(colon + 1) };
}

function portFromText(text: string): number | undefined {
  if (!/^\d{1,5}$/.test(text)) return undefined;
  const port = Number(text);
  return port >= 1 && port <= 65535 ? port : undefined;
}

/** One text per server, however it is spelled: names ignore case, IPv6 has many forms of one address. */
function identityOf({ host, port }: Candidate): string {
  return formatHostPort(canonicalHost(host), port);
}

function canonicalHost(host: string): string {
  if (!host.includes(':')) return host.toLowerCase();
  const [address = host, zone] = host.split('%');
  const canonical = new SocketAddress({ address, family: 'ipv6' }).address;
  return zone === undefined ? canonical : `${canonical}%${zone}`;
}

function inItem(text: string, problem: string): string {
  return `in ${quote(text)}: ${problem}`;
}

const MAX_QUOTED = 80;

function quote(text: string): string {
  const shown = JSON.stringify(withoutLogin(text));
  return shown.length <= MAX_QUOTED ? shown : `${shown.slice(0, MAX_QUOTED)}..."`;
}

/** A connection URL in place of a server has a password before its `@`, a connection string after `password=`. */
export function withoutLogin(text: string): string {
  return text
    .replace(/:\/\/[^"]*/g, '://***')
    .replace(/[^\s,"]*@/g, '***@')
    .replace(/password[\s"]*=.*/is, 'password=***');
}
