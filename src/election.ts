// SPDX-License-Identifier: MIT
// Who is the primary: a pure function of what the probes saw and of what is
// remembered. No I/O, no clock. Called for every observation that arrives.
//
// The rules, each with its reason:
// - A claimant answered out of recovery and is not read-only. Nothing else is ever a primary.
// - A server of another cluster (system identifier), or on a timeline below the highest ever proven, is fenced: it
//   was resurrected, restored or mixed up, and a write there would be lost.
// - The highest timeline wins: a promotion always begins a new one ("26.3.5. Timelines" in the PostgreSQL manual).
// - On one timeline nobody takes over from the current primary without proof: the current one must have answered
//   from recovery, or the operator must have taken it off the list. Its silence is no proof, and two writable servers
//   on one timeline are a split brain: no route is better than one that swings between diverging servers.
// - Only a proven primary raises the remembered timeline. A standby's number does not: it may be the rest of an
//   accidental promotion, and raising the memory by it would fence the real primary for ever. But a standby that
//   streams timeline 3 right now has a living upstream there, so a server on timeline 2 is not newly elected beside it
//   (a gateway that starts without memory while only the resurrected old primary is reachable). A primary that is
//   elected already stays: a standby that follows the wrong server is suspicion, and suspicion takes nothing away.
// - Sessions are cut on proof only: the server they are on answered from recovery, at the very address they use, or
//   a higher timeline was proven. A probe that failed, or a server that is read-only out of recovery
//   (default_transaction_read_only), withdraws the route from new clients and touches no session.
// - While no primary is remembered, all candidates must have been heard or given up on before the first decision: the
//   first to answer may be one of two, or of a timeline that another has left behind since the gateway was stopped.

import type { Candidate } from './candidates.js';
import type { Cut, Memory } from './memory.js';
import type { Observation, ServerAddress, ServerState } from './probe/observation.js';

/** A server that proved to be the primary, and where. */
export interface ProvenPrimary {
  readonly candidate: Candidate;
  /** The peer of the probe connection that answered: what is routed to. */
  readonly address: ServerAddress;
  readonly timeline: number;
  readonly systemId: string;
}

/** Stable words: log, status and metrics use them. */
export type PrimaryReason =
  | 'still-primary' // it answered again as what it was
  | 'first-primary' // no other was known before
  | 'higher-timeline' // it was promoted
  | 'moved' // the same server, at another address or under another name
  | 'predecessor-gone'; // the same timeline, after the last primary was proven demoted or was removed

export type NoPrimaryReason =
  | 'first-round' // not every candidate has been probed yet
  | 'no-primary' // none was ever proven, and nobody claims to be one that could be believed
  | 'primary-in-doubt' // the last primary does not answer; nothing is proven
  | 'primary-demoted' // the last primary answered from recovery
  | 'primary-read-only' // the last primary is out of recovery, but read-only
  | 'primary-removed' // the last primary is no longer a candidate
  | 'split-brain' // several writable servers on the highest timeline, none of them the current primary
  | 'several-clusters'; // nothing is remembered, and writable servers of different clusters answer

export const FENCE_REASONS = [
  'foreign-cluster', // another system identifier
  'stale-timeline', // writable, on a timeline that has been superseded
  'rival', // writable on the same timeline as another, or as the primary that is in doubt: split brain
] as const;
export type FenceReason = (typeof FENCE_REASONS)[number];

/** A server that must not be routed to, whatever it says of itself. */
export interface Fenced {
  readonly candidate: Candidate;
  readonly reason: FenceReason;
  /** One line for the log. */
  readonly detail: string;
}

interface VerdictBase {
  /** One line for people. */
  readonly detail: string;
  /** In the order of the candidates. */
  readonly fenced: readonly Fenced[];
  /** What is proven about sessions that exist; not an event but the state so far: applying it twice does no harm. */
  readonly cut: Cut | null;
}

export type Verdict =
  | (VerdictBase & {
      readonly kind: 'primary';
      readonly primary: ProvenPrimary;
      /** Grows with each change of identity, address or timeline, and when a demoted primary comes back. */
      readonly epoch: number;
      readonly reason: PrimaryReason;
    })
  | (VerdictBase & { readonly kind: 'none'; readonly reason: NoPrimaryReason });

export interface ElectionInput {
  readonly candidates: readonly Candidate[];
  /** By candidate name; a candidate that was not probed yet has none. Names that are no candidates are ignored. */
  readonly observations: ReadonlyMap<string, Observation>;
  readonly memory: Memory;
}

export interface Decision {
  readonly verdict: Verdict;
  readonly memory: Memory;
}

/** One answering candidate. */
interface Answer {
  readonly candidate: Candidate;
  readonly at: number;
  readonly address: ServerAddress;
  readonly state: ServerState;
}

