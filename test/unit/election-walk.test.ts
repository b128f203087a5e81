// SPDX-License-Identifier: MIT
// The election on random histories: what must hold whatever is seen.

import { configuredName } from '#src/candidates.js';
import type { Candidate } from '#src/candidates.js';
import { elect } from '#src/election.js';
import type { Decision, ProvenPrimary } from '#src/election.js';
import { memoryOf } from '#src/memory.js';
import type { Memory } from '#src/memory.js';
import type { Observation } from '#src/probe/observation.js';
import { addressOf, candidate, CLUSTER, failed, OTHER_CLUSTER, primary, standby } from '../helpers/observations.js';
import { randomFrom } from '../helpers/random.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('election, random walk');

const HOSTS = ['a', 'b', 'c', 'd'];
/** What the name n may be at a time: removed, with one address, with several. */
const FORMS_OF_N = [[], ['n'], ['n/a', 'n/e'], ['n/b', 'n/e'], ['n/e', 'n/f', 'n/g'], ['n/f']];

/** The servers behind the addresses, each of which was started at some time; e is another address of a's. */
class Servers {
  readonly #random: (below: number) => number;
  readonly #startedAt = new Map<string, string>();
  #starts = 0;

  constructor(random: (below: number) => number) {
    this.#random = random;
  }

  startedAt(address: string): string {
    const server = address === addressOf('e') ? addressOf('a') : address;
    const known = this.#startedAt.get(server);
    if (known !== undefined && this.#random(20) > 0) return known;
    this.#starts += 1;
    const startedAt = String(this.#starts);
    this.#startedAt.set(server, startedAt);
    return startedAt;
  }
}

/** Who is watched at this time of a walk, by the labels of their candidates. */
function nextCandidates(random: (below: number) => number, now: readonly string[]): readonly string[] {
  if (random(40) === 0) return [...HOSTS.filter(() => random(4) > 0), ...now.filter((label) => label.startsWith('n'))];
  if (random(30) > 0) return now;
  return [...now.filter((label) => !label.startsWith('n')), ...(FORMS_OF_N[random(FORMS_OF_N.length)] ?? [])];
}

function randomObservation(
  random: (below: number) => number,
  servers: Servers,
  watched: readonly string[],
  at: number,
  newest: number,
): Observation {
  const host = watched[random(watched.length)] ?? 'a';
  // Around the newest timeline there is: old ones, the same, and sometimes a promotion.
  const timeline = Math.max(1, newest - 2 + random(4));
  const systemId = random(12) === 0 ? OTHER_CLUSTER : CLUSTER;
  const elsewhere = host === 'n' ? ['a', 'e', 'f', 'g'] : HOSTS;
  const moves = !host.includes('/') && random(host === 'n' ? 3 : 10) === 0;
  const address = addressOf(moves ? (elsewhere[random(elsewhere.length)] ?? 'a') : host === 'n' ? 'f' : host);
  const startedAt = servers.startedAt(address);
  switch (random(6)) {
    case 0:
    case 1:
      return primary(host, timeline, { at, systemId, address, startedAt });
    case 2:
    case 3:
      return standby(host, timeline, { at, systemId, address, startedAt, streaming: random(2) === 0 });
    case 4:
      return primary(host, timeline, { at, systemId, address, startedAt, readOnly: true });
    default:
      return failed(host, 'refused', at);
  }
}

/** The one is another's address, by its start, or the item of the configuration leads there instead of to the last. */
function isSameOrMoved(last: ProvenPrimary, next: ProvenPrimary, candidates: readonly Candidate[]): boolean {
  if (last.startedAt === next.startedAt && last.systemId === next.systemId) return true;
  if (configuredName(last.candidate) !== configuredName(next.candidate)) return false;
  return !candidates.some(
    (candidate) =>
      configuredName(candidate) === configuredName(last.candidate) && candidate.address === last.address.address,
  );
}

function isListed(candidates: readonly Candidate[], { candidate }: ProvenPrimary): boolean {
  return candidates.some((listed) => configuredName(listed) === configuredName(candidate));
}

/** What must hold between one decision and the next, whatever was seen. */
function checkStep(
  before: Memory,
  candidates: readonly Candidate[],
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
    const removed = last !== null && !isListed(candidates, last);
    if (last !== null && elected.timeline === last.timeline && !sameAddress(elected.address)) {
      const same = isSameOrMoved(last, elected, candidates);
      assert.ok(same || demoted || inRecovery || removed, 'from one server to another without proof');
      const silentAt = observations.get(last.candidate.name);
      const fellSilent = silentAt?.kind === 'failed' ? silentAt.at : -1;
      if (same && !demoted && !inRecovery) assert.ok(claim.at >= fellSilent, 'by what was said before');
    }
    const identical =
      last?.candidate.name === elected.candidate.name &&
      last.timeline === elected.timeline &&
      sameAddress(elected.address);
    if (!identical) assert.is(epoch, before.epoch + 1, 'a change needs a new epoch');
  }
  if ((memory.cut?.belowEpoch ?? 0) > (before.cut?.belowEpoch ?? 0)) {
    const inRecovery = answers.some(({ address, state }) => state.inRecovery && sameAddress(address));
    const removed = last !== null && !isListed(candidates, last);
    const takenOver = answers.some(
      ({ address, state }) =>
        last !== null &&
        (sameAddress(address) || address.address === before.left?.address) &&
        !state.inRecovery &&
        (state.systemId !== last.systemId || state.timeline < last.timeline),
    );
    assert.ok(inRecovery || higher || removed || takenOver, 'a cut without proof');
    assert.ok((memory.cut?.belowEpoch ?? 0) <= before.epoch + 1, 'a cut of what is to come');
  }
}

function retain(observations: Map<string, Observation>, candidates: readonly Candidate[]): void {
  for (const name of observations.keys()) {
    if (!candidates.some((candidate) => candidate.name === name)) observations.delete(name);
  }
}

/** All that was ever seen and decided: what no restart of the gateway may undo. */
class History {
  /** Address -> when a server there last answered from recovery. */
  readonly #recoveries = new Map<string, number>();
  /** Name of the configuration -> when it last was not in it. */
  readonly #absences = new Map<string, number>();
  #systemId: string | undefined;
  #timeline = 0;
  /** Who is the primary, and when it last claimed to be. Undefined: nobody was, since the gateway was started. */
  #primary: { readonly elected: ProvenPrimary; readonly claimedAt: number } | undefined;
  /** Elections of another server on the same timeline. */
  moves = 0;
  /** Elections of the same server at another address. */
  sameAgain = 0;

