// SPDX-License-Identifier: MIT
// All candidates together: are they servers of one cluster with one primary? Pure.
// Who would be routed to is the election's to say; this says what speaks against the
// configuration whatever it decides.

import { sameServer } from '../election.js';
import type { Verdict } from '../election.js';
import type { Observation } from '../probe/observation.js';
import type { ProbeFacts } from './facts.js';
import type { Finding } from './finding.js';

type Answer = Extract<Observation, { kind: 'answered' }>;

export function clusterFindings({ inspected, remembered, memoryProblem, verdict }: ProbeFacts): readonly Finding[] {
  const answers = inspected
    .map(({ inspection }) => inspection.observation)
    .filter((seen): seen is Answer => seen.kind === 'answered');
  const strangers = strangerFinding(answers, remembered?.systemId);
  const rivals = rivalFinding(answers);
  return [
    ...(memoryProblem === undefined ? [] : [memoryFinding(memoryProblem)]),
    ...(strangers === undefined ? [] : [strangers]),
    ...(rivals === undefined ? [] : [rivals]),
    ...(verdict.kind === 'primary' ? [] : unusableFindings(answers, inspected.length)),
    ...fenceFindings(verdict),
  ];
}

/** Why there is no primary though there are servers that answer; those that do not are told of each for itself. */
function unusableFindings(answers: readonly Answer[], candidates: number): readonly Finding[] {
  if (answers.length > 0 && answers.every(({ state }) => state.inRecovery)) {
    const who = answers.length === candidates ? 'all candidates are' : 'all that answer are';
    return [
      {
        level: 'warning',
        about: '',
        what: `${who} in recovery, as standbys are: clients would wait for a primary`,
        fix: 'name the server that is the primary in candidates too, or have one of them promoted, by what manages the cluster or by SELECT pg_promote()',
      },
    ];
  }
  return answers
    .filter(({ state }) => !state.inRecovery && state.readOnly)
    .map(({ candidate }) => ({
      level: 'warning',
      about: candidate.name,
      what: 'it is out of recovery, but transactions of the probe are read-only, and so it would get no client: default_transaction_read_only is on, for the server, or for the role or the database of the probe',
      fix: 'unless it is meant to be fenced off: ALTER SYSTEM, ALTER ROLE or ALTER DATABASE ... RESET default_transaction_read_only, where it was set, then SELECT pg_reload_conf()',
    }));
}

function memoryFinding(problem: string): Finding {
  return {
    level: 'note',
    about: '',
    what: `what the gateway remembers of the cluster could not be read, and the verdict is that of a first start: ${problem.replace(/\.$/, '')}`,
    fix: 'run this as root, or as the user that the gateway runs as',
  };
}

function strangerFinding(answers: readonly Answer[], remembered: string | undefined): Finding | undefined {
  const clusters = new Map<string, string[]>();
  for (const { candidate, state } of answers) {
    clusters.set(state.systemId, [...(clusters.get(state.systemId) ?? []), candidate.name]);
  }
  const all = [...clusters].map(([systemId, names]) => `${names.join(', ')}: ${systemId}`).join('; ');
  if (clusters.size > 1) {
    return {
      level: 'warning',
      about: '',
      what: `the candidates are of different clusters, by their system identifiers: ${all}`,
      fix: 'take those of another cluster out of candidates; a standby is made by pg_basebackup, and not by initdb',
    };
  }
  if (remembered === undefined || clusters.size === 0 || clusters.has(remembered)) return undefined;
  return {
    level: 'warning',
    about: '',
    what: `the gateway remembers another cluster, ${remembered}, than the one that answers (${all})`,
    fix: 'correct candidates, or, where the cluster was made anew, let the old one be forgotten: pg-gateway --forget-cluster',
  };
}

function rivalFinding(answers: readonly Answer[]): Finding | undefined {
  const primaries = answers.filter(({ state }) => !state.inRecovery);
  const identity = ({ address, state }: Answer): Parameters<typeof sameServer>[0] => ({
    address,
    systemId: state.systemId,
    ...(state.startedAt === undefined ? {} : { startedAt: state.startedAt }),
  });
  const servers = primaries.filter(
    (one, index) => !primaries.slice(0, index).some((other) => sameServer(identity(one), identity(other))),
  );
  if (servers.length < 2) return undefined;
  const all = servers.map(({ candidate, state }) => `${candidate.name} on timeline ${String(state.timeline)}`);
  return {
    level: 'warning',
    about: '',
    what: `${String(servers.length)} servers are out of recovery, as only a primary should be: ${all.join(', ')}`,
    fix: 'stop the one that was left behind, on the lower timeline as a rule, and make it a standby of the other (pg_rewind, pg_basebackup) before it starts again',
  };
}

/** A foreign server is told of above. */
function fenceFindings({ fenced }: Verdict): readonly Finding[] {
  return fenced
    .filter(({ reason }) => reason === 'stale-timeline')
    .map(({ candidate, detail }) => ({
      level: 'warning',
      about: candidate.name,
      what: `it would get no client: ${detail}`,
      fix: 'make it a standby of the primary (pg_rewind, pg_basebackup); after a restore from a backup, let the old timeline be forgotten: pg-gateway --forget-cluster',
    }));
}
