// SPDX-License-Identifier: MIT
// The election on random histories: what must hold whatever is seen.

import { elect } from '#src/election.js';
import type { Decision, ProvenPrimary } from '#src/election.js';
import { memoryOf } from '#src/memory.js';
import type { Memory } from '#src/memory.js';
import type { Observation } from '#src/probe/observation.js';
import { addressOf, candidate, CLUSTER, failed, OTHER_CLUSTER, primary, standby } from '../helpers/observations.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('election, random walk');

/** mulberry32: small, seeded, good enough to walk through histories. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296) * below);
  };
}

const HOSTS = ['a', 'b', 'c', 'd'];

function randomObservation(random: (below: number) => number, at: number, newest: number): Observation {
  const host = HOSTS[random(HOSTS.length)] ?? 'a';
  // Around the newest timeline there is: old ones, the same, and sometimes a promotion.
  const timeline = Math.max(1, newest - 2 + random(4));
  const systemId = random(12) === 0 ? OTHER_CLUSTER : CLUSTER;
  const address = random(10) === 0 ? addressOf(HOSTS[random(HOSTS.length)] ?? 'a') : addressOf(host);
  switch (random(6)) {
    case 0:
    case 1:
      return primary(host, timeline, { at, systemId, address });
    case 2:
    case 3:
      return standby(host, timeline, { at, systemId, address, streaming: random(2) === 0 });
    case 4:
      return primary(host, timeline, { at, systemId, address, readOnly: true });
    default:
      return failed(host, 'refused', at);
  }
}

/** What must hold between one decision and the next, whatever was seen. */
function checkStep(
  before: Memory,
  observations: ReadonlyMap<string, Observation>,
  { verdict, memory }: Decision,
): void {
  const answers = [...observations.values()].flatMap((seen) => (seen.kind === 'answered' ? [seen] : []));
  const writable = answers.filter(({ state }) => !state.inRecovery && !state.readOnly);
  assert.ok((memory.cluster?.timeline ?? 0) >= (before.cluster?.timeline ?? 0), 'the remembered timeline fell');
  if (before.cluster !== null) assert.is(memory.cluster?.systemId, before.cluster.systemId);
  assert.ok(memory.epoch >= before.epoch, 'the epoch fell');
  const last = before.primary;
  const sameAddress = (one: { address: string }): boolean => one.address === last?.address.address;
  const higher = writable.some(
    ({ state }) => last !== null && state.systemId === last.systemId && state.timeline > last.timeline,
  );
  if (verdict.kind === 'primary') {
    const { primary: elected, epoch } = verdict;
    assert.is(elected.systemId, memory.cluster?.systemId, 'a foreign server');
    assert.ok(elected.timeline >= (before.cluster?.timeline ?? 0), 'a lower timeline');
    const claim = observations.get(elected.candidate.name);
    assert.ok(claim !== undefined && writable.some((seen) => seen === claim), 'who was elected claims nothing');
    const demoted = before.cut !== null && before.cut.belowEpoch > before.epoch;
    const inRecovery = answers.some(({ address, state }) => state.inRecovery && sameAddress(address));
    const removed = last !== null && !observations.has(last.candidate.name);
    if (last !== null && elected.timeline === last.timeline && !sameAddress(elected.address)) {
      const renamed = elected.candidate.name === last.candidate.name;
      assert.ok(renamed || demoted || inRecovery || removed, 'from one server to another without proof');
    }
    const identical =
      last?.candidate.name === elected.candidate.name &&
      last.timeline === elected.timeline &&
      sameAddress(elected.address);
    if (!identical) assert.is(epoch, before.epoch + 1, 'a change needs a new epoch');
  }
  if ((memory.cut?.belowEpoch ?? 0) > (before.cut?.belowEpoch ?? 0)) {
    const inRecovery = answers.some(({ address, state }) => state.inRecovery && sameAddress(address));
    const removed = last !== null && !observations.has(last.candidate.name);
    assert.ok(inRecovery || higher || removed, 'a cut without proof');
    assert.ok((memory.cut?.belowEpoch ?? 0) <= before.epoch + 1, 'a cut of what is to come');
  }
}

/** All that was ever seen and decided: what no restart of the gateway may undo. */
class History {
  /** Address -> when a server there last answered from recovery. */
  readonly #recoveries = new Map<string, number>();
  /** Name -> when it last was no candidate. */
  readonly #absences = new Map<string, number>();
  #systemId: string | undefined;
  #timeline = 0;
  /** Who is the primary, and when it last claimed to be. Undefined: nobody was, since the gateway was started. */
  #primary: { readonly elected: ProvenPrimary; readonly claimedAt: number } | undefined;
  /** Elections of another server on the same timeline. */
  moves = 0;