  see(seen: Observation, candidates: readonly Candidate[]): void {
    if (seen.kind === 'answered' && seen.state.inRecovery) this.#recoveries.set(seen.address.address, seen.at);
    const items = new Set(candidates.map(configuredName));
    for (const host of [...HOSTS, 'n']) {
      if (!items.has(candidate(host).name)) this.#absences.set(candidate(host).name, seen.at);
    }
  }

  /** The gateway was stopped and started: it knows the cluster, and not who was the primary. */
  stopped(): void {
    this.#primary = undefined;
  }

  decided(elected: ProvenPrimary, claimedAt: number, candidates: readonly Candidate[]): void {
    assert.is(elected.systemId, this.#systemId ?? elected.systemId, 'another cluster than ever before');
    assert.ok(elected.timeline >= this.#timeline, 'a lower timeline than ever before');
    const last = this.#primary;
    const from = last?.elected;
    if (from?.timeline === elected.timeline && from.address.address !== elected.address.address) {
      const since = last?.claimedAt ?? 0;
      const demoted = (this.#recoveries.get(from.address.address) ?? -1) > since;
      const removed = (this.#absences.get(configuredName(from.candidate)) ?? -1) > since;
      const same = isSameOrMoved(from, elected, candidates);
      assert.ok(demoted || removed || same, 'a flap without proof that is newer than the last claim');
      if (!same) this.moves += 1;
      if (same) this.sameAgain += 1;
    }
    this.#systemId = elected.systemId;
    this.#timeline = elected.timeline;
    this.#primary = { elected, claimedAt };
  }
}

test('random histories over stops: never a lower timeline, another cluster, or a flap without new proof', () => {
  let moves = 0;
  let sameAgain = 0;
  let stops = 0;
  for (let seed = 1; seed <= 300; seed += 1) {
    const random = randomFrom(seed + 1000);
    const history = new History();
    const observations = new Map<string, Observation>();
    let memory = memoryOf(null);
    const servers = new Servers(random);
    let watched: readonly string[] = HOSTS;
    for (let at = 1; at <= 200; at += 1) {
      watched = nextCandidates(random, watched);
      if (random(30) === 0) {
        memory = memoryOf(memory.cluster);
        observations.clear();
        history.stopped();
        stops += 1;
      }
      const seen = randomObservation(random, servers, watched, at, memory.cluster?.timeline ?? 2);
      observations.set(seen.candidate.name, seen);
      const candidates = watched.map(candidate);
      retain(observations, candidates);
      history.see(seen, candidates);
      const { verdict, memory: next } = elect({ candidates, observations, memory });
      memory = next;
      if (verdict.kind !== 'primary') continue;
      const claim = observations.get(verdict.primary.candidate.name);
      history.decided(verdict.primary, claim?.at ?? at, candidates);
    }
    moves += history.moves;
    sameAgain += history.sameAgain;
  }
  const words = `${moves} moves, ${sameAgain} to another address of one server, ${stops} stops`;
  assert.ok(moves > 100 && sameAgain > 100 && stops > 1000, `the walk came by ${words}`);
});

test('random histories: never a lower timeline, never a foreign server, no move and no cut without proof', () => {
  const seen = new Map<string, number>();
  for (let seed = 1; seed <= 300; seed += 1) {
    const random = randomFrom(seed);
    const observations = new Map<string, Observation>();
    let memory = memoryOf(null);
    const servers = new Servers(random);
    let watched: readonly string[] = HOSTS;
    for (let at = 1; at <= 200; at += 1) {
      watched = nextCandidates(random, watched);
      const observation = randomObservation(random, servers, watched, at, memory.cluster?.timeline ?? 2);
      observations.set(observation.candidate.name, observation);
      const candidates = watched.map(candidate);
      retain(observations, candidates);
      const decision = elect({ candidates, observations, memory });
      checkStep(memory, candidates, observations, decision);
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
