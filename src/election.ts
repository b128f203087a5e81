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
//   one that is to be fenced answered there, also if the primary has moved since, or a higher timeline was proven. A
//   probe that failed, or a server that is read-only out of recovery (default_transaction_read_only), withdraws the
//   route from new clients and touches no session.
// - Two answers are of one server if they came from one address, or from two with the same system identifier and start
//   time: a name with an IPv4 and an IPv6 address, a floating address beside the server's own. It is no rival of itself,
//   and its sessions stay when it goes on at its other address. That needs a word that is newer than its silence at the
//   present one, and that was not asked for before it was seen in recovery, which it enters only by a restart: who says
//   so later was never there, and an address that answers from recovery has become another server's.
// - A name of the configuration stands for whatever addresses it has. The primary is on the list as long as its name is.
//   When the name does not lead to the primary's address any more, the server that it leads to is the primary moved;
//   while it does, a second writable server behind the name is a rival like any other.
// - While no primary is remembered, all candidates must have been heard or given up on before the first decision: the
//   first to answer may be one of two, or of a timeline that another has left behind since the gateway was stopped. On
//   which one of them claims to be the primary in the remembered cluster is remembered at once.

import { configuredName } from './candidates.js';
import type { Candidate } from './candidates.js';
import type { Cut, Memory } from './memory.js';
import type { Observation, ServerAddress, ServerState } from './probe/observation.js';

/** What tells servers apart. */
export interface ServerIdentity {
  /** The peer of the probe connection that answered: what is routed to. */
  readonly address: ServerAddress;
  readonly systemId: string;
  /** `ServerState.startedAt`; undefined: not known. */
  readonly startedAt?: string;
}

