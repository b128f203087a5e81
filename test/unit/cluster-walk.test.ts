// SPDX-License-Identifier: MIT
// The monitor and the election before clusters to which anything happens: who is promoted
// while others go on writing, addresses and names that move, probes that hang, reloads,
// restarts, a loop that stands still. Whatever it was, nobody may be sent to a server of
// which the gateway could know better, and once the legitimate primary can be reached, it
// must be the one.
//
// `CLUSTER_WALK_SEEDS=1-5000` walks further than a run of all tests can afford.

import { setImmediate as turn } from 'node:timers/promises';

import type { Candidate } from '#src/candidates.js';
import type { Verdict } from '#src/election.js';
import { createLogger } from '#src/log.js';
import type { Memory } from '#src/memory.js';
import { memoryOf } from '#src/memory.js';
import { Monitor } from '#src/monitor.js';
import type { Observation } from '#src/probe/observation.js';
import { decodeNote, encodeNote } from '#src/restart-note.js';
import { routingFor } from '#src/routing.js';
import { ClusterProber, FakeCluster } from '../helpers/fake-cluster.js';
import type { FakeServer, Random } from '../helpers/fake-cluster.js';
import { FakeTimers } from '../helpers/fake-timers.js';
import { PROBE } from '../helpers/monitor-bench.js';
import { addressOf, candidate, CLUSTER, OTHER_CLUSTER } from '../helpers/observations.js';
import { randomFrom } from '../helpers/random.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('cluster, random walk', undefined, 3_600_000);

const SERVERS = ['a', 'b', 'c'];
/** What n may lead to; v is the floating address. */
const FORMS_OF_N = [['a'], ['b'], ['a', 'b'], ['b', 'c', 'v'], ['c', 'v'], ['a', 'b', 'c'], ['v'], []];
/** The longest rest of a candidate, and the probe that ends it. */
const FOUND_WITHIN_MS = 15_000;
/** Look-ups of names that moved, and all the rest, are over. */
const SETTLED_MS = 40_000;

/** Of one client. */
interface Session {
  readonly epoch: number;
  readonly address: string;
  readonly server: FakeServer;
  readonly start: number;
}

/** What the daemon does with the monitor, and what it must not do. */
class Gateway {
  readonly #cluster: FakeCluster;
  readonly #probers = new Set<ClusterProber>();
  #monitor: Monitor | undefined;
  #memory = memoryOf(null);
  #verdict: Verdict | undefined;
  #suspected = false;
  #provenEpoch = 0;
  /** The highest on which a server of the cluster was seen to write. */
  #provenTimeline = 0;
  #changes: number[] = [];
  configured: readonly string[] = [...SERVERS, 'v', 'n'];
  sessions: Session[] = [];
  readonly reasons = new Map<string, number>();

  constructor(cluster: FakeCluster) {
    this.#cluster = cluster;
  }

