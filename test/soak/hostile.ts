// SPDX-License-Identifier: MIT
// Clients that mean no good: what eight that work notice of them. On a machine of few cores the attackers, and the
// server that is attacked through the gateway, take CPU time from everybody, whoever is between them: so each attack is
// also sent to the server past the gateway, while the eight go through it. The ratio of the two is what the gateway
// adds. Within a round the runs follow each other closely. What takes the server's processes, or comes as fast as the
// machine can, is also sent to a gateway that has MAX_CONNECTION_RATE, and at full speed to a port where nobody listens:
// that is what the kernel's part of it takes from everybody.

import { interleaved } from '../bench/routes.js';
import { quantile } from '../bench/statistics.js';
import { format } from '../bench/table.js';
import { Gateway } from '../helpers/gateway.js';
import { Attack } from '../helpers/hostile.js';
import type { AttackFigures, AttackKind } from '../helpers/hostile.js';
import { temporaryFolder } from '../helpers/paths.js';
import { PostgresServer } from '../helpers/postgres.js';
import { childrenOf, connectionsAt, cpuMilliseconds, descriptorsOf, residentBytes } from '../helpers/processes.js';
import { clientProgram, query } from '../helpers/psql.js';
import type { Target } from '../helpers/psql.js';
import { eventually, observeFor } from '../helpers/wait.js';
import { count } from './check.js';
import type { Check } from './check.js';
import { CLIENTS, p99While } from './latency.js';
import type { Part, PartResult } from './part.js';
import type { Progress } from '../bench/progress.js';
import type { Settings } from './settings.js';

const START_SECONDS = 6;
/** Beside what a run measures: its start, its end, and until nothing is left of it. */
const RUN_SECONDS = 1.5;
const MOST_RATIO = 1.5;
const MOST_GROWTH_MB = 32;
const KEPT_PIPE_ENDS = 2 * 4;
const REST_MS = 1000;
const MOST_CPU_AT_REST_MS = 50;
const WORKER = /^pg-gw-worker/;
const QUIET_LOOKS = 4;
const SETTLE = { deadlineMs: 60_000, everyMs: 50 };
/** The last resort of an attack whose test has gone. */
const ATTACK_SECONDS = 120;

const PACE = 50;
const LEGS = ['alone', 'at the server', 'at the gateway'] as const;
const PACED = 'at a gateway with MAX_CONNECTION_RATE';
const CLOSED = 'at a closed port';
/** Of those who are not kept waiting by silence: each takes a process of the server. */
const PACED_TOO: readonly AttackKind[] = ['ssl-flood'];
const FULL_LEGS = ['alone', CLOSED, 'at the server', 'at the gateway', PACED] as const;
type Leg = (typeof LEGS)[number] | (typeof FULL_LEGS)[number];

/** A gateway, and what it had before the first attack. */
interface Stand {
  readonly gateway: Gateway;
  readonly descriptors: number;
  readonly bytes: number;
}

interface Arena {
  readonly settings: Settings;
  readonly progress: Progress;
  readonly server: PostgresServer;
  readonly plain: Stand;
  /** Has MAX_CONNECTION_RATE. */
  readonly paced: Stand;
  readonly folder: string;
  /** Of the server before the first attack. */
  readonly processes: number;
}

interface Seen {
  readonly leg: Leg;
  readonly p99Ms: number;
  readonly attack: AttackFigures | undefined;
}

export const hostile: Part = {
  name: 'hostile',
  seconds: ({ attacks, rounds, seconds, fullFloodSeconds }) =>
    START_SECONDS +
    (attacks.length * LEGS.length + PACED_TOO.length) * rounds * (seconds + RUN_SECONDS) +
    FULL_LEGS.length * rounds * (fullFloodSeconds + RUN_SECONDS),
  run: async (settings, progress) => {
    const folder = await temporaryFolder();
    const server = await progress.during('hostile: a server', openServer);
    const gateways: Gateway[] = [];
    try {
      const plain = await openStand(server, {}, gateways);
      const paced = await openStand(server, { MAX_CONNECTION_RATE: String(PACE) }, gateways);
      const processes = childrenOf(server.pid).length;
      return await run({ settings, progress, server, plain, paced, folder: folder.path, processes });
    } finally {
      await progress.during('hostile: taking it away', async () => {
        for (const gateway of gateways) await gateway.close();
        await server.close();
        await folder.close();
      });
    }
  },
};

async function openServer(): Promise<PostgresServer> {
  const server = await PostgresServer.create({ settings: { max_connections: '500', shared_buffers: '64MB' } });
  const init = await clientProgram(server, 'pgbench', ['-i', '-q']);
  if (init.status !== 0) throw new Error(`pgbench -i failed: ${init.stderr}`);
  return server;
}

