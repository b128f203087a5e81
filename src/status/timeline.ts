// SPDX-License-Identifier: MIT
// The failovers of this process as a timeline, the latest first. Pure.

import type { FailoverDocument, FailoversDocument, StatusDocument } from '../control/documents.js';
import { duration, moment, plural, secondsSince } from '../readable.js';
import { html, NONE } from './html.js';
import type { Markup } from './html.js';
import { breakable, time } from './sections.js';

/** More are in `pg-gatewayctl failovers`. */
const MAX_SHOWN = 20;

export function timelineSection({ verdict }: StatusDocument, history: FailoversDocument, now: number): Markup {
  const { failovers, total, since } = history;
  const shown = failovers.slice(0, MAX_SHOWN);
  const more = total - shown.length;
  const remembered = failovers.length - shown.length;
  return html`<section id="failovers">
    <h2>${total === 0 ? 'No failover' : plural(total, 'failover')} <small>since the start</small></h2>
    <ol>
      ${
        verdict.kind === 'none'
          ? html`<li class="running" id="outage">
              <h3>No primary for ${duration(secondsSince(verdict.since, now))}</h3>
              <p><code>${verdict.reason}</code> ${verdict.detail}</p>
            </li>`
          : NONE
      }${shown.map((failover, at) => failoverItem(failover, total - at, at === 0, now))}${
        more === 0
          ? NONE
          : html`<li class="more">
              ${more} earlier:
              <code>pg-gatewayctl failovers</code>${more > remembered ? ` has ${remembered} of them` : ''}
            </li>`
      }
      <li class="start">Start of the process, ${time(since)}</li>
    </ol>
  </section>`;
}

function failoverItem(failover: FailoverDocument, number: number, open: boolean, now: number): Markup {
  const { at, old, new: next, old_timeline, new_timeline, decided_in_ms, sessions_cut, clients_held, cause } = failover;
  const steps = failover.steps.map(
    (step) =>
      html`<tr>
        <td>+${step.ms.toFixed(1)} ms</td>
        <th scope="row">${step.step}</th>
        <td>${step.detail}</td>
      </tr>`,
  );
  return html`<li id="failover-${number}"><p class="when">${time(at)}, ${duration(secondsSince(at, now))} ago</p>
<h3>${breakable(old)} → ${breakable(next)}</h3>
<p class="facts"><span>decided in ${decided_in_ms.toFixed(1)} ms</span><span>timeline ${old_timeline} → ${new_timeline}</span><span>${plural(sessions_cut, 'session')} cut</span><span>${plural(clients_held, 'client')} held</span></p>
<p>${cause}</p>
<details${open ? OPEN : NONE}><summary>Steps from ${moment(failover.steps[0]?.at ?? at)}</summary><table>${steps}</table></details></li>`;
}

const OPEN = html` open`;
