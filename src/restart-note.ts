// SPDX-License-Identifier: MIT
// What one gateway tells the next across a restart or a crash, so that sessions which
// outlive it go on meaning what they meant: the election's memory, whose epochs the
// sessions carry, and which slot of the data plane is which server's. And by which
// settings it went, but secrets, for a next one that finds none it could go by: the
// sessions are not to end of that.
//
// It lies in the data plane's ledger (native/ledger.h) and is read back as hostile
// input: a note that is not wholly good is none.

import { isIP } from 'node:net';

import type { Candidate } from './candidates.js';
import type { GivenSetting } from './config-types.js';
import { MAX_EPOCH, MAX_SERVERS } from './dataplane.js';
import type { ProvenPrimary } from './election.js';
import { isStartTime, isSystemId, isTimeline, memoryOf } from './memory.js';
import type { Cut, Memory, MemoryStore, RememberedCluster } from './memory.js';
import type { ServerAddress } from './probe/observation.js';

/** Name of a server and its slot, in the order of assignment. */
export type SlotEntry = readonly [name: string, slot: number];

export interface RestartNote {
  readonly memory: Memory;
  readonly slots: readonly SlotEntry[];
  /** Undefined: they are not known, as an older gateway did not leave them, or too long. */
  readonly settings?: readonly GivenSetting[] | undefined;
}

/** What the ledger has room for (native/ledger.h, kMaxNote). */
const MAX_BYTES = 64 * 1024;

/** Another number whenever the meaning changes. */
const NOTE_VERSION = 1;

/** Settings that do not fit are left out: the sessions hang on the rest. */
export function encodeNote({ memory: { since: _, ...memory }, slots, settings }: RestartNote): string {
  // Each process has a clock of its own.
  const needed = { version: NOTE_VERSION, memory, slots };
  const whole = JSON.stringify({ ...needed, settings });
  return Buffer.byteLength(whole) <= MAX_BYTES ? whole : JSON.stringify(needed);
}

/** Undefined: not a note of this version, or not a whole one. What the settings mean is not looked at. */
export function decodeNote(text: string): RestartNote | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isObject(value) || value['version'] !== NOTE_VERSION) return undefined;
  const { memory, slots, settings } = value;
  if (!isMemory(memory) || !isSlots(slots)) return undefined;
  const { left = null } = memory;
  return { memory: { ...memory, since: 0, left }, slots, ...(isSettings(settings) ? { settings } : {}) };
}

/** Keeps the note that is in the ledger up to date. */
export class RestartNoteKeeper implements MemoryStore {
  readonly #write: (text: string, cut: Cut | null) => void;
  #note: RestartNote;

  /** @param write puts a text, and the cut of which it tells, where the next process finds them; must not throw */
  constructor(found: RestartNote | undefined, write: (text: string, cut: Cut | null) => void) {
    this.#note = found ?? { memory: memoryOf(null), slots: [] };
    this.#write = write;
  }

  get slots(): readonly SlotEntry[] {
    return this.#note.slots;
  }

  load(): Memory {
    return this.#note.memory;
  }

  save(memory: Memory): void {
    this.#keep({ ...this.#note, memory });
  }

  saveSlots(slots: readonly SlotEntry[]): void {
    this.#keep({ ...this.#note, slots });
  }

  saveSettings(settings: readonly GivenSetting[]): void {
    this.#keep({ ...this.#note, settings });
  }

  #keep(note: RestartNote): void {
    this.#note = note;
    this.#write(encodeNote(note), note.memory.cut);
  }
}

type Fields = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isWhole(value: unknown, min: number, max: number): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max;
}

function isMemory(value: unknown): value is Omit<Memory, 'since' | 'left'> & { readonly left?: Memory['left'] } {
  if (!isObject(value)) return false;
  const { cluster, primary, left, epoch, cut } = value;
  return (
    (cluster === null || isCluster(cluster)) &&
    (primary === null || isPrimary(primary)) &&
    // An older gateway did not remember it.
    (left === undefined || left === null || isAddress(left)) &&
    isWhole(epoch, 0, MAX_EPOCH) &&
    (cut === null || isCut(cut))
  );
}

function isCluster(value: unknown): value is RememberedCluster {
  return isObject(value) && isSystemId(value['systemId']) && isTimeline(value['timeline']);
}

function isPrimary(value: unknown): value is ProvenPrimary {
  if (!isObject(value)) return false;
  const { candidate, address, timeline, systemId, startedAt } = value;
  return (
    isCandidate(candidate) &&
    isAddress(address) &&
    isTimeline(timeline) &&
    isSystemId(systemId) &&
    // An older gateway did not ask for it.
    (startedAt === undefined || isStartTime(startedAt))
  );
}

function isAddress(value: unknown): value is ServerAddress {
  if (!isObject(value)) return false;
  const { address, port } = value;
  return typeof address === 'string' && isIP(address) !== 0 && isPort(port);
}

function isCandidate(value: unknown): value is Candidate {
  return (
    isObject(value) &&
    (value['address'] === undefined || (typeof value['address'] === 'string' && isIP(value['address']) !== 0)) &&
    typeof value['host'] === 'string' &&
    typeof value['name'] === 'string' &&
    value['name'] !== '' &&
    isPort(value['port'])
  );
}

function isCut(value: unknown): value is Cut {
  if (!isObject(value)) return false;
  return isWhole(value['belowEpoch'], 0, MAX_EPOCH) && ['demoted', 'superseded'].includes(String(value['reason']));
}

function isSlots(value: unknown): value is readonly SlotEntry[] {
  if (!Array.isArray(value)) return false;
  const entries: readonly unknown[] = value;
  const slots = new Set<unknown>();
  const names = new Set<unknown>();
  for (const entry of entries) {
    if (!Array.isArray(entry) || entry.length !== 2) return false;
    const [name, slot] = entry as readonly unknown[];
    if (typeof name !== 'string' || name === '' || !isWhole(slot, 0, MAX_SERVERS - 1)) return false;
    slots.add(slot);
    names.add(name);
  }
  return slots.size === entries.length && names.size === entries.length;
}

function isSettings(value: unknown): value is readonly GivenSetting[] {
  if (!Array.isArray(value)) return false;
  const entries: readonly unknown[] = value;
  return entries.every((entry) => {
    if (!Array.isArray(entry) || entry.length !== 3) return false;
    const [key, given, from] = entry as readonly unknown[];
    return typeof key === 'string' && isGiven(given) && typeof from === 'string';
  });
}

/** What a source may give; what a setting may be is for the schema to say. */
function isGiven(value: unknown): boolean {
  if (Array.isArray(value)) return value.every((item) => typeof item === 'string');
  return typeof value === 'string' || typeof value === 'boolean' || Number.isFinite(value);
}

function isPort(value: unknown): value is number {
  return isWhole(value, 1, 65535);
}