/** Decides. Total: there is an answer for every input, and it throws nothing. */
export function elect(input: ElectionInput): Decision {
  const answers = answersOf(input);
  const claimants = answers.filter(({ state }) => !state.inRecovery && !state.readOnly);
  if (input.memory.primary === null) {
    const missing = input.candidates.filter(({ name }) => !input.observations.has(name));
    if (missing.length > 0) return none(input.memory, 'first-round', `not probed yet: ${namesOf(missing)}`, []);
  }
  const systemIds = [...new Set(claimants.map(({ state }) => state.systemId))];
  const systemId = input.memory.cluster?.systemId ?? systemIds[0];
  if (systemId === undefined) return none(input.memory, 'no-primary', 'no server out of recovery and writable', []);
  if (input.memory.cluster === null && systemIds.length > 1) {
    const detail = claimants.map(({ candidate, state }) => `${candidate.name} is of ${state.systemId}`).join(', ');
    return none(input.memory, 'several-clusters', `writable servers of different clusters: ${detail}`, []);
  }
  const own = answers.filter(({ state }) => state.systemId === systemId);
  const foreign = answers
    .filter(({ state }) => state.systemId !== systemId)
    .map((answer) => foreignTo(systemId, answer));
  return contest(input, { own, foreign, systemId, memory: withDemotion(input, own) });
}

/** What is left to decide about, once foreign servers are out of it. */
interface Field {
  /** The answers of this cluster. */
  readonly own: readonly Answer[];
  readonly foreign: readonly Fenced[];
  readonly systemId: string;
  readonly memory: Memory;
}

function contest(input: ElectionInput, { own, foreign, systemId, memory }: Field): Decision {
  const current = isDisproven(memory) ? null : memory.primary;
  const floor = memory.cluster?.timeline ?? 0;
  const followed = Math.max(
    0,
    ...own.filter(({ state }) => state.streaming === true).map(({ state }) => state.timeline),
  );
  const claimants = own.filter(({ state }) => !state.inRecovery && !state.readOnly);
  const eligible = claimants.filter((answer) => answer.state.timeline >= followed || stands(current, answer));
  // Never below the floor: a server that is behind it is not among the top then, whoever else there is.
  const best = Math.max(floor, ...eligible.map(({ state }) => state.timeline));
  const top = eligible.filter(({ state }) => state.timeline === best);
  const behind = claimants.filter((answer) => !top.includes(answer));
  const stale = behind.map((answer) => staleBy(Math.max(best, eligible.includes(answer) ? 0 : followed), answer));
  const known = { ...memory, cluster: best > 0 ? { systemId, timeline: best } : memory.cluster };
  const fence = (rivals: readonly Answer[]): readonly Fenced[] =>
    inOrder(input.candidates, [...foreign, ...stale, ...rivals.map((rival) => rivalOf(best, rival))]);

  const standing = standingOf(current, top);
  const winner = standing ?? top[0];
  if (winner === undefined) return noClaimant(input, memory, fence([]));
  const rivals = top.filter((answer) => !sameAddress(answer.address, winner.address));
  if (standing === undefined && rivals.length > 0) {
    const detail = `writable on timeline ${best}: ${namesOf(top.map(({ candidate }) => candidate))}`;
    return none(withSuperseded(known, best), 'split-brain', detail, fence(top));
  }
  const listed = current !== null && input.candidates.some(({ name }) => name === current.candidate.name);
  if (standing === undefined && listed && current.timeline === best) {
    return noClaimant(input, memory, fence(top)); // the current primary is only in doubt, and so is not replaced
  }
  return elected(known, winner, systemId, fence(rivals));
}

/** The answer that speaks for the current primary: best its name and address, then its address, then its name. */
function standingOf(current: ProvenPrimary | null, top: readonly Answer[]): Answer | undefined {
  if (current === null) return undefined;
  const atAddress = top.filter(({ address }) => sameAddress(address, current.address));
  const named = (answer: Answer): boolean => answer.candidate.name === current.candidate.name;
  return atAddress.find(named) ?? atAddress[0] ?? top.find(named);
}

function stands(current: ProvenPrimary | null, answer: Answer): boolean {
  return answer.state.timeline === current?.timeline && standingOf(current, [answer]) !== undefined;
}

function elected(memory: Memory, winner: Answer, systemId: string, fenced: readonly Fenced[]): Decision {
  const { candidate, address, state } = winner;
  const primary: ProvenPrimary = { candidate, address, timeline: state.timeline, systemId };
  const reason = reasonOf(memory, primary);
  const epoch = reason === 'still-primary' ? memory.epoch : memory.epoch + 1;
  const supersedes = reason === 'higher-timeline' || reason === 'predecessor-gone';
  const cut = supersedes ? cutBelow(memory, epoch, 'superseded') : memory.cut;
  const detail = `${candidate.name} is the primary on timeline ${state.timeline}`;
  return {
    verdict: { kind: 'primary', primary, epoch, reason, detail, fenced, cut },
    memory: { ...memory, primary, since: epoch === memory.epoch ? memory.since : winner.at, epoch, cut },
  };
}

