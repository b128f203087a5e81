// SPDX-License-Identifier: MIT
// A cluster of servers that live, die, are promoted and move, and probers that see no
// more of it than real ones would: late, broken, or not at all. All by a test's timers
// and a test's chance.

import type { Observation, ProbeFailureReason, ServerState } from '#src/probe/observation.js';
import type { CandidateProber, ProberOptions } from '#src/probe/prober.js';
import { ProbeFault } from '#src/probe/failure.js';
import type { FakeTimers } from './fake-timers.js';
import { addressOf, CLUSTER } from './observations.js';

export type Random = (below: number) => number;

export interface FakeServer {
  readonly label: string;
  up: boolean;
  /** It accepts connections and says nothing. */
  hangs: boolean;
  /** What it answers to a new log-in of the probes' user; connections that there are go on. */
  refuses: ProbeFailureReason | undefined;
  inRecovery: boolean;
  readOnly: boolean;
  streaming: boolean;
  timeline: number;
  systemId: string;
  /** Another one with each start. */
  start: number;
}

/** A TCP connection: to one start of one server, at one address. */
export interface FakeConnection {
  readonly address: string;
  readonly server: FakeServer;
  readonly start: number;
  /** Called when it breaks, not when it only goes dead. */
  readonly onBroken: () => void;
}

/** `drop`: nothing comes through, and nobody is told. */
export type Path = 'open' | 'refuse' | 'drop';

export class FakeCluster {
  readonly timers: FakeTimers;
  readonly random: Random;
  readonly servers: readonly FakeServer[];
  /** The one that was promoted last: who writes elsewhere loses it. */
  legitimate: FakeServer;
  /** Address -> whose it is. */
  readonly owners = new Map<string, FakeServer>();
  readonly paths = new Map<string, Path>();
  /** Labels of the addresses that a name leads to; a name that is not here hangs for long, and fails. */
  readonly names = new Map<string, readonly string[]>();
  /** Now and then an answer takes its time, or longer than it may. */
  busy = false;
  readonly #connections = new Set<FakeConnection>();
  #starts = 0;

  constructor(timers: FakeTimers, random: Random, labels: readonly string[]) {
    this.timers = timers;
    this.random = random;
    const fresh = { up: true, hangs: false, refuses: undefined, readOnly: false, streaming: true, timeline: 1 };
    this.servers = labels.map((label) => ({
      ...fresh,
      label,
      inRecovery: true,
      systemId: CLUSTER,
      start: this.#next(),
    }));
    for (const server of this.servers) this.owners.set(addressOf(server.label), server);
    const [first] = this.servers;
    if (first === undefined) throw new Error('no server');
    this.legitimate = first;
    Object.assign(first, { inRecovery: false, streaming: false });
  }

  /** It and its connections end; up again it is as `change` says. */
  restart(server: FakeServer, change: Partial<FakeServer>): void {
    Object.assign(server, change, { start: this.#next() });
    this.#breakThose((one) => one.server === server);
  }

  /** The legitimate primary is another one now, on a timeline of its own, whatever the last one does. */
  promote(server: FakeServer): void {
    const timeline = this.legitimate.timeline + 1;
    if (!server.up || !server.inRecovery) this.restart(server, { up: true });
    Object.assign(server, { inRecovery: false, readOnly: false, streaming: false, systemId: CLUSTER, timeline });
    this.legitimate = server;
  }

  /** The address is another server's from now on; what was connected there is dead, and half of it is told so. */
  move(label: string, server: FakeServer): void {
    this.owners.set(addressOf(label), server);
    this.#breakThose((one) => one.address === addressOf(label) && this.random(2) === 0);
  }

  /** A new connection, or what connect(2) or the log-in says instead; undefined: nothing ever. */
  connect(address: string, onBroken: () => void): FakeConnection | ProbeFailureReason | undefined {
    const server = this.owners.get(address);
    const path = this.paths.get(address) ?? 'open';
    if (path === 'refuse') return 'refused';
    if (path === 'drop' || server === undefined) return undefined;
    if (!server.up) return this.random(3) === 0 ? 'starting' : 'refused';
    if (server.hangs) return undefined;
    const connection = { address, server, start: server.start, onBroken };
    this.#connections.add(connection);
    return connection;
  }

  /** The same start of the server is still there, at the address, and can be reached. */
  carries({ address, server, start }: Omit<FakeConnection, 'onBroken'>): boolean {
    const open = (this.paths.get(address) ?? 'open') === 'open';
    return open && server.up && server.start === start && this.owners.get(address) === server;
  }

  forget(connection: FakeConnection): void {
    this.#connections.delete(connection);
  }

  async lookUp(host: string): Promise<readonly string[]> {
    const labels = this.names.get(host);
    await this.after(this.random(4) === 0 ? this.random(1500) : this.random(40));
    if (labels === undefined) await this.after(20_000);
    if (labels === undefined || labels.length === 0) throw new Error(`${host}: ENOTFOUND`);
    return labels.map(addressOf);
  }

  after(ms: number): Promise<void> {
    return new Promise((resolve) => this.timers.after(ms, resolve));
  }

  #breakThose(which: (connection: FakeConnection) => boolean): void {
    for (const connection of [...this.#connections].filter(which)) {
      this.#connections.delete(connection);
      // Now and then the last word is lost.
      if (this.random(8) > 0) this.timers.after(this.random(3), connection.onBroken);
    }
  }

  #next(): number {
    this.#starts += 1;
    return this.#starts;
  }
}

/** As prober.ts: one connection, asked again where it is there, else a new one. */
export class ClusterProber implements CandidateProber {
  readonly begun: number[] = [];
  readonly #cluster: FakeCluster;
  readonly #options: ProberOptions;
  #connection: FakeConnection | undefined;
  #asking = false;
  #closed = false;

