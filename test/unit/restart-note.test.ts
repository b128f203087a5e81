// SPDX-License-Identifier: MIT
import type { GivenSetting } from '#src/config.js';
import { memoryOf } from '#src/memory.js';
import type { Memory } from '#src/memory.js';
import { decodeNote, encodeNote, RestartNoteKeeper } from '#src/restart-note.js';
import type { RestartNote } from '#src/restart-note.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('restart note');

const MEMORY: Memory = {
  cluster: { systemId: '7000000000000000001', timeline: 3 },
  primary: {
    candidate: { host: 'db1', port: 5432, name: 'db1:5432' },
    address: { address: '192.0.2.1', port: 5432 },
    timeline: 3,
    systemId: '7000000000000000001',
  },
  since: 0,
  left: { address: '192.0.2.2', port: 5432 },
  epoch: 7,
  cut: { belowEpoch: 7, reason: 'superseded' },
};
const NOTE: RestartNote = {
  memory: MEMORY,
  slots: [
    ['db1:5432', 0],
    ['db2:5432', 3],
  ],
};

test('comes back as it went', () => {
  assert.equal(decodeNote(encodeNote(NOTE)), NOTE);
  const empty: RestartNote = { memory: memoryOf(null), slots: [] };
  assert.equal(decodeNote(encodeNote(empty)), empty);
});

test('one address of a name, and when the server was started, come back too', () => {
  const primary = {
    candidate: { host: 'db', port: 5432, address: '192.0.2.1', name: 'db:5432/192.0.2.1' },
    address: { address: '192.0.2.1', port: 5432 },
    timeline: 3,
    systemId: '7000000000000000001',
    startedAt: '1764021112123456',
  };
  const note = { ...NOTE, memory: { ...MEMORY, primary } };
  assert.equal(decodeNote(encodeNote(note)), note);
});

test('the one with the longest names fits into the ledger', () => {
  const name = (index: number): string => `${'x'.repeat(250)}${index.toString()}:65535/${'f'.repeat(39)}`;
  const slots = Array.from({ length: 128 }, (_, index): [string, number] => [name(index), index]);
  // native/ledger.h, kMaxNote
  assert.ok(Buffer.byteLength(encodeNote({ memory: MEMORY, slots })) <= 64 * 1024);
});

const SETTINGS: readonly GivenSetting[] = [
  ['candidates', ['db1:5432', 'db2'], 'environment CANDIDATES'],
  ['listen.port', 5433, '/etc/pg-gateway/pg-gateway.toml'],
];

test('the settings come back too, whatever their values are', () => {
  const note = { ...NOTE, settings: SETTINGS };
  assert.equal(decodeNote(encodeNote(note)), note);
});

test('settings that do not fit are left out, and nothing else is', () => {
  const settings: readonly GivenSetting[] = [['candidates', 'x'.repeat(64 * 1024), 'environment CANDIDATES']];
  assert.equal(decodeNote(encodeNote({ ...NOTE, settings })), NOTE);
});

const NO_SETTINGS: readonly (readonly [string, unknown])[] = [
  ['no list', {}],
  ['an entry that is none', ['candidates']],
  ['an entry without its source', [['candidates', 'db1']]],
  ['a key that is a number', [[1, 'db1', 'environment CANDIDATES']]],
  ['a value that is none', [['candidates', null, 'environment CANDIDATES']]],
  ['a value that is an object', [['candidates', {}, 'environment CANDIDATES']]],
  ['a list of lists', [['candidates', [['db1']], 'environment CANDIDATES']]],
];
for (const [what, settings] of NO_SETTINGS) {
  test(`settings that are none are left out, and nothing else is: ${what}`, () => {
    assert.equal(decodeNote(changed(['settings'], settings)), NOTE);
  });
}