async function openStand(
  server: PostgresServer,
  env: Readonly<Record<string, string>>,
  gateways: Gateway[],
): Promise<Stand> {
  // One worker: whoever attacks is on the same as the others.
  const gateway = await Gateway.start({
    candidates: [server.candidate],
    env: { CHECK_EVERY: undefined, HOLD_TIMEOUT_MS: undefined, NUM_THREADS: '1', ...env },
  });
  gateways.push(gateway);
  await gateway.primaryIs(server.candidate);
  await query(gateway.clients, 'SELECT 1');
  await eventually('the first session to have gone', () => connectionsAt(gateway.pid, gateway.clients.port) === 0);
  return { gateway, descriptors: descriptorsOf(gateway.pid).length, bytes: residentBytes(gateway.pid) };
}

async function run(arena: Arena): Promise<PartResult> {
  const { settings, plain } = arena;
  const { gateway } = plain;
  const checks: Check[] = [];
  const rows: [string, string][] = [];
  const figures: Record<string, object> = {};
  for (const kind of settings.attacks) {
    const seen: Seen[] = [];
    const legs: readonly Leg[] = PACED_TOO.includes(kind) ? [...LEGS, PACED] : LEGS;
    await interleaved(settings.rounds, legs, async (leg, round) => {
      seen.push(
        await oneRun(arena, kind, leg, `round ${round}/${settings.rounds}`, settings.seconds, settings.floodRate),
      );
    });
    const { check, row } = judge(kind, seen, settings);
    checks.push(check);
    rows.push(row);
    figures[kind] = seen;
  }
  const full = await fullFlood(arena);
  const grown = (residentBytes(gateway.pid) - plain.bytes) / 1e6;
  const before = cpuMilliseconds(gateway.pid, WORKER);
  await observeFor(REST_MS);
  const spent = cpuMilliseconds(gateway.pid, WORKER) - before;
  const errors = gateway.lines.filter(({ level }) => level === 'err').length;
  checks.push(
    ...full.checks,
    {
      what: 'memory after all attacks',
      passed: grown <= MOST_GROWTH_MB,
      measured: `${format(grown, 1)} MB more than before, at most ${MOST_GROWTH_MB}`,
    },
    {
      what: 'CPU time of the worker at rest afterwards',
      passed: spent <= MOST_CPU_AT_REST_MS,
      measured: `${format(spent, 1)} ms in ${REST_MS} ms`,
    },
    { what: 'errors in the log', passed: errors === 0, measured: count(errors) },
  );
  return { checks, rows: [...rows, ...full.rows], figures: { ...figures, full: full.seen } };
}

/** Where the attack goes. */
function targetOf({ server, plain, paced }: Arena, leg: Leg): Target | undefined {
  switch (leg) {
    case 'alone':
      return undefined;
    case 'at the server':
      return server;
    case 'at the gateway':
      return plain.gateway.clients;
    case PACED:
      return paced.gateway.clients;
    case CLOSED:
      return { host: '127.0.0.1', port: 1 };
  }
}

/** p99 of the eight through the gateway, with that attack at that place. Nothing of it is left afterwards. */
async function oneRun(
  arena: Arena,
  kind: AttackKind,
  leg: Leg,
  what: string,
  seconds: number,
  rate: number,
): Promise<Seen> {
  const { progress, folder } = arena;
  const stand = leg === PACED ? arena.paced : arena.plain;
  const { gateway } = stand;
  const target = targetOf(arena, leg);
  let attack: AttackFigures | undefined;
  const seen = await progress.during(
    `hostile: ${kind} ${leg === 'alone' ? 'not yet' : leg}, ${what}`,
    async () => {
      const p99Ms = await p99While(
        {
          target: gateway.clients,
          folder,
          script: ['-S', '-M', 'prepared'],
          seconds,
          connected: () => Promise.resolve(connectionsAt(gateway.pid, gateway.clients.port) >= CLIENTS),
        },
        async () => {
          if (target === undefined) return () => Promise.resolve();
          const begun = await Attack.start(kind, target, { seconds: ATTACK_SECONDS, rate });
          return async () => {
            attack = await begun.stop();
          };
        },
      );
      await settled(arena, stand);
      return { leg, p99Ms, attack };
    },
    ({ p99Ms, attack: of }) =>
      `p99 ${p99Ms.toFixed(3)} ms${of === undefined ? '' : `, ${count(of.connected / of.seconds)} connections/s`}`,
  );
  return seen;
}

