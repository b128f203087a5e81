// SPDX-License-Identifier: MIT
// What the gateway answers, for people: lines for a terminal. Pure.

import { BOUNDS } from '../control/documents.js';
import type {
  FailoverDocument,
  FailoversDocument,
  Health,
  ServerDocument,
  ServerRole,
  SessionDocument,
  SessionsDocument,
  StatusDocument,
} from '../control/documents.js';
import { bytes, duration, hostPort, moment, plural, safe, secondsSince } from '../readable.js';
import { table } from './text.js';
import type { Cell, Colour, Column, Paint } from './text.js';

export interface Style {
  readonly paint: Paint;
  /** Milliseconds since 1970. */
  readonly nowMs: number;
}

const HEALTH: Readonly<Record<Health, Colour>> = { ok: 'green', warning: 'yellow', critical: 'red' };
const ROLES: Readonly<Record<ServerRole, Colour | undefined>> = {
  primary: 'green',
  standby: undefined,
  'read-only': 'yellow',
  writable: 'yellow',
  fenced: 'red',
  down: 'red',
  unprobed: 'yellow',
};

/** The whole in one look: the verdict first. */
export function statusLines(status: StatusDocument, style: Style): readonly string[] {
  const { failovers, last_failover: last } = status;
  return [
    headLine(status, style),
    ...factLines(status, style),
    '',
    ...serverLines(status.servers, style),
    ...problemLines(status, style),
    ...(last === null ? [] : ['', `${plural(failovers, 'failover')}, the last one:`, failoverLine(last)]),
  ];
}

export function headLine({ health, version, uptime_seconds, pid }: StatusDocument, { paint }: Style): string {
  const word = paint(HEALTH[health], health.toUpperCase());
  return `${word}  pg-gateway ${safe(version)}, up ${duration(uptime_seconds)}, process ${pid}`;
}

function factLines(status: StatusDocument, { nowMs }: Style): readonly string[] {
  const { verdict, primary, clients, hold, drain, sessions_kept: kept } = status;
  const since = `for ${duration(secondsSince(verdict.since, nowMs))}`;
  const what =
    primary === null
      ? `none ${since}: ${verdict.reason}`
      : `${primary.server} on timeline ${primary.timeline} ${since}: ${verdict.reason}`;
  const fate = kept === null ? 'they end with the process' : `${kept} would outlive the process`;
  const left = (until: string): string => duration(Math.max(0, -secondsUntil(until, nowMs)));
  return [
    `primary   ${safe(what)}`,
    // With a primary it says no more than the line before.
    ...(primary === null ? [`          ${safe(verdict.detail)}`] : []),
    `clients   ${plural(clients.sessions, 'session')}, ${clients.held} waiting${clients.silent === 0 ? '' : `, ${clients.silent} that have said nothing yet`}, of ${clients.limit} at most`,
    `sessions  ${fate}`,
    ...(hold === null ? [] : [`hold      new clients wait; it ends by itself in ${left(hold.until)}`]),
    ...(drain === null ? [] : [`drain     no new clients; sessions are waited for, ${left(drain.until)} more`]),
  ];
}

/** Negative: it is still to come. */
function secondsUntil(iso: string, nowMs: number): number {
  return (nowMs - Date.parse(iso)) / 1000;
}

const SERVER_COLUMNS: readonly Column[] = [
  { title: 'SERVER', shrinks: true },
  { title: 'ROLE' },
  { title: 'TL', right: true },
  { title: 'LAG', right: true },
  { title: 'SESSIONS', right: true },
  { title: 'PROBE', right: true },
  { title: 'SEEN', right: true },
  { title: 'FOR', right: true },
  { title: 'ADDRESS' },
];

