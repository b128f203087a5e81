// SPDX-License-Identifier: MIT
import { CandidateLog } from '#src/candidate-log.js';
import { createLogger } from '#src/log.js';
import type { Observation } from '#src/probe/observation.js';
import { FakeTimers } from '../helpers/fake-timers.js';
import { failed, primary, standby } from '../helpers/observations.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('candidate log');

class Bench {
  readonly timers = new FakeTimers();
  readonly #lines: string[] = [];
  readonly log = new CandidateLog(
    createLogger({ level: 'debug', journal: true, write: (line) => this.#lines.push(line.trimEnd()) }),
    this.timers,
  );

  /** Priority, words, and what is observed, of the lines that this makes. */
  observe(...seen: readonly Observation[]): string[] {
    for (const one of seen) this.log.observed(one);
    return this.#lines.splice(0).map((line) => {
      const [, words = '', state = ''] = /^(<\d>.*?) candidate=.*?(?:state|reason)=(\S+)/.exec(line) ?? [];
      return `${words}: ${state}`;
    });
  }
}

test('at the start a healthy cluster is information, and a server that is down a warning', () => {
  const bench = new Bench();
  assert.equal(bench.observe(primary('a', 1), standby('b', 1), failed('c')), [
    '<6>candidate answers: primary/tl1',
    '<6>candidate answers: standby/tl1',
    '<4>candidate does not answer: refused',
  ]);
});

test('a change of state is a notice, a fault a warning, the same again nothing', () => {
  const bench = new Bench();
  bench.observe(standby('a', 1));
  const rows: readonly (readonly [Observation, readonly string[]])[] = [
    [standby('a', 1), []],
    [primary('a', 2), ['<5>candidate answers: primary/tl2']],
    [failed('a'), ['<4>candidate does not answer: refused']],
    [failed('a'), []],
    [failed('a', 'connect_timeout'), ['<6>candidate still does not answer: connect_timeout']],
    [standby('a', 2), ['<5>candidate answers: standby/tl2']],
  ];
  for (const [seen, lines] of rows) assert.equal(bench.observe(seen), lines);
});

test('one that flaps gets a bounded number of lines, and the last one is true', () => {
  const bench = new Bench();
  let lines = 0;
  for (let turn = 0; turn < 2000; turn += 1) {
    lines += bench.observe(turn % 2 === 0 ? failed('a') : standby('a', 1)).length;
    bench.timers.advance(25);
  }
  assert.ok(lines > 20 && lines < 40, lines.toString()); // 50 s
  bench.observe(failed('a'));
  bench.timers.advance(60_000);
  bench.observe(standby('a', 1));
  assert.equal(bench.observe(failed('a')), ['<4>candidate does not answer: refused']);
});

test.run();
