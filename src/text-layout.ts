// SPDX-License-Identifier: MIT
// Text for terminals and comments, in lines of a bounded width. Pure.

/** The words of `text` in lines that begin with `indent`; one that is longer than `width` stands alone. */
export function wrap(text: string, indent: string, width = 80): string[] {
  const lines: string[] = [];
  let line = indent;
  for (const word of text.split(' ')) {
    const next = line === indent ? line + word : `${line} ${word}`;
    if (next.length <= width || line === indent) {
      line = next;
    } else {
      lines.push(line);
      line = indent + word;
    }
  }
  return [...lines, line];
}
