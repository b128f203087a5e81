// SPDX-License-Identifier: MIT
// Markup from templates: what is put in is text, and escaped, unless it is markup itself.

import { safe } from '../readable.js';

/** Markup, to be put in as it is. */
export class Markup {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  toString(): string {
    return this.text;
  }
}

export type Part = Markup | string | number | readonly Markup[];

/** Nothing. */
export const NONE = new Markup('');

/** Text and attribute values, which stand in double quotes. */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Markup {
  return new Markup(String.raw({ raw: strings }, ...parts.map(textOf)));
}

function textOf(part: Part): string {
  if (part instanceof Markup) return part.text;
  if (typeof part === 'object') return part.map(({ text }) => text).join('');
  return escaped(String(part));
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

function escaped(text: string): string {
  return safe(text).replace(/[&<>"']/g, (sign) => ENTITIES[sign] ?? '');
}
