// SPDX-License-Identifier: MIT
// The one picture of the whole: a pure function of what the daemon knows. The control
// socket, and whatever else shows a status, shows this.

import type { Candidate } from '../candidates.js';
import type { DataPlaneStats } from '../dataplane-stats.js';
import type { Verdict } from '../election.js';
import type { Observation } from '../probe/observation.js';
import { duration, plural } from '../readable.js';
import { isoTime } from './clock.js';
import type { Clock } from './clock.js';
import type {
  FailoverDocument,
  Health,
  ServerDocument,
  ServerRole,
  StatusDocument,
  VerdictDocument,
} from './documents.js';
import type { FaultTimes } from './recent-faults.js';

/** A span that was ordered; monotonic milliseconds. */
export interface Span {
  readonly since: number;
  readonly until: number;
}

export interface StatusInput extends FaultTimes {
  readonly clock: Clock;
  readonly version: string;
  readonly pid: number;
  /** Monotonic milliseconds, as all times here. */
  readonly startedAt: number;
  readonly verdict: Verdict | undefined;
  /** Since when there is this primary, or none. */
  readonly verdictSince: number;
  readonly suspected: boolean;
  /** HOLD_TIMEOUT_MS; 0: nobody waits. */
  readonly holdTimeoutMs: number;
  readonly candidates: readonly Candidate[];
  readonly observations: ReadonlyMap<string, Observation>;
  /** Since when each candidate has its role. */
  readonly roleSince: (name: string) => number | undefined;
  readonly stats: DataPlaneStats;
  /** Slot of a candidate in the stats. */
  readonly slotOf: (name: string) => number | undefined;
  readonly maxConnections: number;
  readonly hold: Span | undefined;
  readonly drain: (Span & { readonly exits: boolean }) | undefined;
  /** Whether sessions outlive the process. */
  readonly keepsSessions: boolean;
  readonly logLevel: string;
  readonly stateSaved: boolean;
  /** What is wrong with the configuration that was found last, while an earlier one goes on. */
  readonly rejected: readonly string[];
  /** How many failovers there were in this process. */
  readonly failovers: number;
  readonly lastFailover: FailoverDocument | undefined;
}

/** So much of the limit of clients is worth a warning. */
const NEARLY_FULL = 0.9;
/** A worker that answers no sooner than that stands still. This and the next as in packaging/prometheus/alerts.yml. */
export const STALLED_MS = 3000;
/** What has happened is told for so long. */
export const LATELY_MS = 300_000;

export function statusDocument(input: StatusInput): StatusDocument {
  const { clock, verdict, stats, hold, drain, startedAt } = input;
  const servers = input.candidates.map((candidate) => serverDocument(input, candidate));
  const problems = problemsOf(input, servers);
  return {
    health: healthOf(input, problems),
    problems,
    version: input.version,
    pid: input.pid,
    started_at: isoTime(clock, startedAt),
    uptime_seconds: seconds(clock.now - startedAt),
    verdict: verdictDocument(input),
    primary:
      verdict?.kind === 'primary'
        ? {
            server: verdict.primary.candidate.name,
            ...verdict.primary.address,
            timeline: verdict.primary.timeline,
            epoch: verdict.epoch,
          }
        : null,
    servers,
    clients: {
      sessions: stats.active,
      held: stats.held,
      silent: stats.silent,
      limit: input.maxConnections,
      accepted_total: Number(stats.accepted),
      bytes_client_to_server_total: Number(stats.bytesClientToBackend),
      bytes_server_to_client_total: Number(stats.bytesBackendToClient),
    },
    hold: hold === undefined ? null : { since: isoTime(clock, hold.since), until: isoTime(clock, hold.until) },
    drain:
      drain === undefined
        ? null
        : { since: isoTime(clock, drain.since), until: isoTime(clock, drain.until), exits: drain.exits },
    sessions_kept: input.keepsSessions ? stats.kept.sessions : null,
    log_level: input.logLevel,
    state_saved: input.stateSaved,
    failovers: input.failovers,
    last_failover: input.lastFailover ?? null,
  };
}

/** What a candidate is, by its last probe and by what was decided of it. */
export function roleOf(name: string, seen: Observation | undefined, verdict: Verdict | undefined): ServerRole {
  if (seen === undefined) return 'unprobed';
  if (verdict?.fenced.some(({ candidate }) => candidate.name === name) === true) return 'fenced';
  if (seen.kind === 'failed') return 'down';
  if (seen.state.inRecovery) return 'standby';
  if (seen.state.readOnly) return 'read-only';
  return verdict?.kind === 'primary' && verdict.primary.candidate.name === name ? 'primary' : 'writable';
}

