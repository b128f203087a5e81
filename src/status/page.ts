// SPDX-License-Identifier: MIT
// The status page: one document that has all it needs in it. Pure, so that it is the same
// for the browser that loads it, for its own script, and for who has no JavaScript.

import { createHash } from 'node:crypto';

import type { FailoversDocument, StatusDocument } from '../control/documents.js';
import { duration, secondsSince } from '../readable.js';
import { html, Markup } from './html.js';
import { ICON_SHEET, tabIcon } from './icons.js';
import { SCRIPT } from './script.js';
import {
  figuresSection,
  headlineOf,
  orderSections,
  problemsSection,
  serversSection,
  time,
  verdictSection,
} from './sections.js';
import { STYLE } from './style.js';
import { timelineSection } from './timeline.js';
import type { TrafficPoint } from './traffic-ring.js';

export interface PageOptions {
  /** Of the machine: who has two gateways must know which one this is. */
  readonly host: string;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/** To the letter what the policy has the digests of. */
const STYLE_ELEMENT = new Markup(`<style>${STYLE}</style>`);
const SCRIPT_ELEMENT = new Markup(`<script>${SCRIPT}</script>`);

/** How often a browser without JavaScript loads it again. */
const RELOAD_SECONDS = 10;

function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64');
}

/** What is sent with it: nothing is loaded, run, sent or framed but what is written here. */
export function pageHeaders(): Readonly<Record<string, string>> {
  const policy = [
    "default-src 'none'",
    `style-src 'sha256-${digest(STYLE)}'`,
    `script-src 'sha256-${digest(SCRIPT)}'`,
    "connect-src 'self'",
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ];
  return {
    'Content-Security-Policy': policy.join('; '),
    'X-Frame-Options': 'DENY',
    'Referrer-Policy': 'no-referrer',
    'Cross-Origin-Resource-Policy': 'same-origin',
  };
}

/**
 * HTML. `data-page` tells the script whether what it has fetched is of the same program: if not, it is loaded anew.
 * @param points of the last hour
 */
export function statusPage(
  status: StatusDocument,
  points: readonly TrafficPoint[],
  history: FailoversDocument,
  options: PageOptions,
): string {
  const { now, host } = options;
  const marks = history.failovers.map(({ at }) => secondsSince(at, now));
  const title = `${status.health.toUpperCase()}: ${headlineOf(status)} - pg-gateway on ${host}`;
  return html`<!DOCTYPE html>
    <html lang="en" data-page="${digest(STYLE + SCRIPT)}">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="robots" content="noindex" />
        <title>${title}</title>
        <link rel="icon" id="icon" href="${tabIcon(status.health)}" />
        <noscript><meta http-equiv="refresh" content="${RELOAD_SECONDS}" /></noscript>
        ${STYLE_ELEMENT}
      </head>
      <body>
        ${ICON_SHEET}
        <div id="stale" hidden>
          <span role="alert"><strong>NO ANSWER FROM THE GATEWAY.</strong> <i></i> What is below is old.</span>
          <span>The last answer was <b></b> ago.</span>
        </div>
        ${topOf(status, options)}
        <main id="main">
          ${verdictSection(status, now)} ${orderSections(status, now)} ${problemsSection(status)}
          ${figuresSection(status, points, marks)} ${serversSection(status, now)}
          ${timelineSection(status, history, now)}
        </main>
        <footer>
          <span>Read-only: orders are given with <code>pg-gatewayctl</code>.</span><a href="metrics">/metrics</a
          ><a href="healthz">/healthz</a><a href="readyz">/readyz</a>
        </footer>
        ${SCRIPT_ELEMENT}
      </body>
    </html> `.text;
}

function topOf({ version, pid, uptime_seconds: uptime }: StatusDocument, { host, now }: PageOptions): Markup {
  const refreshing = html`<noscript>, loaded again every ${RELOAD_SECONDS} s</noscript>`;
  return html`<header class="top" id="top">
    <span class="name">pg-gateway</span><span class="host">${host}</span>
    <span class="soft">${version}, up ${duration(uptime)}, process ${pid}</span>
    <span class="asof"><span id="live">live</span>As of ${time(new Date(now).toISOString())}${refreshing}</span>
  </header>`;
}