function reasonOf(memory: Memory, next: ProvenPrimary): PrimaryReason {
  const last = memory.primary;
  if (last === null) return 'first-primary';
  if (next.timeline > last.timeline) return 'higher-timeline';
  if (isDisproven(memory)) return 'predecessor-gone';
  const sameName = next.candidate.name === last.candidate.name;
  const sameServer = sameAddress(next.address, last.address);
  if (sameName && sameServer) return 'still-primary';
  return sameName || sameServer ? 'moved' : 'predecessor-gone';
}

function noClaimant(input: ElectionInput, memory: Memory, fenced: readonly Fenced[]): Decision {
  const last = memory.primary;
  if (last === null) return none(memory, 'no-primary', 'no server out of recovery and writable can be trusted', fenced);
  const { name } = last.candidate;
  if (isDisproven(memory)) {
    const superseded = memory.cut?.reason === 'superseded';
    if (superseded) return none(memory, 'no-primary', `${name} was superseded, its successor does not answer`, fenced);
    return none(memory, 'primary-demoted', `${name} is in recovery now`, fenced);
  }
  if (!input.candidates.some((candidate) => candidate.name === name)) {
    return none(memory, 'primary-removed', `${name} is no longer a candidate`, fenced);
  }
  const seen = input.observations.get(name);
  if (seen === undefined) return none(memory, 'primary-in-doubt', `${name} is not probed yet`, fenced);
  if (seen.kind === 'failed')
    return none(memory, 'primary-in-doubt', `${name}: ${seen.reason}: ${seen.detail}`, fenced);
  if (seen.state.readOnly && !seen.state.inRecovery) {
    return none(memory, 'primary-read-only', `${name} is out of recovery, but read-only`, fenced);
  }
  return none(memory, 'primary-in-doubt', `${name} answers, but not as the server that was proven`, fenced);
}

function none(memory: Memory, reason: NoPrimaryReason, detail: string, fenced: readonly Fenced[]): Decision {
  return { verdict: { kind: 'none', reason, detail, fenced, cut: memory.cut }, memory };
}

/**
 * Notes that the last primary answered from recovery: at its own address, else it may be another server of its name; and
 * since it became the primary, else it is what another name of it said before its promotion.
 */
function withDemotion(input: ElectionInput, own: readonly Answer[]): Memory {
  const { memory } = input;
  const last = memory.primary;
  if (last === null) return memory;
  const proof = own.some(
    ({ at, address, state }) => at >= memory.since && state.inRecovery && sameAddress(address, last.address),
  );
  return proof ? { ...memory, cut: cutBelow(memory, memory.epoch + 1, 'demoted') } : memory;
}

/** Notes that a timeline above the last primary's was proven, though it is not decided whose it is. */
function withSuperseded(memory: Memory, timeline: number): Memory {
  if (memory.primary === null || memory.primary.timeline >= timeline) return memory;
  return { ...memory, cut: cutBelow(memory, memory.epoch + 1, 'superseded') };
}

/** The first proof about a session stays: what comes after finds nothing to cut. */
function cutBelow(memory: Memory, belowEpoch: number, reason: Cut['reason']): Cut {
  return memory.cut !== null && memory.cut.belowEpoch >= belowEpoch ? memory.cut : { belowEpoch, reason };
}

function isDisproven(memory: Memory): boolean {
  return memory.cut !== null && memory.cut.belowEpoch > memory.epoch;
}

/**
 * One server may be listed under two names (its own and a floating one). Then what it said last counts: by an older
 * answer under the other name a server just promoted would look demoted, and one just demoted would look writable.
 */
function answersOf({ candidates, observations }: ElectionInput): Answer[] {
  const all = candidates.flatMap((candidate): Answer[] => {
    const seen = observations.get(candidate.name);
    return seen?.kind === 'answered' ? [{ candidate, at: seen.at, address: seen.address, state: seen.state }] : [];
  });
  const outdated = (answer: Answer): boolean =>
    all.some(
      ({ at, address, state }) =>
        at > answer.at && state.inRecovery !== answer.state.inRecovery && sameAddress(address, answer.address),
    );
  return all.filter((answer) => !outdated(answer));
}

function foreignTo(systemId: string, { candidate, state }: Answer): Fenced {
  const detail = `its system identifier is ${state.systemId}, the cluster's is ${systemId}`;
  return { candidate, reason: 'foreign-cluster', detail };
}

function staleBy(timeline: number, { candidate, state }: Answer): Fenced {
  const detail = `it claims to be the primary on timeline ${state.timeline}, the cluster is on ${timeline}`;
  return { candidate, reason: 'stale-timeline', detail };
}

function rivalOf(timeline: number, { candidate }: Answer): Fenced {
  return { candidate, reason: 'rival', detail: `split brain: it is writable on timeline ${timeline} too` };
}

function inOrder(candidates: readonly Candidate[], fenced: readonly Fenced[]): readonly Fenced[] {
  return candidates.flatMap(({ name }) => fenced.filter(({ candidate }) => candidate.name === name));
}

function sameAddress(one: ServerAddress, other: ServerAddress): boolean {
  return one.address === other.address && one.port === other.port;
}

function namesOf(candidates: readonly Candidate[]): string {
  return candidates.map(({ name }) => name).join(', ');
}
