// SPDX-License-Identifier: MIT
// The options of `npm run bench`. Pure.

import { number, numbers, optionValues, words } from '../helpers/options.js';

export const PART_NAMES = ['oltp', 'copy', 'connections', 'mixed', 'workers', 'idle', 'churn', 'service'] as const;
export type PartName = (typeof PART_NAMES)[number];

export const PEER_NAMES = ['haproxy', 'haproxy-splice', 'nginx', 'pgbouncer'] as const;
export type PeerName = (typeof PEER_NAMES)[number];

/** Of the part mixed. */
export const MIXED_CLIENTS = 8;
/** Of the part workers. */
export const WORKERS_CLIENTS = 64;

export interface Settings {
  /** Its figures say nothing. */
  readonly tiny: boolean;
  readonly parts: readonly PartName[];
  readonly peers: readonly PeerName[];
  readonly clients: readonly number[];
  readonly rounds: number;
  /** How long pgbench is looked at; undefined: it runs `transactions` of each client instead, and all of them count. */
  readonly seconds: number | undefined;
  readonly transactions: number;
  readonly copyMegabytes: number;
  readonly idleSessions: readonly number[];
  /** How long memory is looked at, for one reading. */
  readonly settleSeconds: number;
  readonly churnSessions: number;
  readonly workers: readonly number[];
  /** pgbench -s */
  readonly scale: number;
  readonly markdown: boolean;
}

export const HELP = `Usage: npm run bench -- [OPTION]...

Measures PostgreSQL directly, through HAProxy, nginx and PgBouncer as their manuals
recommend them for this, and through pg-gateway: all on this machine, one after the
other in each of several rounds. Nothing else should run meanwhile.

  --only PART,...      ${PART_NAMES.join(' ')}. Default: all.
  --peers PEER,...     ${PEER_NAMES.join(' ')}. Default: all.
  --clients N,...      Clients of the part oltp. Default: 1,8,64,256.
  --rounds N           Default: 5.
  --seconds N          How long pgbench is looked at each time, after its warm-up. Default: 5.
  --copy-mb N          Megabytes of one COPY. Default: 2048.
  --sessions N,...     Idle sessions. Default: 1000,9000.
  --churn N            Sessions that the part churn opens and closes. Default: 200000.
  --workers N,...      Default: 1,2,4.
  --tiny               Tiny numbers: shows that it all works, in less than a minute.
  --markdown           Print the README's table at the end.
  --help               Print this text.

The results are kept in build/bench/: figures as JSON, a chart as SVG, tables as Markdown.
A target that is not met is a figure like any other.

Exit status: 0 everything was measured; 1 something did not work; 64 wrong usage;
129, 130, 143 ended by SIGHUP, SIGINT, SIGTERM.
`;

const FULL: Settings = {
  tiny: false,
  parts: PART_NAMES,
  peers: PEER_NAMES,
  clients: [1, 8, 64, 256],
  rounds: 5,
  seconds: 5,
  transactions: 0,
  copyMegabytes: 2048,
  idleSessions: [1000, 9000],
  settleSeconds: 8,
  churnSessions: 200_000,
  workers: [1, 2, 4],
  scale: 5,
  markdown: false,
};

const TINY: Settings = {
  ...FULL,
  tiny: true,
  clients: [1, 4],
  rounds: 1,
  seconds: undefined,
  transactions: 50,
  copyMegabytes: 16,
  idleSessions: [10, 50],
  settleSeconds: 0.5,
  churnSessions: 500,
  workers: [1, 2],
  scale: 1,
};

/** Undefined: the help was asked for. @throws UsageError */
export function settingsOf(args: readonly string[]): Settings | undefined {
  const values = valuesOf(args);
  if (values.help === true) return undefined;
  const base = values.tiny === true ? TINY : FULL;
  return {
    ...base,
    parts: words('only', values.only, PART_NAMES) ?? base.parts,
    peers: words('peers', values.peers, PEER_NAMES) ?? base.peers,
    clients: numbers('clients', values.clients) ?? base.clients,
    rounds: number('rounds', values.rounds) ?? base.rounds,
    seconds: number('seconds', values.seconds) ?? base.seconds,
    copyMegabytes: number('copy-mb', values['copy-mb']) ?? base.copyMegabytes,
    idleSessions: numbers('sessions', values.sessions) ?? base.idleSessions,
    churnSessions: number('churn', values.churn) ?? base.churnSessions,
    workers: numbers('workers', values.workers) ?? base.workers,
    markdown: values.markdown ?? false,
  };
}

/** How long one run of pgbench takes, with its start, for announcements. */
export function runSeconds({ seconds, rounds }: Settings, clients: number): number {
  return (seconds === undefined ? 0.5 : seconds + warmUpSeconds(clients) + 1.7) * rounds;
}

/**
 * So long a run of pgbench does not count: those processes of the server that have just started read what they know of
 * tables and types first.
 */
export function warmUpSeconds(clients: number): number {
  return 3 + Math.ceil(clients / 64);
}

function valuesOf(args: readonly string[]) {
  return optionValues(args, {
    only: { type: 'string' },
    peers: { type: 'string' },
    clients: { type: 'string' },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    'copy-mb': { type: 'string' },
    sessions: { type: 'string' },
    churn: { type: 'string' },
    workers: { type: 'string' },
    tiny: { type: 'boolean' },
    markdown: { type: 'boolean' },
    help: { type: 'boolean' },
  });
}
