// SPDX-License-Identifier: MIT
// One screen of `pg-gatewayctl top`: the status, and the sessions that do most. Pure: the
// same two looks at the gateway always make the same lines.

import type { SessionDocument, SessionsDocument, StatusDocument } from '../control/documents.js';
import { bytes, duration, plural, safe } from '../readable.js';
import { clientOf, headLine, serverLines } from './render.js';
import type { Style } from './render.js';
import { table } from './text.js';
import type { Cell, Column } from './text.js';

export const SORTS = ['rate', 'age', 'idle'] as const;
export type Sort = (typeof SORTS)[number];

/** What was seen at one moment. */
export interface Look {
  /** Monotonic milliseconds. */
  readonly at: number;
  readonly status: StatusDocument;
  readonly sessions: SessionsDocument;
}

export interface Size {
  readonly columns: number;
  readonly rows: number;
}

export interface ScreenInput {
  readonly look: Look;
  /** The one before, if there was one: rates are told from the two. */
  readonly before: Look | undefined;
  readonly sort: Sort;
  readonly size: Size;
  /** Why the last look failed; what is shown is older. */
  readonly trouble: string | undefined;
  readonly style: Style;
}

interface Busy {
  readonly session: SessionDocument;
  /** Bytes a second each way; undefined: it was not there before. */
  readonly up: number | undefined;
  readonly down: number | undefined;
}

const COLUMNS: readonly Column[] = [
  { title: 'ID', right: true },
  { title: 'CLIENT', shrinks: true },
  { title: 'SERVER', shrinks: true },
  { title: 'PORT', right: true },
  { title: 'AGE', right: true },
  { title: 'IDLE', right: true },
  { title: 'SENT/s', right: true },
  { title: 'RCVD/s', right: true },
];

/** As many lines as the terminal has rows, none wider than it; the keys are in the last one. */
export function screenLines(input: ScreenInput): readonly string[] {
  const { look, size, sort, trouble, style } = input;
  const { status, sessions } = look;
  const busy = sorted(busyOf(input), sort);
  const { clients, verdict, primary } = status;
  const what =
    primary === null ? `no primary: ${verdict.detail}` : `primary ${primary.server}, timeline ${primary.timeline}`;
  const state = [
    ...(status.hold === null ? [] : ['held by an administrator']),
    ...(status.drain === null ? [] : ['draining']),
  ];
  const lines = [
    headLine(status, style),
    [safe(what), ...state].join(', '),
    `${plural(clients.sessions, 'session')}, ${clients.held} waiting; ${totals(input)}`,
    trouble === undefined ? '' : style.paint('red', safe(trouble)),
    ...serverLines(status.servers, style, size.columns),
    '',
    // What is below the last row makes no column wider.
    ...table(COLUMNS, busy.slice(0, size.rows).map(cells), style.paint, size.columns),
  ];
  const keys = `q quit   s sort (by ${sort})   space look   ${shown(sessions)}`;
  const room = Math.max(0, size.rows - 1);
  const blank = Array.from({ length: Math.max(0, room - lines.length) }, () => '');
  return [...lines.slice(0, room), ...blank, style.paint('dim', keys)].map((line) => fit(line, size.columns));
}

export function nextSort(sort: Sort): Sort {
  return SORTS[(SORTS.indexOf(sort) + 1) % SORTS.length] ?? 'rate';
}

/** Cut to a number of columns; colours take none, and end with the line. */
export function fit(line: string, columns: number): string {
  let width = 0;
  let out = '';
  let inColour = false;
  for (const [part] of line.matchAll(/\x1b\[\d+m|./gu)) {
    if (part.startsWith('\x1b')) {
      inColour = part !== '\x1b[0m';
    } else {
      width += 1;
      if (width > columns) break;
    }
    out += part;
  }
  return inColour && !out.endsWith('\x1b[0m') ? `${out}\x1b[0m` : out;
}

function busyOf({ look, before }: ScreenInput): readonly Busy[] {
  const known = new Map(before?.sessions.sessions.map((session) => [session.id, session]));
  const seconds = before === undefined ? 0 : (look.at - before.at) / 1000;
  return look.sessions.sessions.map((session) => {
    const earlier = known.get(session.id);
    if (earlier === undefined || seconds <= 0) return { session, up: undefined, down: undefined };
    const rate = (now: number, then: number): number => Math.max(0, now - then) / seconds;
    return {
      session,
      up: rate(session.bytes_client_to_server, earlier.bytes_client_to_server),
      down: rate(session.bytes_server_to_client, earlier.bytes_server_to_client),
    };
  });
}

function sorted(busy: readonly Busy[], sort: Sort): readonly Busy[] {
  const weight = ({ session, up = 0, down = 0 }: Busy): number => {
    if (sort === 'rate') return up + down;
    return sort === 'age' ? session.age_seconds : (session.idle_seconds ?? -1);
  };
  return [...busy].sort((one, other) => weight(other) - weight(one) || one.session.id - other.session.id);
}

/** By what the gateway counts: sessions that are not listed, or that came and went between the looks, are in it. */
function totals({ look, before }: ScreenInput): string {
  const rate = (key: 'bytes_client_to_server_total' | 'bytes_server_to_client_total'): string => {
    const seconds = before === undefined ? 0 : (look.at - before.at) / 1000;
    if (before === undefined || seconds <= 0) return '-';
    return `${bytes(Math.max(0, look.status.clients[key] - before.status.clients[key]) / seconds)}/s`;
  };
  return `clients send ${rate('bytes_client_to_server_total')}, receive ${rate('bytes_server_to_client_total')}`;
}

function shown({ sessions, matching }: SessionsDocument): string {
  return sessions.length < matching ? `the oldest ${sessions.length} of ${matching} sessions` : '';
}

function cells({ session, up, down }: Busy): Cell[] {
  const { id, state, server, source_port: port, age_seconds: age, idle_seconds: idle } = session;
  return [
    { text: id.toString() },
    { text: clientOf(session) },
    { text: server === null ? state : safe(server) },
    { text: port?.toString() ?? '-' },
    { text: tight(age) },
    { text: idle === null ? '-' : tight(idle) },
    { text: up === undefined ? '-' : bytes(up) },
    { text: down === undefined ? '-' : bytes(down) },
  ];
}

/** `3m20s`, `23h59m`: a duration in a row that must fit into 80 columns. */
function tight(seconds: number): string {
  return duration(seconds).replace(' min', 'm').replaceAll(' ', '');
}
