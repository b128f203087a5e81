// SPDX-License-Identifier: MIT
// One line of the gateway's log: `TIME LEVEL   message key=value key="quoted value"`.

export class LogLine {
  /** From 1. */
  readonly number: number;
  /** Milliseconds since 1970; NaN: it has no time. */
  readonly at: number;
  /** Lower case: debug, info, notice, warning, err. */
  readonly level: string;
  readonly message: string;
  readonly fields: ReadonlyMap<string, string>;

  private constructor(
    { number, at }: { readonly number: number; readonly at: number },
    level: string,
    message: string,
    fields: ReadonlyMap<string, string>,
  ) {
    this.number = number;
    this.at = at;
    this.level = level;
    this.message = message;
    this.fields = fields;
  }

  /** All complete lines of a log; what does not look like one is a message without fields. */
  static parseAll(log: string): LogLine[] {
    return log
      .split('\n')
      .slice(0, -1)
      .map((text, index) => LogLine.#parse(text, index + 1));
  }

  matches(message: string, fields: Readonly<Record<string, string>>): boolean {
    return this.message === message && Object.entries(fields).every(([key, value]) => this.fields.get(key) === value);
  }

  static #parse(text: string, number: number): LogLine {
    const head = /^(\S+Z) (DEBUG|INFO|NOTICE|WARNING|ERR) +/.exec(text);
    const rest = head === null ? text : text.slice(head[0].length);
    const field = /(?:^| )([\w.]+)=("(?:[^"\\]|\\.)*"|[^\s"]+)/g;
    const matches = [...rest.matchAll(field)];
    const message = rest.slice(0, matches[0]?.index ?? rest.length);
    const fields = matches.map(([, key = '', value = '']): [string, string] => [key, unquote(value)]);
    const where = { number, at: Date.parse(head?.[1] ?? '') };
    return new LogLine(where, head?.[2]?.toLowerCase() ?? '', message, new Map(fields));
  }
}

function unquote(value: string): string {
  return value.startsWith('"') ? value.slice(1, -1).replace(/\\(.)/g, '$1') : value;
}
