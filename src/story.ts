// SPDX-License-Identifier: MIT
// What people are told of a verdict: the log's STATE CHANGE and failover lines, the
// lines about fenced servers, and systemd's status line. Words only; decides nothing.

import type { Candidate } from './candidates.js';
import { describeStates } from './describe-states.js';
import type { ProvenPrimary, Verdict } from './election.js';
import type { Failover } from './failovers.js';
import type { Readiness } from './http.js';
import type { Logger } from './log.js';
import type { Observation } from './probe/observation.js';

export interface VerdictChange {
  readonly verdict: Verdict;
  /** Undefined: this is the first one. */
  readonly previous: Verdict | undefined;
  /** The last proven primary before this verdict, also if it was in doubt for a while; undefined: there was none. */
  readonly lastPrimary: ProvenPrimary | undefined;
  readonly candidates: readonly Candidate[];
  readonly observations: ReadonlyMap<string, Observation>;
}

/** One line for a change of the primary or of the reason for having none; one for each server newly fenced. */
export function logVerdict(logger: Logger, change: VerdictChange): void {
  const { verdict, previous, lastPrimary, candidates, observations } = change;
  if (wordsOf(primaryOf(verdict)) !== wordsOf(primaryOf(previous)) || verdict.reason !== previous?.reason) {
    const fields = {
      old: wordsOf(lastPrimary),
      new: wordsOf(primaryOf(verdict)),
      reason: verdict.reason,
      detail: verdict.detail,
      ...(verdict.kind === 'primary' ? { timeline: verdict.primary.timeline, epoch: verdict.epoch } : {}),
      states: describeStates(candidates, observations, verdict.fenced),
    };
    if (verdict.kind === 'primary') logger.notice('STATE CHANGE', fields);
    else logger.warning('STATE CHANGE', fields);
  }
  for (const { candidate, reason, detail } of verdict.fenced) {
    const known = previous?.fenced.some(
      (fenced) => fenced.candidate.name === candidate.name && fenced.reason === reason,
    );
    if (known !== true) logger.warning('server fenced: it gets no traffic', { server: candidate.name, reason, detail });
  }
}

/** The whole of a failover in one line, once it is decided. */
export function logFailover(logger: Logger, failover: Failover): void {
  const { old, new: next, doubt, decidedInMs, cut, held } = failover;
  logger.notice('failover', {
    old: wordsOf(old),
    new: wordsOf(next),
    timeline: `${old.timeline.toString()}->${next.timeline.toString()}`,
    doubt: doubt.cause,
    decided_in_ms: decidedInMs.toFixed(1),
    held,
    cut,
  });
}

/** What is told beside the verdict. */
export interface Circumstances {
  readonly sessions: number;
  /** New clients wait because an administrator wants it. */
  readonly holding: boolean;
  /** No new clients are accepted, and sessions are waited for. */
  readonly draining: boolean;
  /** The configuration that was found last was rejected, and an earlier one goes on. */
  readonly rejected: boolean;
}

const DRAINING = 'draining: no new clients are accepted';

/** For `systemctl status`: the primary, or why there is none, how many sessions there are, and what is not as usual. */
export function statusText(verdict: Verdict | undefined, now: Circumstances): string {
  return [
    verdictText(verdict, now.sessions),
    ...(now.holding ? ['new clients are held by an administrator'] : []),
    ...(now.draining ? [DRAINING] : []),
    ...(now.rejected ? ['the configuration was rejected, an earlier one goes on'] : []),
  ].join('; ');
}

function verdictText(verdict: Verdict | undefined, sessions: number): string {
  const count = `${sessions.toString()} ${sessions === 1 ? 'session' : 'sessions'}`;
  if (verdict === undefined) return `Looking for the primary; ${count}`;
  if (verdict.kind === 'none') {
    const what = verdict.reason === 'split-brain' ? `split brain, ${verdict.detail}` : verdict.detail;
    return `No primary (${what}); ${count}`;
  }
  const { candidate, timeline } = verdict.primary;
  const rivals = verdict.fenced.filter(({ reason }) => reason === 'rival').map((rival) => rival.candidate.name);
  const splitBrain = rivals.length === 0 ? '' : `; split brain: ${rivals.join(', ')} is writable on it too`;
  return `Primary is ${candidate.name} on timeline ${timeline.toString()}${splitBrain}; ${count}`;
}

/** What /readyz says: whether a client that comes now gets somewhere. */
export function readinessOf(verdict: Verdict | undefined, draining: boolean): Readiness {
  const orders = draining ? [DRAINING] : [];
  if (verdict?.kind === 'primary') return { ready: !draining, reason: [...orders, verdict.detail].join('; ') };
  const why = verdict === undefined ? 'starting' : `${verdict.reason}: ${verdict.detail}`;
  return { ready: false, reason: [...orders, `no primary: ${why}`].join('; ') };
}

/** `db1:5432`, with the address where the name is resolved to one and does not have it; `none`. */
function wordsOf(primary: ProvenPrimary | undefined): string {
  if (primary === undefined) return 'none';
  const { candidate, address } = primary;
  return (candidate.address ?? candidate.host) === address.address
    ? candidate.name
    : `${candidate.name}(${address.address})`;
}

function primaryOf(verdict: Verdict | undefined): ProvenPrimary | undefined {
  return verdict?.kind === 'primary' ? verdict.primary : undefined;
}
