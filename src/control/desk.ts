// SPDX-License-Identifier: MIT
// What an administrator may ask of the gateway and have it do. Owns what is ordered (a
// hold, a drain) and what is remembered for the telling: since when servers are what
// they are, and the failovers. The daemon decides and acts; each order is in the log.

import type { Candidate } from '../candidates.js';
import type { DataPlane } from '../dataplane.js';
import type { DataPlaneStats } from '../dataplane-stats.js';
import { clientsOf, DRAIN_LOOK_MS } from '../drain.js';
import type { Verdict } from '../election.js';
import { GatewayError } from '../errors.js';
import type { Outcome } from '../failovers.js';
import type { LogFields, Logger, LogLevel } from '../log.js';
import type { Doubt } from '../monitor.js';
import type { Observation } from '../probe/observation.js';
import type { ServerSlots } from '../server-slots.js';
import type { SessionFacts } from '../session-inquiries.js';
import type { Timers } from '../timers.js';
import type { Desk } from './api.js';
import { isoTime, readClock } from './clock.js';
import type { Clock } from './clock.js';
import type {
  DrainDocument,
  FailoversDocument,
  HoldDocument,
  KillDocument,
  LogLevelDocument,
  ReloadDocument,
  SessionDocument,
  SessionsDocument,
  StatusDocument,
  VersionDocument,
} from './documents.js';
import { FailoverHistory } from './failover-history.js';
import { AdministratorHold } from './hold.js';
import { RecentFaults } from './recent-faults.js';
import type { DrainRequest, SessionsRequest } from './requests.js';
import { RoleClock } from './role-clock.js';
import { statusDocument } from './status-document.js';
import type { Span, StatusInput } from './status-document.js';

/** What the daemon knows at this moment. */
export interface Facts {
  readonly verdict: Verdict | undefined;
  readonly suspected: boolean;
  readonly candidates: readonly Candidate[];
  readonly observations: ReadonlyMap<string, Observation>;
  readonly maxConnections: number;
  /** HOLD_TIMEOUT_MS */
  readonly holdTimeoutMs: number;
  readonly logLevel: LogLevel;
  readonly stateSaved: boolean;
  readonly rejected: readonly string[];
}

export interface DeskOptions {
  readonly facts: () => Facts;
  readonly dataPlane: DataPlane;
  readonly slots: ServerSlots;
  readonly reload: () => ReloadDocument;
  readonly setLogLevel: (level: LogLevel) => void;
  /** A hold begins or has ended, or its clients have had their time: the route and how long clients wait are others. */
  readonly onHold: () => void;
  /** A drain begins. */
  readonly onDrain: () => void;
  /** Has the process end in an orderly way. */
  readonly stop: () => void;
  readonly logger: Logger;
  readonly timers: Timers;
  readonly version: string;
}

/** With nobody left a drain ends the process so much later: who waits for it can see that nobody is. */
const LAST_LOOKS_MS = 300;

export class ControlDesk implements Desk {
  readonly #options: DeskOptions;
  readonly #roles = new RoleClock();
  readonly #history = new FailoverHistory();
  readonly #faults = new RecentFaults();
  readonly #hold: AdministratorHold;
  readonly #startedAt: number;
  #verdict: Verdict | undefined;
  #verdictSince: number;
  #drain: (Span & { readonly exits: boolean }) | undefined;
  #cancelDrain: (() => void) | undefined;
  #state: 'starting' | 'open' | 'closed' = 'starting';