function serverDocument(input: StatusInput, { name, port }: Candidate): ServerDocument {
  const { clock, verdict, observations, stats } = input;
  const seen = observations.get(name);
  const role = roleOf(name, seen, verdict);
  const since = input.roleSince(name);
  const slot = input.slotOf(name);
  const answered = seen?.kind === 'answered' ? seen : undefined;
  const fence = verdict?.fenced.find(({ candidate }) => candidate.name === name);
  const trouble = fence ?? (seen?.kind === 'failed' ? seen : undefined);
  return {
    name,
    role,
    since: since === undefined ? null : isoTime(clock, since),
    address: answered?.address.address ?? null,
    port: answered?.address.port ?? port,
    timeline: answered?.state.timeline ?? null,
    lag_bytes: role === 'standby' ? lagOf(input, answered?.state.lsn ?? null) : null,
    sessions: stats.servers.find(({ server }) => server === slot)?.sessions ?? 0,
    probe_ms: seen === undefined ? null : tenths(seen.tookMs),
    probe_age_seconds: seen === undefined ? null : seconds(clock.now - seen.at),
    reason: trouble?.reason ?? null,
    detail: trouble?.detail ?? null,
  };
}

/** The two were not seen at one moment: what the primary wrote in between is no lag, nor can it be less than none. */
function lagOf({ verdict, observations }: StatusInput, lsn: bigint | null): number | null {
  if (verdict?.kind !== 'primary' || lsn === null) return null;
  const primary = observations.get(verdict.primary.candidate.name);
  if (primary?.kind !== 'answered' || primary.state.lsn === null) return null;
  return Math.max(0, Number(primary.state.lsn - lsn));
}

function verdictDocument({ clock, verdict, verdictSince, suspected }: StatusInput): VerdictDocument {
  const since = isoTime(clock, verdictSince);
  if (verdict === undefined) {
    return { kind: 'unknown', reason: 'first-round', detail: 'looking for the primary', since, suspected: false };
  }
  return { kind: verdict.kind, reason: verdict.reason, detail: verdict.detail, since, suspected };
}

function problemsOf(input: StatusInput, servers: readonly ServerDocument[]): readonly string[] {
  const { verdict, suspected, stats, maxConnections, hold, drain } = input;
  const clients = stats.active + stats.held + stats.silent;
  const problems: string[] = [];
  if (verdict === undefined) problems.push('the first round of probes is not over');
  else if (verdict.kind === 'none') problems.push(`no primary (${verdict.reason}): ${verdict.detail}`);
  else if (suspected) problems.push(suspicionOf(input));
  problems.push(...dataPlaneProblems(input));
  for (const { name, role, reason, detail } of servers) {
    if (role === 'fenced' || role === 'down') problems.push(`${name} is ${role} (${reason ?? ''}): ${detail ?? ''}`);
    else if (role === 'read-only') problems.push(`${name} is out of recovery, and read-only`);
  }
  if (hold !== undefined) problems.push('new clients are held by an administrator');
  if (drain !== undefined) problems.push('no new clients are accepted: it is being drained');
  if (clients >= maxConnections * NEARLY_FULL) problems.push(`${clients} of ${maxConnections} clients are there`);
  const [fault, ...faults] = input.rejected;
  if (fault !== undefined) {
    const more = faults.length === 0 ? '' : ` (and ${faults.length} more, see the log)`;
    problems.push(`the configuration was rejected, an earlier one goes on: ${fault}${more}`);
  }
  if (!input.stateSaved) problems.push('what is remembered of the cluster is not on disk');
  if (isLately(input, input.keepFailedAt)) {
    problems.push('in the last 5 minutes sessions could not be kept: they would end with the process');
  }
  return problems;
}

/** As routing.ts has it: where nobody waits new clients go on to the primary. */
function suspicionOf({ holdTimeoutMs }: StatusInput): string {
  const clients = holdTimeoutMs > 0 ? 'new clients wait until it has answered' : 'it is asked whether it still is one';
  return `something speaks against the primary: ${clients}`;
}

/** What keeps clients waiting though there is a primary. */
function dataPlaneProblems(input: StatusInput): readonly string[] {
  const stalled = input.stats.workers.flatMap(({ loopLagMs: lag, sessions }, number) =>
    lag > STALLED_MS ? [{ number, lag, sessions }] : [],
  );
  const problems = stalled.map(
    ({ number, lag, sessions }) =>
      `worker ${number} stands still, with ${plural(sessions, 'session')}: no answer for ${duration(lag / 1000)}`,
  );
  if (isLately(input, input.lackedAt)) {
    problems.push('in the last 5 minutes descriptors or memory had run out: clients waited');
  }
  return problems;
}

function isLately({ clock }: StatusInput, at: number | undefined): boolean {
  return at !== undefined && clock.now - at <= LATELY_MS;
}

function healthOf({ verdict }: StatusInput, problems: readonly string[]): Health {
  if (verdict?.kind !== 'primary') return 'critical';
  return problems.length === 0 ? 'ok' : 'warning';
}

function seconds(ms: number): number {
  return Math.max(0, Math.round(ms) / 1000);
}

function tenths(ms: number): number {
  return Math.round(ms * 10) / 10;
}
