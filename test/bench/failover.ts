// SPDX-License-Identifier: MIT
// `npm run bench:failover`: HAProxy, libpq's own list of hosts, and this gateway side by
// side through the same failovers of one Patroni cluster. How long each takes from "the
// new primary accepts writes" to the first write that gets there, and what its clients see.

import { parseArgs } from 'node:util';

import { closeAll } from '../helpers/cleanup.js';
import { Gateway } from '../helpers/gateway.js';
import { PatroniCluster } from '../patroni/cluster.js';
import { createWrittenTable, FAILOVER_KINDS, failOver } from '../patroni/failovers.js';
import type { FailoverKind } from '../patroni/failovers.js';
import { recordOf } from '../patroni/ledger.js';
import type { RouteRecord } from '../patroni/ledger.js';
import { Load } from '../patroni/load.js';
import type { Route } from '../patroni/load.js';
import { figuresOf, textOf } from '../patroni/summary.js';
import { HaProxy } from './haproxy.js';
import { print, say } from './progress.js';
import { firstLine, hardware, keep, postgresVersion, today } from './results.js';

const HELP = `Usage: npm run bench:failover -- [OPTION]... [KIND]...

Fails a three-node Patroni cluster over, again and again, with writers that get to
its primary by HAProxy, by libpq's own list of hosts, and by pg-gateway. KIND is one
or more of: ${FAILOVER_KINDS.join(' ')}. Default: all.

  --rounds N   Failovers of each kind. Default: 20.
  --debug      The gateway logs at the level debug; its log is kept with the results.
  --help       Print this text.

Results are kept in build/bench/.
`;

const EXIT_USAGE = 64;
const ROUNDS = '20';
/** What a round takes, for the announcement. */
const ROUND_S: Readonly<Record<FailoverKind, number>> = { switchover: 12, kill: 14, demote: 9 };

interface Round {
  readonly kind: FailoverKind;
  readonly records: readonly RouteRecord[];
}

interface Settings {
  readonly rounds: number;
  readonly kinds: readonly FailoverKind[];
  readonly debug: boolean;
}

function settingsOf(args: readonly string[]): Settings | undefined {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: {
      rounds: { type: 'string', default: ROUNDS },
      debug: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
    allowPositionals: true,
  });
  const kinds = FAILOVER_KINDS.filter((kind) => positionals.length === 0 || positionals.includes(kind));
  const rounds = Number(values.rounds);
  const understood = positionals.every((word) => FAILOVER_KINDS.some((kind) => kind === word));
  if (values.help || !understood || !Number.isInteger(rounds) || rounds < 1) return undefined;
  return { rounds, kinds, debug: values.debug };
}

async function bench({ rounds, kinds, debug }: Settings): Promise<void> {
  const seconds = kinds.reduce((sum, kind) => sum + ROUND_S[kind] * rounds, 0);
  say(`${rounds * kinds.length} failovers: about ${Math.ceil(seconds / 60)} minutes`);
  const cluster = await PatroniCluster.start();
  await createWrittenTable(cluster);
  say('the cluster is up');
  const gateway = await Gateway.start({
    candidates: cluster.candidates,
    // The interval and the patience of the product, not the shorter ones of the tests.
    env: { CHECK_EVERY: '2', HOLD_TIMEOUT_MS: '15000', ...(debug ? { LOG_LEVEL: 'debug' } : {}) },
  });
  await gateway.primaryIs((await cluster.leader()).candidate);
  const routes = [
    routeTo('HAProxy', await HaProxy.start(cluster.nodes)),
    libpqRoute(cluster),
    routeTo('pg-gateway', gateway.clients),
  ];
  const load = await Load.start(
    routes,
    cluster.nodes.map(({ port }) => port),
  );
  const done: Round[] = [];
  try {
    for (let round = 1; round <= rounds; round += 1) {
      for (const kind of kinds) {
        const window = await failOver(kind, { cluster, load, routes });
        const events = await load.events();
        const records = routes.map(({ name }) => recordOf(name, events, window));
        done.push({ kind, records });
        say(`${done.length}/${rounds * kinds.length} ${kind}: ${records.map(briefly).join('; ')}`);
      }
    }
  } finally {
    await report(
      done,
      routes.map(({ name }) => name),
      gateway.log,
    );
  }
}

function routeTo(name: string, { host, port }: { readonly host: string; readonly port: number }): Route {
  return { name, host, port: String(port) };
}

function libpqRoute({ nodes }: PatroniCluster): Route {
  return {
    name: 'libpq',
    host: nodes.map(({ host }) => host).join(','),
    port: nodes.map(({ port }) => port).join(','),
    options: { target_session_attrs: 'read-write' },
  };
}

function briefly({ route, recoveredMs, refused }: RouteRecord): string {
  return `${route} ${textOf(recoveredMs)}, ${refused} failed`;
}

/** Prints the table and keeps all of it. */
async function report(done: readonly Round[], routes: readonly string[], gatewayLog: string): Promise<void> {
  const machine = await describeMachine();
  const kinds = FAILOVER_KINDS.filter((kind) => done.some((round) => round.kind === kind));
  const figures = kinds.flatMap((kind) =>
    routes.map((route) => {
      const records = done
        .filter((round) => round.kind === kind)
        .flatMap((round) => round.records.filter((record) => record.route === route));
      return { kind, route, ...figuresOf(records) };
    }),
  );
  const lines = figures.map(
    ({ kind, route, failovers, medianMs, worstMs, medianOutageMs, refused, lastWords, broken, misrouted }) =>
      `| ${[
        `${failovers} x ${kind}`,
        route,
        textOf(medianMs),
        textOf(worstMs),
        textOf(medianOutageMs),
        refused,
        `${lastWords.plain} + ${lastWords.tls}`,
        broken,
        misrouted,
      ].join(' | ')} |`,
  );
  const table = [
    '| failovers | route | first write, median | worst | outage, median | failed attempts | last words, plain + TLS | sessions broken | writes to a standby |',
    `|${' --- |'.repeat(9)}`,
    ...lines,
  ].join('\n');
  print(`\n${table}\n\n${machine}`);
  const [file] = await keep('failover', {
    json: `${JSON.stringify({ machine, figures, rounds: done }, undefined, 2)}\n`,
    'gateway.log': gatewayLog,
  });
  print(file ?? '');
}

async function describeMachine(): Promise<string> {
  const words = await Promise.all([
    hardware(),
    firstLine('patroni', '--version'),
    firstLine('etcd', '--version'),
    firstLine('/usr/sbin/haproxy', '-v'),
    postgresVersion(),
  ]);
  return [...words, `node ${process.version}`, today()].join('; ');
}

async function main(args: readonly string[]): Promise<number> {
  const settings = settingsOf(args);
  if (settings === undefined) {
    process.stderr.write(HELP);
    return args.includes('--help') ? 0 : EXIT_USAGE;
  }
  try {
    await bench(settings);
    return 0;
  } finally {
    await closeAll();
  }
}

process.exitCode = await main(process.argv.slice(2));
