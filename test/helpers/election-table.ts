// SPDX-License-Identifier: MIT
// The election's rules as tables: each row is what the probes see one after the other,
// and what must be decided at the end of it.

import { elect } from '#src/election.js';
import type { Decision } from '#src/election.js';
import { memoryOf } from '#src/memory.js';
import type { Memory, RememberedCluster } from '#src/memory.js';
import type { Observation } from '#src/probe/observation.js';
import { candidate, labelOf } from './observations.js';
import { assert } from './suite.js';
import type { suite } from './suite.js';

/** What is seen at one moment; a candidate that a step does not name keeps its last observation. */
type Step = readonly Observation[] | { readonly candidates: readonly string[]; readonly seen: readonly Observation[] };

export interface Row {
  readonly what: string;
  readonly remembered?: RememberedCluster;
  readonly steps: readonly Step[];
  /** `a/3#1` = primary a on timeline 3 of epoch 1; else the reason for none. */
  readonly expect: string;
  readonly reason?: string;
  /** `2 demoted` */
  readonly cut?: string;
  /** `b:stale-timeline` */
  readonly fenced?: readonly string[];
  readonly timeline?: number;
}

export interface World {
  readonly observations: Map<string, Observation>;
  candidates: readonly string[];
  memory: Memory;
}

/** What comes of it if this is seen next. */
export function take(world: World, step: Step): Decision {
  const { candidates, seen } = 'seen' in step ? step : { candidates: namesOf(world, step), seen: step };
  world.candidates = candidates;
  for (const observation of seen) world.observations.set(observation.candidate.name, observation);
  for (const name of world.observations.keys()) {
    if (!candidates.some((host) => candidate(host).name === name)) world.observations.delete(name);
  }
  const { observations, memory } = world;
  const decision = elect({ candidates: candidates.map(candidate), observations, memory });
  world.memory = decision.memory;
  return decision;
}

function namesOf(world: World, seen: readonly Observation[]): readonly string[] {
  return [...new Set([...world.candidates, ...seen.map((observation) => labelOf(observation.candidate))])];
}

function wordOf({ verdict }: Decision): string {
  if (verdict.kind === 'none') return verdict.reason;
  return `${labelOf(verdict.primary.candidate)}/${String(verdict.primary.timeline)}#${String(verdict.epoch)}`;
}

/** The world before anything was seen. */
export function emptyWorld(remembered: RememberedCluster | null = null): World {
  return { observations: new Map(), candidates: [], memory: memoryOf(remembered) };
}

/** Registers a test for each row, and one that nothing changes if the same is seen again. */
export function testRows(table: ReturnType<typeof suite>, rows: readonly Row[]): void {
  for (const { what, remembered, steps, expect, reason, cut, fenced, timeline } of rows) {
    table(what, () => {
      const world = emptyWorld(remembered);
      let decision: Decision | undefined;
      for (const step of steps) decision = take(world, step);
      if (decision === undefined) throw new Error('a row without steps');
      const { verdict, memory } = decision;
      assert.is(wordOf(decision), expect, verdict.detail);
      if (reason !== undefined) assert.is(verdict.reason, reason);
      assert.is(verdict.cut === null ? '' : `${String(verdict.cut.belowEpoch)} ${verdict.cut.reason}`, cut ?? '');
      assert.equal(
        verdict.fenced.map((one) => `${labelOf(one.candidate)}:${one.reason}`),
        fenced ?? [],
      );
      if (timeline !== undefined) assert.is(memory.cluster?.timeline, timeline);
      assert.is(memory.cut, verdict.cut);
    });
  }

  table('the same observations again decide the same', () => {
    for (const { steps, remembered } of rows) {
      const world = emptyWorld(remembered);
      for (const step of steps) take(world, step);
      const settled = take(world, []);
      const again = take(world, []);
      assert.is(wordOf(again), wordOf(settled));
      assert.equal(again.memory, settled.memory);
    }
  });
}
