// SPDX-License-Identifier: MIT
// From one input the next: by bytes, by lines, by words that mean something, by parts of another.

/** Small, fast, and the same for the same seed everywhere (mulberry32). */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** 0 .. below - 1 */
  upto(below: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  }

  one<T>(of: readonly T[], otherwise: T): T {
    return of.length === 0 ? otherwise : (of[this.upto(of.length)] ?? otherwise);
  }
}

export interface Material {
  /** Words that mean something to the target. */
  readonly words: readonly string[];
  /** Other inputs, to take parts of. */
  readonly corpus: readonly Buffer[];
  readonly maxBytes: number;
}

/** Texts and numbers at the edge of what is usual anywhere. */
const ODD = [
  '',
  '0',
  '-1',
  '65535',
  '65536',
  '4294967296',
  '1e999',
  'NaN',
  '\0',
  '\u2028',
  '\ud800',
  '\n',
  '\r\n',
  '"',
  "'",
  '\\',
  '=',
  ':',
];

type Mutation = (input: Buffer, dice: Dice, material: Material) => Buffer;

function put(input: Buffer, at: number, length: number, what: Buffer): Buffer {
  return Buffer.concat([input.subarray(0, at), what, input.subarray(at + length)]);
}

function part(input: Buffer, dice: Dice): readonly [at: number, length: number] {
  const at = dice.upto(input.length + 1);
  return [at, dice.upto(Math.min(32, input.length - at) + 1)];
}

function lines(input: Buffer): string[] {
  return input.toString('latin1').split('\n');
}

const MUTATIONS: readonly Mutation[] = [
  (input, dice) => {
    const copy = Buffer.from(input);
    if (copy.length > 0) copy.writeUInt8(dice.upto(256), dice.upto(copy.length));
    return copy;
  },
  (input, dice) => {
    const copy = Buffer.from(input);
    const at = dice.upto(Math.max(1, copy.length));
    if (copy.length > 0) copy.writeUInt8(copy.readUInt8(at) ^ (1 << dice.upto(8)), at);
    return copy;
  },
  (input, dice) => put(input, ...part(input, dice), Buffer.alloc(0)),
  (input, dice) => put(input, dice.upto(input.length + 1), 0, Buffer.alloc(1 + dice.upto(8), dice.upto(256))),
  (input, dice, { words }) => put(input, ...part(input, dice), Buffer.from(dice.one(words, ''))),
  (input, dice, { words }) => put(input, dice.upto(input.length + 1), 0, Buffer.from(dice.one(words, ''))),
  (input, dice) => put(input, ...part(input, dice), Buffer.from(dice.one(ODD, ''))),
  (input, dice) => {
    const [from, length] = part(input, dice);
    return put(input, dice.upto(input.length + 1), 0, input.subarray(from, from + length));
  },
  (input, dice, { corpus }) => {
    const other = dice.one(corpus, input);
    return Buffer.concat([input.subarray(0, dice.upto(input.length + 1)), other.subarray(dice.upto(other.length + 1))]);
  },
  (input, dice, { corpus }) => {
    const other = lines(dice.one(corpus, input));
    const all = lines(input);
    all.splice(dice.upto(all.length + 1), dice.upto(2), dice.one(other, ''));
    return Buffer.from(all.join('\n'), 'latin1');
  },
  (input, dice) => {
    const all = lines(input);
    const [line = ''] = all.splice(dice.upto(all.length), 1);
    if (dice.upto(2) === 0) all.splice(dice.upto(all.length + 1), 0, line, line);
    return Buffer.from(all.join('\n'), 'latin1');
  },
];

/** A few of them, one after the other. */
export function mutate(input: Buffer, dice: Dice, material: Material): Buffer {
  let next = input;
  for (let left = 1 + dice.upto(4); left > 0; left -= 1) {
    const mutation = dice.one<Mutation>(MUTATIONS, (same) => same);
    next = mutation(next, dice, material).subarray(0, material.maxBytes);
  }
  return next;
}