  see(seen: Observation, hosts: readonly string[]): void {
    if (seen.kind === 'answered' && seen.state.inRecovery) this.#recoveries.set(seen.address.address, seen.at);
    for (const host of HOSTS) if (!hosts.includes(host)) this.#absences.set(candidate(host).name, seen.at);
  }

  /** The gateway was stopped and started: it knows the cluster, and not who was the primary. */
  stopped(): void {
    this.#primary = undefined;
  }

  decided(elected: ProvenPrimary, claimedAt: number): void {
    assert.is(elected.systemId, this.#systemId ?? elected.systemId, 'another cluster than ever before');
    assert.ok(elected.timeline >= this.#timeline, 'a lower timeline than ever before');
    const last = this.#primary;
    const from = last?.elected;
    if (from?.timeline === elected.timeline && from.address.address !== elected.address.address) {
      const since = last?.claimedAt ?? 0;
      const demoted = (this.#recoveries.get(from.address.address) ?? -1) > since;
      const removed = (this.#absences.get(from.candidate.name) ?? -1) > since;
      const renamed = from.candidate.name === elected.candidate.name;
      assert.ok(demoted || removed || renamed, 'a flap without proof that is newer than the last claim');
      if (!renamed) this.moves += 1;
    }
    this.#systemId = elected.systemId;
    this.#timeline = elected.timeline;
    this.#primary = { elected, claimedAt };
  }
}

test('random histories over stops: never a lower timeline, another cluster, or a flap without new proof', () => {
  let moves = 0;
  let stops = 0;
  for (let seed = 1; seed <= 300; seed += 1) {
    const random = randomFrom(seed + 1000);
    const history = new History();
    const observations = new Map<string, Observation>();
    let memory = memoryOf(null);
    let hosts = HOSTS;
    for (let at = 1; at <= 200; at += 1) {
      if (random(40) === 0) hosts = HOSTS.filter(() => random(4) > 0);
      if (random(30) === 0) {
        memory = memoryOf(memory.cluster);
        observations.clear();
        history.stopped();
        stops += 1;
      }
      const seen = randomObservation(random, at, memory.cluster?.timeline ?? 2);
      observations.set(seen.candidate.name, seen);
      for (const name of observations.keys()) {
        if (!hosts.some((host) => candidate(host).name === name)) observations.delete(name);
      }
      history.see(seen, hosts);
      const { verdict, memory: next } = elect({ candidates: hosts.map(candidate), observations, memory });
      memory = next;
      if (verdict.kind !== 'primary') continue;
      const claim = observations.get(verdict.primary.candidate.name);
      history.decided(verdict.primary, claim?.at ?? at);
    }
    moves += history.moves;
  }
  assert.ok(moves > 100 && stops > 1000, `the walk came by ${moves} moves and ${stops} stops`);
});

test('random histories: never a lower timeline, never a foreign server, no move and no cut without proof', () => {
  const seen = new Map<string, number>();
  for (let seed = 1; seed <= 300; seed += 1) {
    const random = randomFrom(seed);
    const observations = new Map<string, Observation>();
    let memory = memoryOf(null);
    let hosts = HOSTS;
    for (let at = 1; at <= 200; at += 1) {
      if (random(40) === 0) hosts = HOSTS.filter(() => random(4) > 0);
      const observation = randomObservation(random, at, memory.cluster?.timeline ?? 2);
      observations.set(observation.candidate.name, observation);
      for (const name of observations.keys()) {
        if (!hosts.some((host) => candidate(host).name === name)) observations.delete(name);
      }
      const decision = elect({ candidates: hosts.map(candidate), observations, memory });
      checkStep(memory, observations, decision);
      memory = decision.memory;
      seen.set(decision.verdict.reason, (seen.get(decision.verdict.reason) ?? 0) + 1);
    }
  }
  // The walk must have come by every kind of decision but the one that needs two clusters from the start.
  const reasons = ['still-primary', 'first-primary', 'higher-timeline', 'moved', 'predecessor-gone', 'no-primary'];
  for (const reason of [...reasons, 'primary-in-doubt', 'primary-demoted', 'primary-removed', 'split-brain']) {
    assert.ok((seen.get(reason) ?? 0) > 0, `${reason} never came up`);
  }
});

test.run();
