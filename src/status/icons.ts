// SPDX-License-Identifier: MIT
// The symbols of the page. Each has a shape of its own, so that none is told by its colour alone.

import type { Health } from '../control/documents.js';
import { html, Markup } from './html.js';

/** Drawn in a square of 24; `glyph` is what is cut out of the shape. */
const SHAPES = {
  ok: '<circle cx="12" cy="12" r="11"/><path class="glyph" d="M6.8 12.6l3.7 3.7 6.9-8"/>',
  warning: '<path d="M12 1.2 23.6 21.8H.4z"/><path class="glyph" d="M12 9v5.4M12 18.1v.1"/>',
  critical: '<path d="M7.4 1h9.2L23 7.4v9.2L16.6 23H7.4L1 16.6V7.4z"/><path class="glyph" d="M8 8l8 8M16 8l-8 8"/>',
  pause: '<rect x="1" y="1" width="22" height="22" rx="5"/><path class="glyph" d="M9 7.5v9M15 7.5v9"/>',
  drain: '<rect x="1" y="1" width="22" height="22" rx="5"/><path class="glyph" d="M12 6v11M7.2 12.6l4.8 4.8 4.8-4.8"/>',
  unknown:
    '<circle cx="12" cy="12" r="11"/><path class="glyph" d="M8.8 9.2a3.2 3.2 0 1 1 4.6 2.9c-.9.5-1.4 1-1.4 2.1M12 18v.1"/>',
  standby: '<path d="M12 1a11 11 0 1 0 0 22 11 11 0 0 0 0-22zm0 4a7 7 0 1 1 0 14 7 7 0 0 1 0-14z"/>',
} as const;

export type Icon = keyof typeof SHAPES;

/** What the page holds once, and uses many times. */
export const ICON_SHEET = new Markup(
  `<svg class="sheet" width="0" height="0" aria-hidden="true" focusable="false">${Object.entries(SHAPES)
    .map(([name, shape]) => `<symbol id="i-${name}" viewBox="0 0 24 24">${shape}</symbol>`)
    .join('')}</svg>`,
);

/** Beside a word that says the same: who cannot see it misses nothing. */
export function icon(name: Icon): Markup {
  return html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
    <use href="#i-${name}" />
  </svg>`;
}

const TAB_COLOURS: Readonly<Record<Health, string>> = { ok: '#16803c', warning: '#b45309', critical: '#c81e1e' };

/** What the browser shows on the tab, as the address of an image. */
export function tabIcon(health: Health): string {
  const shape = SHAPES[health].replace(
    'class="glyph"',
    'fill="none" stroke="#fff" stroke-width="2.8" stroke-linecap="round"',
  );
  const image = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="${TAB_COLOURS[health]}">${shape}</svg>`;
  return `data:image/svg+xml,${encodeURIComponent(image)}`;
}