/** A server that proved to be the primary, and where. */
export interface ProvenPrimary extends ServerIdentity {
  readonly candidate: Candidate;
  readonly timeline: number;
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
      /** Grows with each change of identity, address or timeline, and when a primary comes back whose sessions were cut. */
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
interface Answer extends ServerIdentity {
  readonly candidate: Candidate;
  /** When the answer was there. */
  readonly at: number;
  /** Since when it had been asked for: it tells of a moment between the two. */
  readonly askedAt: number;
  readonly state: ServerState;
}

/** Decides. Total: there is an answer for every input, and it throws nothing. */
export function elect(input: ElectionInput): Decision {
  const answers = answersOf(input);
  const claimants = answers.filter(({ state }) => !state.inRecovery && !state.readOnly);
  if (input.memory.primary === null) {
    const missing = input.candidates.filter(({ name }) => !input.observations.has(name));
    if (missing.length > 0) {
      return none(withClaims(input.memory, claimants), 'first-round', `not probed yet: ${namesOf(missing)}`, []);
    }
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
  const memory = withTakeover(withDemotion(input.memory, own), answers);
  return contest(input, { own, foreign, systemId, memory });
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
  const claimants = own.filter(
    (answer) => !answer.state.inRecovery && !answer.state.readOnly && !isOverruled(input, memory, answer),
  );
  const stands = (answer: Answer): boolean =>
    answer.state.timeline === current?.timeline && standingOf(input, current, [answer]) !== undefined;
  const eligible = claimants.filter((answer) => answer.state.timeline >= followed || stands(answer));
  // Never below the floor: a server that is behind it is not among the top then, whoever else there is.
  const best = Math.max(floor, ...eligible.map(({ state }) => state.timeline));
  const top = eligible.filter(({ state }) => state.timeline === best);
  const behind = claimants.filter((answer) => !top.includes(answer));
  const stale = behind.map((answer) => staleBy(Math.max(best, eligible.includes(answer) ? 0 : followed), answer));
  const known = { ...memory, cluster: best > 0 ? { systemId, timeline: best } : memory.cluster };
  const fence = (rivals: readonly Answer[]): readonly Fenced[] =>
    inOrder(input.candidates, [...foreign, ...stale, ...rivals.map((rival) => rivalOf(best, rival))]);

  const standing = standingOf(input, current, top);
  const winner = standing ?? top[0];
  if (winner === undefined) return noClaimant(input, memory, fence([]));
  const rivals = top.filter((answer) => !sameServer(answer, winner));
  if (standing === undefined && rivals.length > 0) {
    const detail = `writable on timeline ${best}: ${namesOf(top.map(({ candidate }) => candidate))}`;
    return none(withSuperseded(known, best), 'split-brain', detail, fence(top));
  }
  if (standing === undefined && current?.timeline === best && isListed(input, current)) {
    return noClaimant(input, memory, fence(top)); // the current primary is only in doubt, and so is not replaced
  }
  return elected(known, winner, standing !== undefined, fence(rivals));
}

/**
 * The answer that speaks for the current primary: best its name and address, then its address, then another of its
 * addresses, then whatever its name leads to instead, if that is one server.
 */
function standingOf(
  { candidates }: ElectionInput,
  current: ProvenPrimary | null,
  top: readonly Answer[],
): Answer | undefined {
  if (current === null) return undefined;
  const same = top.filter((answer) => sameServer(answer, current));
  const there = same.filter(({ address }) => sameAddress(address, current.address));
  const found = there.find(({ candidate }) => candidate.name === current.candidate.name) ?? there[0] ?? same[0];
  if (found !== undefined) return found;
  const leadsThere = (candidate: Candidate): boolean =>
    candidate.address === current.address.address && sameItem(candidate, current.candidate);
  if (candidates.some(leadsThere)) return undefined;
  const [moved, ...others] = top.filter(({ candidate }) => sameItem(candidate, current.candidate));
  return moved !== undefined && others.every((other) => sameServer(other, moved)) ? moved : undefined;
}

/**
 * A claim of the last primary, under another name or at another address, that may not be true any more: it has fallen
 * silent since under its own, or was seen in recovery there, and so may have been restarted.
 */
function isOverruled({ observations }: ElectionInput, memory: Memory, answer: Answer): boolean {
  const last = memory.primary;
  if (last === null || !sameServer(answer, last)) return false;
  const demoted = isDisproven(memory) && memory.cut?.reason === 'demoted';
  if (demoted && !sameAddress(answer.address, last.address)) return answer.askedAt < memory.since;
  const seen = observations.get(last.candidate.name);
  return seen?.kind === 'failed' && seen.at > answer.at;
}

function elected(memory: Memory, winner: Answer, standing: boolean, fenced: readonly Fenced[]): Decision {
  const { candidate, address, state, systemId, startedAt } = winner;
  const { timeline } = state;
  const primary = { candidate, address, timeline, systemId, ...(startedAt === undefined ? {} : { startedAt }) };
  const reason = reasonOf(memory, primary, standing);
  const epoch = reason === 'still-primary' ? memory.epoch : memory.epoch + 1;
  const supersedes = reason === 'higher-timeline' || reason === 'predecessor-gone';
  const cut = supersedes ? cutBelow(memory, epoch, 'superseded') : memory.cut;
  const moves = reason === 'moved' && memory.primary !== null && !sameAddress(memory.primary.address, address);
  const left = moves ? memory.primary.address : supersedes ? null : memory.left;
  const detail = `${candidate.name} is the primary on timeline ${timeline}`;
  return {
    verdict: { kind: 'primary', primary, epoch, reason, detail, fenced, cut },
    memory: { ...memory, primary, since: epoch === memory.epoch ? memory.since : winner.at, left, epoch, cut },
  };
}

/** @param standing it speaks for the current primary */
function reasonOf(memory: Memory, next: ProvenPrimary, standing: boolean): PrimaryReason {
  const last = memory.primary;
  if (last === null) return 'first-primary';
  if (next.timeline > last.timeline) return 'higher-timeline';
  if (!standing) return 'predecessor-gone';
  const identical = next.candidate.name === last.candidate.name && sameAddress(next.address, last.address);
  // What was cut meanwhile stays cut.
  return identical && !isCut(memory) ? 'still-primary' : 'moved';
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
  if (!isListed(input, last)) {
    return none(memory, 'primary-removed', `${name} is no longer a candidate`, fenced);
  }
  const seen = input.observations.get(name) ?? input.observations.get(configuredName(last.candidate));
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
 * asked since it became the primary, else it may be what another name of it said before its promotion.
 */
function withDemotion(memory: Memory, own: readonly Answer[]): Memory {
  const last = memory.primary;
  if (last === null || isDisproven(memory)) return memory;
  const proof = own.find((answer) => answer.state.inRecovery && isThereSince(memory, last.address, answer));
  if (proof === undefined) return memory;
  return { ...memory, since: proof.at, cut: { belowEpoch: memory.epoch + 1, reason: 'demoted' } };
}

/**
 * Notes that the last primary's address, or the one that it left, has become that of a server which is to be fenced:
 * sessions that were meant for it may be there. Where it is itself is as open as before.
 */
function withTakeover(memory: Memory, answers: readonly Answer[]): Memory {
  const { primary: last, left, epoch } = memory;
  if (last === null) return memory;
  const isTaken = (there: ServerAddress): boolean =>
    answers.some((answer) => {
      const { inRecovery, systemId, timeline } = answer.state;
      const isFenced = !inRecovery && (systemId !== last.systemId || timeline < last.timeline);
      return isFenced && isThereSince(memory, there, answer);
    });
  if (isTaken(last.address)) return { ...memory, cut: cutBelow(memory, epoch + 1, 'superseded') };
  if (left === null || !isTaken(left)) return memory;
  return { ...memory, left: null, cut: cutBelow(memory, epoch, 'superseded') };
}

function isThereSince({ since }: Memory, there: ServerAddress, { askedAt, address }: Answer): boolean {
  return askedAt >= since && sameAddress(address, there);
}

/** Notes on which timeline a server claims to be the primary: it may say so no more when all have been heard. */
function withClaims(memory: Memory, claimants: readonly Answer[]): Memory {
  if (memory.cluster === null) return memory;
  const { systemId, timeline } = memory.cluster;
  const claimed = claimants.filter((answer) => answer.systemId === systemId).map(({ state }) => state.timeline);
  return { ...memory, cluster: { systemId, timeline: Math.max(timeline, ...claimed) } };
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

/** It is proven of the last primary's sessions that they must end. */
function isCut({ cut, epoch }: Memory): boolean {
  return cut !== null && cut.belowEpoch > epoch;
}

/** And of itself that it is the primary no more: it did not only lose its address. */
function isDisproven(memory: Memory): boolean {
  const { cluster, cut, primary } = memory;
  return isCut(memory) && (cut?.reason === 'demoted' || (cluster?.timeline ?? 0) > (primary?.timeline ?? 0));
}

/**
 * One server may be listed under two names (its own and a floating one). Then what it said last counts: by an older
 * answer under the other name a server just promoted would look demoted, and one just demoted would look writable. At
 * another address it does no harm: there nothing is proven demoted, and what was writable is overruled. An answer that
 * took its time may be there last and be older: in recovery, from before the promotion, it counts for nothing. So does
 * what was said before another server, or another start of it, answered there.
 */
function answersOf({ candidates, observations, memory }: ElectionInput): Answer[] {
  const all = candidates.flatMap((candidate): Answer[] => {
    const seen = observations.get(candidate.name);
    if (seen?.kind !== 'answered') return [];
    const { at, tookMs, address, state } = seen;
    const askedAt = at - tookMs;
    const promoted = !isDisproven(memory) && memory.primary !== null && sameAddress(memory.primary.address, address);
    if (promoted && state.inRecovery && askedAt < memory.since) return [];
    const { systemId, startedAt } = state;
    return [{ candidate, at, askedAt, address, state, systemId, ...(startedAt === undefined ? {} : { startedAt }) }];
  });
  const says = ({ state, systemId, startedAt }: Answer): string => `${systemId} ${startedAt} ${state.inRecovery}`;
  const outdated = (answer: Answer): boolean =>
    all.some(
      (other) => other.at > answer.at && says(other) !== says(answer) && sameAddress(other.address, answer.address),
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

/** They are one server, as far as anybody can tell. */
export function sameServer(one: ServerIdentity, other: ServerIdentity): boolean {
  if (sameAddress(one.address, other.address)) return true;
  return one.startedAt !== undefined && one.startedAt === other.startedAt && one.systemId === other.systemId;
}

/** The operator has not taken it off the list. */
function isListed({ candidates }: ElectionInput, { candidate }: ProvenPrimary): boolean {
  return candidates.some((listed) => sameItem(listed, candidate));
}

/** They come from one item of the configuration. */
function sameItem(one: Candidate, other: Candidate): boolean {
  return configuredName(one) === configuredName(other);
}

function sameAddress(one: ServerAddress, other: ServerAddress): boolean {
  return one.address === other.address && one.port === other.port;
}

function namesOf(candidates: readonly Candidate[]): string {
  return candidates.map(({ name }) => name).join(', ');
}
