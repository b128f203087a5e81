// SPDX-License-Identifier: MIT
// The parts of the page that are of this moment: the verdict, what is ordered, what is
// wrong, the figures with their last hour, the servers. Pure.

import type { Health, ServerDocument, ServerRole, StatusDocument } from '../control/documents.js';
import { bytes, duration, hostPort, moment, plural, secondsSince } from '../readable.js';
import { html, NONE } from './html.js';
import type { Markup } from './html.js';
import { icon } from './icons.js';
import type { Icon } from './icons.js';
import { spanOf, sparkline } from './sparkline.js';
import type { TrafficPoint } from './traffic-ring.js';

/** The whole in a few words, for the largest letters and for the title. */
export function headlineOf({ verdict, primary, servers }: StatusDocument): string {
  if (verdict.kind === 'unknown') return 'Looking for the primary';
  if (primary === null) return verdict.reason === 'split-brain' ? 'Split brain: no primary' : 'No primary';
  if (verdict.suspected) return `${primary.server} is in doubt`;
  const rivals = servers.filter(({ role, reason }) => role === 'fenced' && reason === 'rival');
  return rivals.length > 0 ? `${primary.server}, in a split brain` : `${primary.server} is the primary`;
}

/** The verdict: a colour, a symbol and a word that say the same. */
export function verdictSection(status: StatusDocument, now: number): Markup {
  const { health, verdict, primary } = status;
  const since = html`for ${duration(secondsSince(verdict.since, now))}, since ${time(verdict.since)}`;
  const where =
    primary === null ? NONE : html`Timeline ${primary.timeline}, ${hostPort(primary.address, primary.port)}, `;
  return html`<section id="verdict" class="${health}">
    ${icon(health)}
    <div>
      <div role="status">
        <h1>
          <span class="word">${health.toUpperCase()}</span>
          <span class="headline">${breakable(headlineOf(status))}</span>
        </h1>
      </div>
      <p>${where}${since}</p>
      <p><code>${verdict.reason}</code> ${verdict.detail}</p>
    </div>
  </section>`;
}

/** A hold and a drain: what an administrator has ordered, and how long it goes on. */
export function orderSections({ hold, drain, clients }: StatusDocument, now: number): Markup {
  const left = (until: string): string => duration(Math.max(0, (Date.parse(until) - now) / 1000));
  const after = drain?.exits === true ? 'then the gateway stops' : 'then it waits no longer';
  return html`${
    hold === null
      ? NONE
      : html`<section class="order" id="hold">
          ${icon('pause')}
          <div>
            <h2>Clients are held by an administrator</h2>
            <p>
              New clients wait since ${time(hold.since)}; it ends by itself in ${left(hold.until)}.
              ${plural(clients.held, 'client waits', 'clients wait')}.
            </p>
          </div>
        </section>`
  }${
    drain === null
      ? NONE
      : html`<section class="order" id="drain">
          ${icon('drain')}
          <div>
            <h2>The gateway is being drained</h2>
            <p>
              No new clients since ${time(drain.since)}; ${plural(clients.sessions, 'session')} may end within
              ${left(drain.until)}, ${after}.
            </p>
          </div>
        </section>`
  }`;
}

export function problemsSection({ problems, health }: StatusDocument): Markup {
  if (problems.length === 0) return NONE;
  const symbol: Health = health === 'ok' ? 'warning' : health;
  return html`<section id="problems" class="${symbol}">
    <h2>${plural(problems.length, 'problem')}</h2>
    <ul>
      ${problems.map((problem) => html`<li>${icon(symbol)}<span>${problem}</span></li>`)}
    </ul>
  </section>`;
}

