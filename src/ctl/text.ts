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
  /** Its texts may be shortened where there is no room for all. */
  readonly shrinks?: boolean;
}

export interface Cell {
  readonly text: string;
  readonly colour?: Colour;
}

const GAP = '  ';

/**
 * Lines, the titles first; columns as wide as their widest cell, two spaces between them.
 * @param room so many columns there are: texts are shortened for the figures to fit. A text at the end of the line may
 * be cut off by the edge.
 */
export function table(
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
  paint: Paint,
  room = Number.POSITIVE_INFINITY,
): readonly string[] {
  const natural = columns.map(({ title }, at) =>
    Math.max(title.length, ...rows.map((row) => row[at]?.text.length ?? 0)),
  );
  const widths = narrowed(columns, natural, room);
  const line = (cells: readonly Cell[]): string =>
    cells
      .map(({ text: whole, colour }, at) => {
        const width = widths[at] ?? 0;
        const text = columns[at]?.shrinks === true ? shortened(whole, width) : whole;
        const last = at === cells.length - 1 && columns[at]?.right !== true;
        const padded = columns[at]?.right === true ? text.padStart(width) : last ? text : text.padEnd(width);
        // The padding has no colour, so that an underline or a background would end where the word does.
        return colour === undefined ? padded : padded.replace(text, () => paint(colour, text));
      })
      .join(GAP);
  return [line(columns.map(({ title }) => ({ text: title, colour: 'dim' as const }))), ...rows.map(line)];
}

/** Less tells nothing any more. */
const LEAST_WIDTH = 8;

/** The longest texts give way first, so that a short one beside them stays whole. */
function narrowed(columns: readonly Column[], natural: readonly number[], room: number): readonly number[] {
  const widths = [...natural];
  const widthOf = (at: number): number => widths[at] ?? 0;
  const counted = columns.at(-1)?.right === true ? widths.length : widths.length - 1;
  let missing =
    widths.slice(0, counted).reduce((sum, width) => sum + width, 0) + GAP.length * Math.max(0, counted - 1) - room;
  for (; missing > 0; missing -= 1) {
    const [widest] = columns
      .flatMap(({ shrinks }, at) => (shrinks === true && at < counted && widthOf(at) > LEAST_WIDTH ? [at] : []))
      .sort((one, other) => widthOf(other) - widthOf(one));
    if (widest === undefined) break;
    widths[widest] = widthOf(widest) - 1;
  }
  return widths;
}

/** Its beginning and its end: an address keeps its port, and a name what sets it apart. */
export function shortened(text: string, width: number): string {
  if (text.length <= width) return text;
  const kept = Math.max(0, width - 2);
  const atEnd = Math.floor(kept / 2);
  return `${text.slice(0, kept - atEnd)}..${text.slice(text.length - atEnd)}`;
}
