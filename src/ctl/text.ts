// SPDX-License-Identifier: MIT
// Colours and tables for a terminal. Pure.

export type Colour = 'red' | 'yellow' | 'green' | 'bold' | 'dim';

/** Text in a colour, or as it is. */
export type Paint = (colour: Colour, text: string) => string;

const CODES: Readonly<Record<Colour, number>> = { red: 31, yellow: 33, green: 32, bold: 1, dim: 2 };

export const plain: Paint = (_, text) => text;
export const coloured: Paint = (colour, text) => `\x1b[${CODES[colour]}m${text}\x1b[0m`;

/** https://no-color.org: set and not empty. */
export function wantsColour(isTerminal: boolean, env: NodeJS.ProcessEnv): boolean {
  return isTerminal && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb';
}

export interface Column {
  readonly title: string;
  /** Numbers stand at the right. */
  readonly right?: boolean;
}

export interface Cell {
  readonly text: string;
  readonly colour?: Colour;
}

/** Lines, the titles first; columns as wide as their widest cell, two spaces between them. */
export function table(columns: readonly Column[], rows: readonly (readonly Cell[])[], paint: Paint): readonly string[] {
  const widths = columns.map(({ title }, at) =>
    Math.max(title.length, ...rows.map((row) => row[at]?.text.length ?? 0)),
  );
  const line = (cells: readonly Cell[]): string =>
    cells
      .map(({ text, colour }, at) => {
        const width = widths[at] ?? 0;
        const last = at === cells.length - 1 && columns[at]?.right !== true;
        const padded = columns[at]?.right === true ? text.padStart(width) : last ? text : text.padEnd(width);
        // The padding has no colour, so that an underline or a background would end where the word does.
        return colour === undefined ? padded : padded.replace(text, () => paint(colour, text));
      })
      .join('  ');
  return [line(columns.map(({ title }) => ({ text: title, colour: 'dim' as const }))), ...rows.map(line)];
}