  constructor(options: DeskOptions) {
    this.#options = options;
    const { timers, logger } = options;
    // The process is a little older than its desk.
    this.#startedAt = timers.now() - process.uptime() * 1000;
    this.#verdictSince = timers.now();
    this.#hold = new AdministratorHold(
      timers,
      () => options.facts().holdTimeoutMs,
      (expired) => {
        if (expired) logger.warning('clients are no longer held: the time that was given is over');
        options.onHold();
      },
    );
  }

  // ---- what the daemon tells, and asks ----------------------------------------

  /** After each probe. */
  observed(): void {
    const { candidates, observations, verdict } = this.#options.facts();
    this.#roles.update(candidates, observations, verdict, this.#options.timers.now());
  }

  /** Every few seconds. */
  counted(stats: DataPlaneStats): void {
    this.#faults.observe(stats, this.#options.timers.now());
  }

  /** After each verdict, once its route has been given out. */
  decided(verdict: Verdict, doubt: Doubt, outcome: Outcome, decidedAt: number): void {
    // Of another fence, cut or reason for having none there is a verdict too.
    if (!standsStill(this.#verdict, verdict)) this.#verdictSince = decidedAt;
    this.#verdict = verdict;
    this.#history.decided(verdict, doubt, outcome, decidedAt, this.#clock());
    this.observed();
  }

  /** New clients wait, whatever primary there is. */
  get holding(): boolean {
    return this.#hold.span !== undefined;
  }

  /** No new clients are accepted, since it was ordered. */
  get draining(): boolean {
    return this.#drain !== undefined;
  }

  /** Sessions have been waited for as long as was ordered: a stop need not do so again. */
  get drained(): boolean {
    return this.#drain !== undefined && this.#options.timers.now() >= this.#drain.until;
  }

  /** @param configuredMs HOLD_TIMEOUT_MS */
  holdTimeoutMs(configuredMs: number): number {
    return this.#hold.timeoutMs(configuredMs);
  }

  /** Clients have been accepted: a stop may wait for what they do. */
  get accepts(): boolean {
    return this.#state === 'open';
  }

  /** Clients are accepted: from now on it can be ordered otherwise. */
  opened(): void {
    this.#state = 'open';
  }

  /** Idempotent. */
  close(): void {
    this.#state = 'closed';
    this.#hold.close();
    this.#cancelDrain?.();
  }

  // ---- what is asked ------------------------------------------------------------

  status(): StatusDocument {
    return statusDocument(this.#input());
  }

  failovers(): FailoversDocument {
    const since = isoTime(this.#clock(), this.#startedAt);
    return { since, total: this.#history.total, failovers: this.#history.list() };
  }

  version(): VersionDocument {
    return { version: this.#options.version, node: process.version, pid: process.pid };
  }

  async sessions({ server, limit, ...rest }: SessionsRequest): Promise<SessionsDocument> {
    const { dataPlane, slots } = this.#options;
    const slot = server === undefined ? undefined : slots.find(server);
    if (server !== undefined && slot === undefined) {
      const known = slots.entries().map(([name]) => name);
      throw new GatewayError('CONTROL_REQUEST', `server: ${JSON.stringify(server)} is none of ${known.join(', ')}`);
    }
    const query = { ...rest, ...(slot === undefined ? {} : { server: slot }), limit };
    const { sessions, matching } = await dataPlane.inquiries.list(query);
    return { matching, sessions: sessions.map((facts) => this.#sessionDocument(facts)) };
  }

  async kill(ids: readonly number[]): Promise<KillDocument> {
    // Before the answer: a worker that stands still ends them later, and nobody would have been told.
    this.#log('sessions are to be ended', { ids: ids.join(' ') });
    const ended = new Set(await this.#options.dataPlane.inquiries.kill(ids));
    const killed = ids.filter((id) => ended.has(id));
    const unknown = ids.filter((id) => !ended.has(id));
    this.#log('sessions were ended', { killed: killed.join(' '), unknown: unknown.length });
    return { killed, unknown };
  }

  // ---- what is ordered ------------------------------------------------------------

  hold(seconds: number): HoldDocument {
    this.#requireOpen();
    const { since, until } = this.#hold.begin(seconds);
    this.#log('new clients are held', { at_most_s: seconds });
    this.#options.onHold();
    const clock = this.#clock();
    return { since: isoTime(clock, since), until: isoTime(clock, until) };
  }

  release(): { readonly released: boolean } {
    this.#requireOpen();
    const released = this.#hold.end();
    if (released) {
      this.#log('clients are no longer held', {});
      this.#options.onHold();
    }
    return { released };
  }

  drain({ seconds, exit }: DrainRequest): DrainDocument {
    this.#requireOpen();
    const { dataPlane, timers } = this.#options;
    const now = timers.now();
    this.#drain = { since: this.#drain?.since ?? now, until: now + seconds * 1000, exits: exit };
    dataPlane.stopAccepting();
    this.#log('no new clients are accepted: waiting for sessions to end', {
      sessions: clientsOf(dataPlane.stats()),
      at_most_s: seconds,
      exit,
    });
    this.#options.onDrain();
    this.#cancelDrain?.();
    // Not at once: who has ordered it is to hear of it.
    this.#cancelDrain = timers.after(DRAIN_LOOK_MS, () => {
      this.#lookAtDrain();
    });
    const { since, until, exits } = this.#drain;
    const clock = this.#clock();
    return { since: isoTime(clock, since), until: isoTime(clock, until), exits };
  }

  reload(): ReloadDocument {
    this.#requireOpen();
    this.#log('reload', {});
    return this.#options.reload();
  }

  setLogLevel(level: LogLevel): LogLevelDocument {
    this.#requireOpen();
    const before = this.#options.facts().logLevel;
    this.#log('log level', { level, before });
    this.#options.setLogLevel(level);
    return { level, before };
  }

  // ---- the rest -------------------------------------------------------------------

  /** @param wasEmpty nobody was left the last time */
  #lookAtDrain(wasEmpty = false): void {
    const { dataPlane, timers, logger, stop } = this.#options;
    if (this.#drain === undefined) return;
    const { until, exits } = this.#drain;
    const left = clientsOf(dataPlane.stats());
    const isOver = left > 0 ? timers.now() >= until : wasEmpty || !exits;
    if (!isOver) {
      this.#cancelDrain = timers.after(left > 0 ? DRAIN_LOOK_MS : LAST_LOOKS_MS, () => {
        this.#lookAtDrain(left === 0);
      });
      return;
    }
    logger.notice(left === 0 ? 'all sessions have ended' : 'sessions were waited for long enough', { left });
    if (exits) stop();
  }

  #input(): StatusInput {
    const { facts, dataPlane, slots, version } = this.#options;
    const clock = this.#clock();
    const stats = dataPlane.stats();
    return {
      ...facts(),
      ...this.#faults.times,
      clock,
      version,
      pid: process.pid,
      startedAt: this.#startedAt,
      verdictSince: this.#verdictSince,
      roleSince: (name) => this.#roles.since(name),
      stats,
      slotOf: (name) => slots.find(name),
      hold: this.#hold.span,
      drain: this.#drain,
      keepsSessions: dataPlane.recovery.kept,
      failovers: this.#history.total,
      lastFailover: this.#history.list()[0],
    };
  }

  #sessionDocument(facts: SessionFacts): SessionDocument {
    const { state, clientPort, sourcePort, idleSeconds } = facts;
    return {
      id: facts.id,
      state,
      client_address: facts.clientAddress === '' ? 'unknown' : facts.clientAddress,
      client_port: clientPort === 0 ? null : clientPort,
      server: state === 'silent' || state === 'held' ? null : (this.#options.slots.nameOf(facts.server) ?? null),
      source_port: sourcePort === 0 ? null : sourcePort,
      age_seconds: Math.round(facts.ageSeconds * 1000) / 1000,
      idle_seconds: idleSeconds < 0 ? null : idleSeconds,
      bytes_client_to_server: facts.bytesClientToBackend,
      bytes_server_to_client: facts.bytesBackendToClient,
      worker: facts.worker,
    };
  }

  #clock(): Clock {
    return readClock(this.#options.timers.now());
  }

  /** Not before clients are accepted, nor while the workers end. */
  #requireOpen(): void {
    if (this.#state === 'closed') throw new GatewayError('CONTROL_BUSY', 'the gateway stops');
    if (this.#state === 'starting') throw new GatewayError('CONTROL_BUSY', 'the gateway starts');
  }

  /** What was ordered, and must be found in the log. */
  #log(what: string, fields: LogFields): void {
    this.#options.logger.notice(`administrator: ${what}`, fields);
  }
}

/** The same primary still, or still none. */
function standsStill(before: Verdict | undefined, verdict: Verdict): boolean {
  if (before?.kind !== 'primary' || verdict.kind !== 'primary') return before?.kind === verdict.kind;
  return before.epoch === verdict.epoch;
}