  constructor(cluster: FakeCluster, options: ProberOptions) {
    this.#cluster = cluster;
    this.#options = options;
  }

  async probe(): Promise<Observation> {
    const { candidate, timers } = this.#options;
    const begun = timers.now();
    this.begun.push(begun);
    const answer = (await this.#askAgain()) ?? (await this.#askAnew());
    const at = timers.now();
    const timed = { candidate, at, tookMs: at - begun };
    if (typeof answer === 'string') return { ...timed, kind: 'failed', reason: answer, detail: 'as the cluster is' };
    return { ...timed, kind: 'answered', address: { address: answer.address, port: 5432 }, state: answer.state };
  }

  close(): Promise<void> {
    this.#closed = true;
    this.#leave();
    return Promise.resolve();
  }

  async #askAgain(): Promise<Answer | ProbeFailureReason | undefined> {
    const { candidate, resolver } = this.#options;
    const address = this.#connection?.address;
    if (candidate.address === undefined && address !== undefined) {
      if (resolver.hasLeft({ address, port: 5432 })) this.#leave();
    }
    if (this.#connection === undefined) return undefined;
    resolver.lookUpIfDue();
    const answer = await this.#ask(this.#connection);
    return answer === 'broken' ? undefined : answer;
  }

  async #askAnew(): Promise<Answer | ProbeFailureReason> {
    const { connectTimeoutMs } = this.#options.settings();
    const begun = this.#options.timers.now();
    const addresses = await this.#addresses();
    if (addresses === undefined) return 'dns';
    for (const address of addresses) {
      await this.#cluster.after(this.#cluster.random(3));
      const connection = this.#cluster.connect(address, () => this.#broke(connection));
      if (connection === undefined) {
        await this.#cluster.after(Math.max(0, begun + connectTimeoutMs - this.#options.timers.now()));
        return 'connect_timeout';
      }
      if (connection === 'refused' && address !== addresses.at(-1)) continue;
      if (typeof connection === 'string') return connection;
      if (connection.server.refuses !== undefined) return connection.server.refuses;
      if (this.#closed) return 'broken';
      this.#connection = connection;
      return this.#ask(connection);
    }
    return 'dns';
  }

  async #addresses(): Promise<readonly string[] | undefined> {
    const { candidate, resolver, settings, timers } = this.#options;
    if (candidate.address !== undefined) {
      resolver.lookUp();
      return [candidate.address];
    }
    const late = new AbortController();
    const cancel = timers.after(settings().connectTimeoutMs, () => {
      late.abort(new Error('late'));
    });
    const found = await resolver.addresses(late.signal).catch(() => undefined);
    cancel();
    return found;
  }

  /** Twice where the loop stood still, as in prober.ts. */
  async #ask(connection: FakeConnection): Promise<Answer | ProbeFailureReason> {
    const begun = this.#options.timers.now();
    const { queryTimeoutMs } = this.#options.settings();
    const answer = await this.#askOnce(connection, queryTimeoutMs);
    const isLate = this.#options.timers.now() - begun > queryTimeoutMs;
    return typeof answer === 'string' || !isLate ? answer : this.#askOnce(connection, queryTimeoutMs);
  }

  async #askOnce(connection: FakeConnection, timeoutMs: number): Promise<Answer | ProbeFailureReason> {
    const { random, busy } = this.#cluster;
    const tookMs = busy && random(12) === 0 ? random(700) : random(3);
    const lookedMs = random(tookMs + 1);
    this.#asking = true;
    await this.#cluster.after(Math.min(lookedMs, timeoutMs));
    const { server } = connection;
    const state = this.#cluster.carries(connection) && !server.hangs ? stateOf(server) : undefined;
    const gone = this.#connection !== connection;
    const waitMs = (state === undefined ? timeoutMs : Math.min(tookMs, timeoutMs)) - lookedMs;
    if (!gone) await this.#cluster.after(Math.max(0, waitMs));
    this.#asking = false;
    if (this.#connection !== connection) return 'broken';
    if (state !== undefined && tookMs < timeoutMs) return { address: connection.address, state };
    this.#leave();
    return 'query_timeout';
  }

  #broke(connection: unknown): void {
    if (this.#connection !== connection) return;
    this.#leave();
    if (!this.#asking && !this.#closed) this.#options.onBroken(new ProbeFault('broken', 'as the cluster is'));
  }

  #leave(): void {
    if (this.#connection !== undefined) this.#cluster.forget(this.#connection);
    this.#connection = undefined;
  }
}

interface Answer {
  readonly address: string;
  readonly state: ServerState;
}

function stateOf(server: FakeServer): ServerState {
  const { inRecovery, readOnly, timeline, streaming, systemId, start } = server;
  const flags = { inRecovery, readOnly: inRecovery || readOnly, streaming: inRecovery && streaming };
  return { ...flags, timeline, systemId, startedAt: String(start), lsn: null };
}