  start(memory: Memory): void {
    this.#memory = memory;
    this.#verdict = undefined;
    this.#suspected = false;
    this.#provenEpoch = 0;
    const { timers, random } = this.#cluster;
    this.#monitor = new Monitor({
      candidates: this.configured.map(candidate),
      probe: PROBE,
      logger: createLogger({ level: 'info', write: () => undefined, journal: true }),
      timers,
      random: () => random(1000) / 1000,
      lookup: (host) => this.#cluster.lookUp(host),
      store: { load: () => this.#memory, save: (saved) => (this.#memory = saved) },
      openProber: (options) => {
        const prober = new ClusterProber(this.#cluster, options);
        this.#probers.add(prober);
        return prober;
      },
      onCandidates: (candidates) => this.#watches(candidates),
      onObservation: (seen) => this.#saw(seen),
      onSuspicion: (suspected) => {
        this.#suspected = suspected;
        if (this.#verdict?.kind === 'primary') this.#route();
      },
      onVerdict: (verdict) => {
        this.#verdict = verdict;
        if (verdict.kind === 'primary') this.#provenEpoch = verdict.epoch;
        this.reasons.set(verdict.reason, (this.reasons.get(verdict.reason) ?? 0) + 1);
        this.#route();
      },
    });
    this.#monitor.start();
  }

  /** @param withSessions it is restarted, and they outlive it; else it was stopped for a while */
  restart(withSessions: boolean): void {
    void this.#monitor?.close();
    this.#probers.clear();
    if (!withSessions) this.sessions = [];
    const noted = decodeNote(encodeNote({ memory: this.#memory, slots: [] }))?.memory;
    assert.ok(noted, 'the note is not understood');
    this.start(withSessions ? noted : memoryOf(this.#memory.cluster));
  }

  reload(configured: readonly string[]): void {
    this.configured = configured;
    this.#monitor?.reconfigure(configured.map(candidate), PROBE);
  }

  /** Where a client that comes now is sent. */
  get route(): { readonly address: string; readonly epoch: number } | null {
    if (this.#verdict === undefined) return null;
    const circumstances = { cutPolicy: 'proof', holdTimeoutMs: 15_000, holding: false, slotOf: () => 0 } as const;
    return routingFor(this.#verdict, {
      ...circumstances,
      provenEpoch: this.#provenEpoch,
      suspected: this.#suspected,
    }).route;
  }

  /** A client comes; what it finds is told to the monitor. */
  client(): void {
    const { route } = this;
    if (route === null || this.#verdict?.kind !== 'primary') return;
    const { primary } = this.#verdict;
    const seen = this.#monitor?.observations().get(primary.candidate.name);
    assert.ok(
      seen?.kind === 'answered' && !seen.state.inRecovery && !seen.state.readOnly,
      'sent to who claims nothing',
    );
    assert.is(seen.address.address, route.address, 'sent to where nobody has answered');
    assert.is(primary.systemId, CLUSTER, 'sent to another cluster');
    assert.ok(primary.timeline >= this.#provenTimeline, 'sent to a timeline that was left behind');
    const connection = this.#cluster.connect(route.address, () => undefined);
    if (connection === undefined) return;
    if (typeof connection === 'string') this.#monitor?.triggerRound('a backend connection failed');
    else this.sessions.push({ ...route, server: connection.server, start: connection.start });
  }

  /** Sessions whose server or address is gone end by themselves, and may be told of. */
  dropDead(): void {
    const before = this.sessions.length;
    this.sessions = this.sessions.filter((session) => this.#cluster.carries(session));
    if (this.sessions.length < before && this.#cluster.random(3) === 0) this.#monitor?.triggerRound('a session broke');
  }

  /** It may search, but not spin. */
  checkPace(): void {
    const { timers } = this.#cluster;
    const recent = (times: readonly number[]): number => times.filter((at) => at > timers.now() - 1000).length;
    for (const { begun } of this.#probers) assert.ok(recent(begun) <= 80, `${recent(begun)} probes in a second`);
    assert.ok(recent(this.#changes) <= 60, `${recent(this.#changes)} changes of the candidates in a second`);
    assert.ok(timers.pending < 200, `${timers.pending} timers`);
  }

  isFencedAsRival({ label }: FakeServer): boolean {
    return this.#verdict?.fenced.some((one) => one.candidate.host === label && one.reason === 'rival') === true;
  }

  /** Sessions on which writes are lost, though a probe at their address has found who answers there. */
  astray(): readonly Session[] {
    const seen = [...(this.#monitor?.observations().values() ?? [])];
    return this.sessions.filter(
      ({ address, server }) =>
        server !== this.#cluster.legitimate &&
        !server.inRecovery &&
        seen.some((one) => one.kind === 'answered' && one.address.address === address),
    );
  }

  describe(): string {
    const verdict = this.#verdict;
    const seen = [...(this.#monitor?.observations().values() ?? [])].map((one) =>
      one.kind === 'failed'
        ? `${one.candidate.name} ${one.reason}`
        : `${one.candidate.name} ${JSON.stringify(one.state)}`,
    );
    return [`${verdict?.kind ?? ''} ${verdict?.reason ?? ''}: ${verdict?.detail ?? ''}`, ...seen].join('\n  ');
  }

  #watches(candidates: readonly Candidate[]): void {
    assert.is(new Set(candidates.map(({ name }) => name)).size, candidates.length, 'a candidate twice');
    this.#changes = [...this.#changes.slice(-200), this.#cluster.timers.now()];
  }

  #saw(seen: Observation): void {
    if (seen.kind !== 'answered' || seen.state.inRecovery || seen.state.readOnly) return;
    if (seen.state.systemId !== CLUSTER) return;
    this.#provenTimeline = Math.max(this.#provenTimeline, seen.state.timeline);
  }

  #route(): void {
    const below = this.#verdict?.cut?.belowEpoch ?? 0;
    assert.ok(below <= this.#provenEpoch + 1 || this.#provenEpoch === 0, 'a cut of what is to come');
    this.sessions = this.sessions.filter(({ epoch }) => epoch >= below);
  }
}

type Event = (cluster: FakeCluster, gateway: Gateway) => void;

function one<T>(random: Random, of: readonly T[]): T {
  const taken = of[random(of.length)];
  if (taken === undefined) throw new Error('nothing to choose from');
  return taken;
}

/** What may happen; the more often it stands there, the more often it does. */
const EVENTS: readonly Event[] = [
  // Failovers of all kinds: the last primary is dead, demoted, or goes on writing.
  (cluster) => {
    const last = cluster.legitimate;
    cluster.promote(one(cluster.random, others(cluster)));
    const ends = cluster.random(4);
    if (ends === 0) cluster.restart(last, { up: false });
    if (ends === 1) cluster.restart(last, { inRecovery: true, streaming: true, timeline: cluster.legitimate.timeline });
    if (ends === 2) cluster.restart(last, {});
  },
  // The primary restarts where it was.
  (cluster) => cluster.restart(cluster.legitimate, {}),
  (cluster) => cluster.restart(cluster.legitimate, { up: false }),
  (cluster) => Object.assign(cluster.legitimate, { up: true }),
  // It is promoted again after it was a standby for a while.
  (cluster) => cluster.restart(cluster.legitimate, { up: true, inRecovery: true, streaming: false }),
  (cluster) => cluster.promote(cluster.legitimate),
  // The others: down, up as what they were, rewound, catching up, of another cluster.
  (cluster) => cluster.restart(one(cluster.random, others(cluster)), { up: false }),
  (cluster) => cluster.restart(one(cluster.random, others(cluster)), { up: true }),
  (cluster) =>
    cluster.restart(one(cluster.random, others(cluster)), {
      up: true,
      inRecovery: true,
      streaming: cluster.random(2) === 0,
      systemId: CLUSTER,
      timeline: Math.max(1, cluster.legitimate.timeline - cluster.random(2)),
    }),
  (cluster) =>
    cluster.restart(one(cluster.random, others(cluster)), { up: true, inRecovery: false, systemId: OTHER_CLUSTER }),
  // What keeps probes from seeing it.
  (cluster) => (one(cluster.random, cluster.servers).hangs = cluster.random(2) === 0),
  (cluster) => (one(cluster.random, cluster.servers).refuses = one(cluster.random, ['too_many', 'auth', 'tls'])),
  (cluster) => (one(cluster.random, cluster.servers).refuses = undefined),
  (cluster) => (one(cluster.random, cluster.servers).readOnly = cluster.random(2) === 0),
  (cluster) =>
    cluster.paths.set(
      addressOf(one(cluster.random, [...SERVERS, 'v'])),
      one(cluster.random, ['open', 'refuse', 'drop']),
    ),
  (cluster) => cluster.paths.clear(),
  // Addresses and names.
  (cluster) => cluster.move('v', one(cluster.random, cluster.servers)),
  (cluster) => cluster.move('v', cluster.legitimate),
  (cluster) => cluster.names.set('n', one(cluster.random, FORMS_OF_N)),
  (cluster) => cluster.names.set('n', one(cluster.random, FORMS_OF_N)),
  (cluster) => cluster.names.delete('n'),
  // The gateway.
  (cluster) => cluster.timers.stall(cluster.random(9000)),
  (_, gateway) => gateway.restart(true),
  (_, gateway) => gateway.restart(false),
  (cluster, gateway) =>
    gateway.reload(
      [...SERVERS, 'v', 'n'].filter((label) => label === cluster.legitimate.label || cluster.random(3) > 0),
    ),
];

function others({ servers, legitimate }: FakeCluster): readonly FakeServer[] {
  return servers.filter((server) => server !== legitimate);
}

/** Time passes from one timer to the next, with all that follows from each. Clients come meanwhile. */
async function pass(cluster: FakeCluster, gateway: Gateway, ms: number, until = (): boolean => false): Promise<void> {
  const { timers } = cluster;
  const end = timers.now() + ms;
  for (let steps = 0; timers.now() < end && !until(); steps += 1) {
    assert.ok(steps < ms * 10 + 2000, 'time stands still');
    await turn();
    timers.advance(Math.max(0, Math.min(end, timers.nextAt ?? end) - timers.now()));
    if (cluster.random(8) === 0) gateway.client();
    gateway.dropDead();
  }
  await turn();
  gateway.checkPace();
}

/** The legitimate primary can be reached by its own name; of all the others nothing is said. */
function mend(cluster: FakeCluster, gateway: Gateway): void {
  const { legitimate, random } = cluster;
  cluster.paths.set(addressOf(legitimate.label), 'open');
  Object.assign(legitimate, { hangs: false, refuses: undefined, readOnly: false });
  if (!legitimate.up) cluster.restart(legitimate, { up: true });
  if (legitimate.inRecovery) cluster.promote(legitimate);
  if (random(2) === 0) cluster.move('v', legitimate);
  if (!gateway.configured.includes(legitimate.label)) gateway.reload([...gateway.configured, legitimate.label]);
}

/** @returns how often the primary could not be told before it had its address again */
async function walk(seed: number, reasons: Map<string, number>): Promise<number> {
  let waits = 0;
  const random = randomFrom(seed);
  const timers = new FakeTimers();
  const cluster = new FakeCluster(timers, random, SERVERS);
  for (const label of [...SERVERS, 'v']) cluster.names.set(label, [label]);
  cluster.owners.set(addressOf('v'), cluster.legitimate);
  cluster.names.set('n', ['a', 'b']);
  const gateway = new Gateway(cluster);
  gateway.start(memoryOf(null));
  const isFound = (): boolean => {
    const { route } = gateway;
    return route !== null && cluster.owners.get(route.address) === cluster.legitimate;
  };
  await pass(cluster, gateway, SETTLED_MS);
  assert.ok(isFound(), `not even at the start: ${gateway.describe()}`);
  for (let episode = 0; episode < 12; episode += 1) {
    cluster.busy = random(2) === 0;
    for (let left = random(9); left >= 0; left -= 1) {
      one(random, EVENTS)(cluster, gateway);
      gateway.client(); // before anybody has noticed
      await pass(cluster, gateway, one(random, [0, 3, 30, 300, 3000]));
    }
    cluster.busy = false;
    mend(cluster, gateway);
    await pass(cluster, gateway, FOUND_WITHIN_MS);
    if (!isFound() && gateway.isFencedAsRival(cluster.legitimate)) {
      // It was the primary at the floating address, and has been restarted since that was lost: nobody can tell it from
      // another server that is writable on its timeline, before it has the address again.
      cluster.paths.set(addressOf('v'), 'open');
      cluster.move('v', cluster.legitimate);
      cluster.names.set('n', ['v']);
      waits += 1;
      await pass(cluster, gateway, SETTLED_MS, isFound);
    }
    assert.ok(
      isFound(),
      `not found: ${cluster.legitimate.label}/${cluster.legitimate.timeline}: ${gateway.describe()}`,
    );
    await pass(cluster, gateway, SETTLED_MS);
    assert.ok(isFound(), `lost again: ${cluster.legitimate.label}: ${gateway.describe()}`);
    const astray = gateway.astray();
    assert.is(astray.length, 0, `sessions go on writing to ${astray[0]?.server.label ?? ''}: ${gateway.describe()}`);
  }
  for (const [reason, count] of gateway.reasons) reasons.set(reason, (reasons.get(reason) ?? 0) + count);
  return waits;
}

test('whatever happens to the cluster: to no server that is known to be wrong, and to the right one in time', async () => {
  const [first = 1, last = first] = (process.env['CLUSTER_WALK_SEEDS'] ?? '1-60').split('-').map(Number);
  const reasons = new Map<string, number>();
  let waits = 0;
  for (let seed = first; seed <= last; seed += 1) {
    try {
      waits += await walk(seed, reasons);
    } catch (error) {
      if (error instanceof Error) error.message = `seed ${seed}: ${error.message}`;
      throw error;
    }
  }
  const seeds = last - first + 1;
  assert.ok(waits <= 1 + seeds / 10, `${waits} times in ${seeds} walks the primary was not told`);
  if (seeds < 60) return;
  for (const reason of ['moved', 'higher-timeline', 'primary-in-doubt', 'primary-demoted', 'predecessor-gone']) {
    assert.ok((reasons.get(reason) ?? 0) > 0, `${reason} never came up`);
  }
});

test.run();