/** @throws Error if something of the attack is left */
async function settled({ server, processes }: Arena, { gateway, descriptors }: Stand): Promise<void> {
  await gateway.metric('pg_gateway_connections_active', {}, (value) => value === 0, SETTLE);
  await gateway.metric('pg_gateway_clients_held', {}, (value) => value === 0, SETTLE);
  const most = descriptors + KEPT_PIPE_ENDS;
  await eventually('the descriptors to be given back', () => descriptorsOf(gateway.pid).length <= most, SETTLE);
  // The server works off its own queue: it starts a process for each that was in it, whoever has hung up meanwhile.
  let quiet = 0;
  await eventually(
    'the server to be at rest',
    () => {
      quiet = childrenOf(server.pid).length <= processes ? quiet + 1 : 0;
      return quiet === QUIET_LOOKS;
    },
    SETTLE,
  );
}

/** Median, over the rounds, of the p99 with one leg to that with the other in the same round. */
function ratioOf(seen: readonly Seen[], leg: Leg, to: Leg): number {
  const others = p99sOf(seen, to);
  return quantile(
    p99sOf(seen, leg).map((ms, round) => ms / (others[round] ?? NaN)),
    0.5,
  );
}

function p99sOf(seen: readonly Seen[], leg: Leg): number[] {
  return seen.filter((one) => one.leg === leg).map(({ p99Ms }) => p99Ms);
}

/** Median of the connections a second that the attack made. */
function rateOf(seen: readonly Seen[], leg: Leg): number {
  return quantile(
    seen.flatMap(({ leg: its, attack }) =>
      its === leg && attack !== undefined ? [attack.connected / attack.seconds] : [],
    ),
    0.5,
  );
}

function judge(kind: AttackKind, seen: readonly Seen[], { tiny }: Settings): { check: Check; row: [string, string] } {
  const toServer = ratioOf(seen, 'at the gateway', 'at the server');
  const toAlone = ratioOf(seen, 'at the gateway', 'alone');
  const paced = PACED_TOO.includes(kind) ? ratioOf(seen, PACED, 'alone') : undefined;
  const text =
    `${format(toServer, 2)} x that while the server itself is attacked, ${format(toAlone, 2)} x that without an attack ` +
    `(${format(quantile(p99sOf(seen, 'at the gateway'), 0.5), 3)} ms; ` +
    `${count(rateOf(seen, 'at the gateway'))} connections/s)` +
    (paced === undefined ? '' : `; ${format(paced, 2)} x that without one with MAX_CONNECTION_RATE=${PACE}`);
  return {
    check: {
      what: `${kind}: p99 of 8 others`,
      passed: tiny || toServer <= MOST_RATIO,
      measured: `${text}${tiny ? ', too short to be judged' : `, at most ${MOST_RATIO} x`}`,
    },
    row: [`${kind}: p99 of 8 others`, text],
  };
}

/**
 * As many connections a second as the machine makes. What it takes from everybody to make them is seen where they come to
 * a port that nobody has; what is judged is what the gateway adds to that.
 */
async function fullFlood(arena: Arena): Promise<{ checks: Check[]; rows: [string, string][]; seen: Seen[] }> {
  const { settings, plain, paced } = arena;
  const seen: Seen[] = [];
  const { fullFloodSeconds: seconds, fullFloodRate: wanted, rounds, tiny } = settings;
  await interleaved(rounds, FULL_LEGS, async (leg, round) => {
    seen.push(await oneRun(arena, 'connect-flood', leg, `at full speed, round ${round}/${rounds}`, seconds, wanted));
  });
  const p99Of = (leg: Leg): string => `${format(quantile(p99sOf(seen, leg), 0.5), 1)} ms`;
  const speed = (leg: Leg): string => `${count(rateOf(seen, leg))}/s`;
  const toClosed = ratioOf(seen, 'at the gateway', CLOSED);
  const text =
    `${format(toClosed, 2)} x that while they come to a port that nobody has; ${p99Of('at the gateway')}, ` +
    `${p99Of(CLOSED)} there, ${p99Of(PACED)} with MAX_CONNECTION_RATE=${PACE}, ${p99Of('alone')} without an attack; ` +
    `${speed('at the gateway')} of ${count(wanted)}/s (the server itself: ${p99Of('at the server')}, ${speed('at the server')})`;
  const served = await Promise.all([plain, paced].map(({ gateway }) => query(gateway.clients, 'SELECT 1')));
  return {
    checks: [
      {
        what: 'connect-flood at full speed: p99 of 8 others; who comes afterwards is served',
        passed: served.every((answer) => answer === '1') && (tiny || toClosed <= MOST_RATIO),
        measured: text,
      },
    ],
    rows: [[`connect-flood at full speed, ${settings.fullFloodSeconds} s`, text]],
    seen,
  };
}
