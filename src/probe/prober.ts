// SPDX-License-Identifier: MIT
// One candidate's probe: keeps one connection, asks, and turns whatever happens
// into an observation. Knows no cadence: the monitor says when.
//
// Invariants: one probe at a time; a connection on which anything failed or was
// late is destroyed, so that no late answer can ever count; one whose name has
// moved elsewhere is asked no more; no failure escapes as an exception.

import type { Candidate } from '../candidates.js';
import type { ProbeConfig } from '../config.js';
import type { Timers } from '../timers.js';
import { openConnection } from './connection.js';
import type { ProbeConnection, Progress } from './connection.js';
import { startDeadline } from './deadline.js';
import { faultOf, ProbeFault } from './failure.js';
import type { Observation, ServerState } from './observation.js';
import type { Resolver } from './resolver.js';
import { TlsFiles } from './tls.js';

/** What the monitor needs of one. */
export interface CandidateProber {
  /** Never rejects. Must not be called while one is under way. */
  probe(): Promise<Observation>;
  /** Ends the connection and a probe under way (its result means nothing then). Idempotent. */
  close(): Promise<void>;
}

export interface ProberOptions {
  readonly candidate: Candidate;
  /** Asked at each probe, so that other time limits count from the next one on. Who logs in how must not change. */
  readonly settings: () => ProbeConfig;
  readonly timers: Timers;
  /** The connection broke between two probes. */
  readonly onBroken: (fault: ProbeFault) => void;
  /** Of the candidate's host; the prober does not close it. */
  readonly resolver: Resolver;
}

export class Prober implements CandidateProber {
  readonly #options: ProberOptions;
  readonly #tlsFiles: TlsFiles;
  readonly #life = new AbortController();
  #connection: ProbeConnection | undefined;
  /** Done when the connection that was left last has ended. */
  #left: Promise<void> = Promise.resolve();

  constructor(options: ProberOptions) {
    this.#options = options;
    this.#tlsFiles = new TlsFiles(options.settings().tls);
  }

  async probe(): Promise<Observation> {
    const { candidate, timers } = this.#options;
    const begun = timers.now();
    const timed = (): { candidate: Candidate; at: number; tookMs: number } => {
      const at = timers.now();
      return { candidate, at, tookMs: at - begun };
    };
    try {
      const { connection, state } = (await this.#askAgain()) ?? (await this.#askAnew());
      return { ...timed(), kind: 'answered', address: connection.address, state };
    } catch (error) {
      const { reason, message } = faultOf(error, 'query');
      return { ...timed(), kind: 'failed', reason, detail: message };
    }
  }

  async close(): Promise<void> {
    this.#life.abort(new ProbeFault('broken', 'the gateway ended the probe'));
    const connection = this.#connection;
    this.#connection = undefined;
    await Promise.all([connection?.close(), this.#left]);
  }

  /**
   * On the connection that is there; undefined if there is none, or if it turns out to have been dead: that it was
   * terminated or reset (by an administrator, a firewall, a restart long since over) says nothing about the server
   * now. A missed deadline does.
   */
  async #askAgain(): Promise<Answer | undefined> {
    const { candidate, resolver } = this.#options;
    const address = this.#connection?.address;
    // One address of several is no candidate any more when the name has left it.
    if (candidate.address === undefined && address !== undefined && resolver.hasLeft(address)) this.#leave();
    const connection = this.#connection;
    if (connection === undefined) return undefined;
    resolver.lookUpIfDue();
    try {
      return { connection, state: await this.#ask(connection) };
    } catch (error) {
      const { reason } = faultOf(error, 'query');
      if (reason === 'broken' || reason === 'shutdown') return undefined;
      throw error;
    }
  }

  async #askAnew(): Promise<Answer> {
    const { candidate, resolver, settings, timers } = this.#options;
    const probe = settings();
    const progress: Progress = { stage: 'lookup' };
    const deadline = startDeadline(timers, probe.connectTimeoutMs, this.#life.signal, () =>
      lateConnection(progress, probe.connectTimeoutMs),
    );
    try {
      const target = { candidate, probe, resolver, tlsFiles: this.#tlsFiles, timers };
      this.#adopt(await openConnection(target, deadline.signal, progress));
    } finally {
      deadline.close();
    }
    const connection = this.#connection;
    if (connection === undefined) throw new ProbeFault('broken', 'the gateway ended the probe');
    return { connection, state: await this.#ask(connection) };
  }

  /**
   * An answer that took longer than it may was there in time, and the loop stood still (deadline.ts): it says what was
   * then, which may be long ago, and so is asked for again.
   */
  async #ask(connection: ProbeConnection): Promise<ServerState> {
    const { settings, timers } = this.#options;
    const begun = timers.now();
    const state = await this.#askOnce(connection);
    return timers.now() - begun <= settings().queryTimeoutMs ? state : this.#askOnce(connection);
  }

  async #askOnce(connection: ProbeConnection): Promise<ServerState> {
    const { settings, timers } = this.#options;
    const { queryTimeoutMs } = settings();
    const deadline = startDeadline(timers, queryTimeoutMs, this.#life.signal, () => lateAnswer(queryTimeoutMs));
    try {
      return await connection.ask(deadline.signal);
    } catch (error) {
      connection.destroy();
      if (this.#connection === connection) this.#connection = undefined;
      throw error;
    } finally {
      deadline.close();
    }
  }

  /** Takes leave of the server; the probe does not wait for that. */
  #leave(): void {
    this.#left = this.#connection?.close() ?? this.#left;
    this.#connection = undefined;
  }

  #adopt(connection: ProbeConnection): void {
    const { signal } = this.#life;
    if (signal.aborted) {
      connection.destroy();
      return;
    }
    this.#connection = connection;
    connection.onBroken = (fault) => {
      if (this.#connection !== connection) return;
      this.#connection = undefined;
      this.#options.onBroken(fault);
    };
  }
}

interface Answer {
  readonly connection: ProbeConnection;
  readonly state: ServerState;
}

export function lateAnswer(timeoutMs: number): ProbeFault {
  return new ProbeFault('query_timeout', `no answer within ${timeoutMs} ms`);
}

/** A look-up that does not end is a matter of the resolver; the rest is the server's silence. */
export function lateConnection({ stage }: Progress, timeoutMs: number): ProbeFault {
  if (stage === 'lookup') return new ProbeFault('dns', `the look-up did not end within ${timeoutMs} ms`);
  const what = { connect: 'no connection', tls: 'no TLS handshake', login: 'no log-in', query: 'no answer' }[stage];
  return new ProbeFault('connect_timeout', `${what} within ${timeoutMs} ms`);
}