/** @param room columns of the terminal, if names are to be shortened for it */
export function serverLines(
  servers: readonly ServerDocument[],
  { paint, nowMs }: Style,
  room?: number,
): readonly string[] {
  const rows = servers.map((server): Cell[] => {
    const { name, role, timeline, lag_bytes, sessions, probe_ms, probe_age_seconds, since, address, port } = server;
    const colour = ROLES[role];
    return [
      { text: safe(name) },
      { text: role, ...(colour === undefined ? {} : { colour }) },
      { text: timeline?.toString() ?? '-' },
      { text: lag_bytes === null ? '-' : bytes(lag_bytes) },
      { text: sessions.toString() },
      { text: probe_ms === null ? '-' : `${probe_ms.toFixed(1)} ms` },
      { text: probe_age_seconds === null ? 'never' : `${duration(probe_age_seconds)} ago` },
      { text: since === null ? '-' : duration(secondsSince(since, nowMs)) },
      { text: address === null ? '-' : hostPort(address, port) },
    ];
  });
  return table(SERVER_COLUMNS, rows, paint, room);
}

export function problemLines({ problems, health }: StatusDocument, { paint }: Style): readonly string[] {
  if (problems.length === 0) return [];
  return ['', ...problems.map((problem) => `${paint(HEALTH[health], '!')} ${safe(problem)}`)];
}

const SESSION_COLUMNS: readonly Column[] = [
  { title: 'ID', right: true },
  { title: 'STATE' },
  { title: 'CLIENT' },
  { title: 'SERVER' },
  { title: 'PORT', right: true },
  { title: 'AGE', right: true },
  { title: 'IDLE', right: true },
  { title: 'SENT', right: true },
  { title: 'RECEIVED', right: true },
];

/** SENT and RECEIVED are the client's. */
export function sessionsLines({ sessions, matching }: SessionsDocument, { paint }: Style): readonly string[] {
  return [
    ...table(SESSION_COLUMNS, sessions.map(sessionCells), paint),
    sessions.length < matching ? leftOutLine(sessions.length, matching) : plural(matching, 'session'),
  ];
}

function leftOutLine(listed: number, matching: number): string {
  const which = `the oldest ${listed} of ${plural(matching, 'session')}`;
  if (listed < BOUNDS.listed) return `${which}: --limit shows more`;
  return `${which}: more are never listed; --client, --server, --idle and --port choose among them`;
}

function sessionCells(session: SessionDocument): Cell[] {
  const { idle_seconds: idle, server } = session;
  return [
    { text: session.id.toString() },
    { text: session.state, ...(session.state === 'open' ? {} : { colour: 'yellow' as const }) },
    { text: clientOf(session) },
    { text: server === null ? '-' : safe(server) },
    { text: session.source_port?.toString() ?? '-' },
    { text: duration(session.age_seconds) },
    { text: idle === null ? '-' : duration(idle) },
    { text: bytes(session.bytes_client_to_server) },
    { text: bytes(session.bytes_server_to_client) },
  ];
}

export function clientOf({ client_address: address, client_port: port }: SessionDocument): string {
  return port === null ? safe(address) : hostPort(address, port);
}

export function failoversLines({ since, total, failovers }: FailoversDocument): readonly string[] {
  const count = total === 0 ? 'No failover' : plural(total, 'failover');
  return [
    `${count} since ${moment(since)}${total > failovers.length ? `, the last ${failovers.length}:` : ''}`,
    ...failovers.flatMap((failover) => [
      '',
      failoverLine(failover),
      ...failover.steps.map(
        ({ at, step, ms, detail }) =>
          `  ${moment(at)}  ${`+${ms.toFixed(1)}`.padStart(9)} ms  ${step.padEnd(6)}  ${safe(detail)}`,
      ),
    ]),
  ];
}

export function failoverLine(failover: FailoverDocument): string {
  const { at, old, new: next, old_timeline, new_timeline, decided_in_ms, sessions_cut, clients_held } = failover;
  const cost = `${plural(sessions_cut, 'session')} cut, ${plural(clients_held, 'client')} held`;
  const servers = `${safe(old)} -> ${safe(next)}, timeline ${old_timeline} -> ${new_timeline}`;
  return `${moment(at)}  ${servers}, decided in ${decided_in_ms.toFixed(1)} ms, ${cost}`;
}