/** Each number with its last hour. @param marks how many seconds ago failovers were */
export function figuresSection(
  { clients, sessions_kept: kept }: StatusDocument,
  points: readonly TrafficPoint[],
  marks: readonly number[],
): Markup {
  const now = points.at(-1);
  const span = spanOf(points);
  const count = (value: number): string => String(value);
  const rate = (value: number): string => `${bytes(value)}/s`;
  const fate = kept === null ? 'end with the process' : `${kept} would outlive the process`;
  return html`<section id="figures" aria-label="Clients and traffic">
    <div class="card">
      <h2>Sessions</h2>
      <p class="figure">${clients.sessions}</p>
      <p class="note">${fate}</p>
      ${sparkline({ points, value: (point) => point.sessions, words: count, label: 'Sessions', marks, span })}
    </div>
    <div class="card${clients.held > 0 ? ' busy' : ''}">
      <h2>Waiting clients</h2>
      <p class="figure">${clients.held}</p>
      <p class="note">${clients.sessions + clients.held + clients.silent} of ${clients.limit} clients</p>
      ${sparkline({ points, value: (point) => point.held, words: count, label: 'Waiting clients', marks, span })}
    </div>
    <div class="card">
      <h2>To servers</h2>
      <p class="figure">${rate(now?.sent ?? 0)}</p>
      <p class="note">from clients</p>
      ${sparkline({ points, value: (point) => point.sent, words: rate, label: 'Bytes to servers', marks, span })}
    </div>
    <div class="card">
      <h2>To clients</h2>
      <p class="figure">${rate(now?.received ?? 0)}</p>
      <p class="note">from servers</p>
      ${sparkline({ points, value: (point) => point.received, words: rate, label: 'Bytes to clients', marks, span })}
    </div>
  </section>`;
}

/** How much of all it is; the number stands beside it. */
function share(part: number): Markup {
  return html`<svg class="share" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
    <rect class="all" width="100" height="8" />
    <rect class="part" width="${(part * 100).toFixed(1)}" height="8" />
  </svg>`;
}

interface RoleLook {
  readonly icon: Icon;
  readonly level: 'good' | 'plain' | 'doubtful' | 'bad';
}

const ROLES: Readonly<Record<ServerRole, RoleLook>> = {
  primary: { icon: 'ok', level: 'good' },
  standby: { icon: 'standby', level: 'plain' },
  'read-only': { icon: 'warning', level: 'doubtful' },
  writable: { icon: 'warning', level: 'doubtful' },
  unprobed: { icon: 'unknown', level: 'doubtful' },
  fenced: { icon: 'critical', level: 'bad' },
  down: { icon: 'critical', level: 'bad' },
};

const COLUMNS = ['Server', 'Role', 'Timeline', 'Lag', 'Sessions', 'Probe', 'Seen', 'In role', 'Address'] as const;

/** Roles are told again, for a table that is laid out as cards on a phone is none to some browsers. */
export function serversSection({ servers }: StatusDocument, now: number): Markup {
  const most = servers.reduce((sum, { sessions }) => sum + sessions, 0);
  return html`<section id="servers">
    <h2 id="servers-title">Servers</h2>
    <table role="table" aria-labelledby="servers-title">
      <thead role="rowgroup">
        <tr role="row">
          ${COLUMNS.map((title) => html`<th role="columnheader" scope="col">${title}</th>`)}
        </tr>
      </thead>
      <tbody role="rowgroup">
        ${servers.map((server) => serverRow(server, most, now))}
      </tbody>
    </table>
  </section>`;
}

function serverRow(server: ServerDocument, allSessions: number, now: number): Markup {
  const {
    name,
    role,
    timeline,
    lag_bytes: lag,
    sessions,
    probe_ms,
    probe_age_seconds: age,
    since,
    address,
    port,
  } = server;
  const { icon: symbol, level } = ROLES[role];
  const texts = [
    timeline === null ? '–' : String(timeline),
    lag === null ? '–' : bytes(lag),
    html`${sessions}${sessions === 0 ? NONE : share(sessions / allSessions)}`,
    probe_ms === null ? '–' : `${probe_ms.toFixed(1)} ms`,
    age === null ? 'never' : `${duration(age)} ago`,
    since === null ? '–' : duration(secondsSince(since, now)),
    address === null ? '–' : hostPort(address, port),
  ];
  const why = server.reason === null ? NONE : html` <code>${server.reason}</code>`;
  return html`<tr role="row" class="${level}">
    <th role="rowheader" scope="row">${breakable(name)}</th>
    <td role="cell" class="role"><span class="badge">${icon(symbol)}${role}</span>${why}</td>
    ${texts.map((text, at) => html`<td role="cell" data-title="${COLUMNS[at + 2] ?? ''}">${text}</td>`)}
  </tr>`;
}

/** Long names of servers are broken between their parts. */
export function breakable(text: string): readonly Markup[] {
  return text
    .split(/(?<=\.)(?=\D)|(?=:\d+(?:,|\s|$))/u)
    .map((part, at) => (at === 0 ? html`${part}` : html`<wbr />${part}`));
}

/** `2026-11-30 00:12:35Z` */
export function time(iso: string): Markup {
  return html`<time datetime="${iso}">${moment(iso).replace(/\.\d+Z$/u, 'Z')}</time>`;
}
