// SPDX-License-Identifier: MIT
// Clients that mean no good: what eight that work notice of them. On a machine of few cores the attackers, and the
// server that is attacked through the gateway, take CPU time from everybody, whoever is between them: so each attack is
// also sent to the server past the gateway, while the eight go through it. The ratio of the two is what the gateway
// adds. Within a round the three runs follow each other closely.

import { interleaved } from '../bench/routes.js';
import { quantile } from '../bench/statistics.js';
import { format } from '../bench/table.js';
import { Gateway } from '../helpers/gateway.js';
import { Attack, ATTACKS } from '../helpers/hostile.js';
import type { AttackFigures, AttackKind } from '../helpers/hostile.js';
import { temporaryFolder } from '../helpers/paths.js';
import { PostgresServer } from '../helpers/postgres.js';
import { childrenOf, connectionsAt, cpuMilliseconds, descriptorsOf, residentBytes } from '../helpers/processes.js';
import { clientProgram, query } from '../helpers/psql.js';
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

const LEGS = ['alone', 'at the server', 'at the gateway'] as const;
type Leg = (typeof LEGS)[number];

interface Arena {
  readonly settings: Settings;
  readonly progress: Progress;
  readonly server: PostgresServer;
  readonly gateway: Gateway;
  readonly folder: string;
  /** Before the first attack. */
  readonly descriptors: number;
  readonly bytes: number;
  /** Of the server. */
  readonly processes: number;
}

interface Seen {
  readonly leg: Leg;
  readonly p99Ms: number;
  readonly attack: AttackFigures | undefined;
}

export const hostile: Part = {
  name: 'hostile',
  seconds: ({ rounds, seconds, fullFloodSeconds }) =>
    START_SECONDS +
    ATTACKS.length * LEGS.length * rounds * (seconds + RUN_SECONDS) +
    3 * (fullFloodSeconds + RUN_SECONDS),
  run: async (settings, progress) => {
    const folder = await temporaryFolder();
    const server = await progress.during('hostile: a server', openServer);
    // One worker: whoever attacks is on the same as the others.
    const gateway = await Gateway.start({
      candidates: [server.candidate],
      env: { CHECK_EVERY: undefined, HOLD_TIMEOUT_MS: undefined, NUM_THREADS: '1' },
    });
    try {
      await gateway.primaryIs(server.candidate);
      const arena = { settings, progress, server, gateway, folder: folder.path };
      await query(gateway.clients, 'SELECT 1');
      await eventually('the first session to have gone', () => connectionsAt(gateway.pid, gateway.clients.port) === 0);
      return await run({
        ...arena,
        descriptors: descriptorsOf(gateway.pid).length,
        bytes: residentBytes(gateway.pid),
        processes: childrenOf(server.pid).length,
      });
    } finally {
      await progress.during('hostile: taking it away', async () => {
        await gateway.close();
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

async function run(arena: Arena): Promise<PartResult> {
  const { settings, gateway } = arena;
  const checks: Check[] = [];
  const rows: [string, string][] = [];
  const figures: Record<string, object> = {};
  for (const kind of ATTACKS) {
    const seen: Seen[] = [];
    await interleaved(settings.rounds, LEGS, async (leg, round) => {
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
  const grown = (residentBytes(gateway.pid) - arena.bytes) / 1e6;
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

/** p99 of the eight through the gateway, with that attack at that place. Nothing of it is left afterwards. */
async function oneRun(
  arena: Arena,
  kind: AttackKind,
  leg: Leg,
  what: string,
  seconds: number,
  rate: number,
): Promise<Seen> {
  const { progress, server, gateway, folder } = arena;
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
          if (leg === 'alone') return () => Promise.resolve();
          const target = leg === 'at the server' ? server : gateway.clients;
          const begun = await Attack.start(kind, target, { seconds: ATTACK_SECONDS, rate });
          return async () => {
            attack = await begun.stop();
          };
        },
      );
      await settled(arena);
      return { leg, p99Ms, attack };
    },
    ({ p99Ms, attack: of }) =>
      `p99 ${p99Ms.toFixed(3)} ms${of === undefined ? '' : `, ${count(of.connected / of.seconds)} connections/s`}`,
  );
  return seen;
}

/** @throws Error if something of the attack is left */
async function settled({ gateway, server, descriptors, processes }: Arena): Promise<void> {
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

function judge(kind: AttackKind, seen: readonly Seen[], { tiny }: Settings): { check: Check; row: [string, string] } {
  const p99s = (leg: Leg): number[] => seen.filter((one) => one.leg === leg).map(({ p99Ms }) => p99Ms);
  const ratio = (leg: Leg): number => {
    const others = p99s(leg);
    return quantile(
      p99s('at the gateway').map((ms, round) => ms / (others[round] ?? NaN)),
      0.5,
    );
  };
  const [toServer, toAlone] = [ratio('at the server'), ratio('alone')];
  const rates = seen.flatMap(({ leg, attack }) =>
    leg === 'at the gateway' && attack !== undefined ? [attack.connected / attack.seconds] : [],
  );
  const text =
    `${format(toServer, 2)} x that while the server itself is attacked, ${format(toAlone, 2)} x that without an attack ` +
    `(${format(quantile(p99s('at the gateway'), 0.5), 3)} ms; ${count(quantile(rates, 0.5))} connections/s)`;
  return {
    check: {
      what: `${kind}: p99 of 8 others`,
      passed: tiny || toServer <= MOST_RATIO,
      measured: `${text}${tiny ? ', too short to be judged' : `, at most ${MOST_RATIO} x`}`,
    },
    row: [`${kind}: p99 of 8 others`, text],
  };
}

/** As many connections a second as the machine makes. How it divides its cores among so many is not judged. */
async function fullFlood(arena: Arena): Promise<{ checks: Check[]; rows: [string, string][]; seen: Seen[] }> {
  const { settings, gateway } = arena;
  const seen: Seen[] = [];
  for (const leg of LEGS) {
    seen.push(
      await oneRun(arena, 'connect-flood', leg, 'at full speed', settings.fullFloodSeconds, settings.fullFloodRate),
    );
  }
  const [alone, atServer, atGateway] = seen;
  const rate = (one: Seen | undefined): string =>
    one?.attack === undefined ? '?' : count(one.attack.connected / one.attack.seconds);
  const text =
    `${rate(atGateway)}/s reached of ${count(settings.fullFloodRate)}/s (at the server ${rate(atServer)}/s); p99 of 8 others ` +
    `${format(atGateway?.p99Ms ?? 0, 1)} ms, ${format(atServer?.p99Ms ?? 0, 1)} ms while the server itself is attacked, ` +
    `${format(alone?.p99Ms ?? 0, 1)} ms without`;
  const served = await query(gateway.clients, 'SELECT 1');
  return {
    checks: [
      {
        what: 'connect-flood at full speed: others go on, who comes afterwards is served',
        passed: served === '1',
        measured: text,
      },
    ],
    rows: [[`connect-flood at full speed, ${settings.fullFloodSeconds} s`, text]],
    seen,
  };
}