/** The note with one value replaced. */
function changed(path: readonly (string | number)[], value: unknown): string {
  const note = JSON.parse(encodeNote(NOTE)) as Record<string | number, unknown>;
  let place = note;
  for (const step of path.slice(0, -1)) place = place[step] as Record<string | number, unknown>;
  place[path.at(-1) ?? ''] = value;
  return JSON.stringify(note);
}

const BAD: readonly (readonly [string, string])[] = [
  ['nothing', ''],
  ['no JSON', '{"version":1'],
  ['no object', '[]'],
  ['null', 'null'],
  ['another version', changed(['version'], 2)],
  ['no memory', changed(['memory'], null)],
  ['an epoch below 0', changed(['memory', 'epoch'], -1)],
  ['an epoch with a fraction', changed(['memory', 'epoch'], 1.5)],
  ['an epoch beyond 32 bits', changed(['memory', 'epoch'], 2 ** 32)],
  ['a timeline of 0', changed(['memory', 'cluster', 'timeline'], 0)],
  ['a system identifier that is a number', changed(['memory', 'cluster', 'systemId'], 7)],
  ['a primary without an address', changed(['memory', 'primary', 'address'], undefined)],
  ['a primary at a name', changed(['memory', 'primary', 'address', 'address'], 'db1')],
  ['a primary on port 0', changed(['memory', 'primary', 'address', 'port'], 0)],
  ['a candidate without a name', changed(['memory', 'primary', 'candidate', 'name'], '')],
  ['a primary that was started at no time', changed(['memory', 'primary', 'startedAt'], 'noon')],
  ['a candidate at a name', changed(['memory', 'primary', 'candidate', 'address'], 'db1')],
  ['an address that was left, and is a name', changed(['memory', 'left', 'address'], 'db1')],
  ['a cut for an unknown reason', changed(['memory', 'cut', 'reason'], 'whim')],
  ['a slot beyond the last', changed(['slots', 0], ['db1:5432', 128])],
  ['two servers in one slot', changed(['slots', 1], ['db2:5432', 0])],
  ['one server in two slots', changed(['slots', 1], ['db1:5432', 3])],
  ['a slot without a number', changed(['slots', 0], ['db1:5432'])],
];
for (const [what, text] of BAD) {
  test(`what is not wholly good is none: ${what}`, () => {
    assert.is(decodeNote(text), undefined);
  });
}

test('the clock of one process means nothing to the next', () => {
  assert.equal(decodeNote(encodeNote({ ...NOTE, memory: { ...MEMORY, since: 12345 } })), NOTE);
});

test('the cut goes along with each text, whatever has changed', () => {
  const cuts: unknown[] = [];
  const keeper = new RestartNoteKeeper(NOTE, (_, cut) => cuts.push(cut));
  const cut = { belowEpoch: 8, reason: 'demoted' } as const;
  keeper.save({ ...MEMORY, cut });
  keeper.saveSlots([]);
  keeper.save({ ...MEMORY, cut: null });
  assert.equal(cuts, [cut, cut, null]);
});

test('settings stay until others are saved', () => {
  const written: string[] = [];
  const keeper = new RestartNoteKeeper({ ...NOTE, settings: SETTINGS }, (text) => written.push(text));
  keeper.save(MEMORY);
  keeper.saveSlots([]);
  keeper.saveSettings([]);
  keeper.save(MEMORY);
  assert.equal(
    written.map((text) => decodeNote(text)?.settings),
    [SETTINGS, SETTINGS, [], []],
  );
});

test('each change is written whole, memory and slots together', () => {
  const written: string[] = [];
  const keeper = new RestartNoteKeeper(NOTE, (text) => written.push(text));
  assert.equal(keeper.load(), MEMORY);
  assert.equal(keeper.slots, NOTE.slots);
  const memory = { ...MEMORY, epoch: 8 };
  keeper.save(memory);
  keeper.saveSlots([['db3:5432', 1]]);
  assert.equal(written.map(decodeNote), [
    { memory, slots: NOTE.slots },
    { memory, slots: [['db3:5432', 1]] },
  ]);
});

test.run();
