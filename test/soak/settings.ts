// SPDX-License-Identifier: MIT
// The options of `npm run soak`. Pure.

import { ATTACKS } from '../helpers/hostile.js';
import type { AttackKind } from '../helpers/hostile.js';
import { number, optionValues, words } from '../helpers/options.js';

export const PART_NAMES = ['load', 'crowd', 'hostile'] as const;
export type PartName = (typeof PART_NAMES)[number];

export interface Settings {
  /** Its figures say nothing. */
  readonly tiny: boolean;
  readonly parts: readonly PartName[];
  /** How long the load lasts. */
  readonly loadSeconds: number;
  /** What comes before the readings of memory and descriptors count. */
  readonly warmUpSeconds: number;
  readonly failoverEverySeconds: number;
  readonly reloadEverySeconds: number;
  /** Sessions opened a second. */
  readonly churnPerSecond: number;
  /** Sessions that wait for a NOTIFY. */
  readonly listeners: number;
  readonly copyMegabytes: number;
  /** Sessions that do nothing, beside the eight that work. */
  readonly idleSessions: number;
  /** Of the parts crowd and hostile. */
  readonly rounds: number;
  readonly seconds: number;
  readonly attacks: readonly AttackKind[];
  /** Connections a second of a flood whose cost is compared; of one that goes as fast as it can. */
  readonly floodRate: number;
  readonly fullFloodRate: number;
  readonly fullFloodSeconds: number;
  readonly markdown: boolean;
}

export const HELP = `Usage: npm run soak -- [OPTION]...

A PostgreSQL primary, its standby and pg-gateway in front of them, all on this machine, and
  load     pgbench, COPY both ways, LISTEN, 200 sessions a second that come and go, resets;
           a failover each minute, a reload each 20 seconds
  crowd    9,000 idle sessions, and what eight that work notice of them
  hostile  clients that mean no good, and what eight that work notice of them
Nothing else should run meanwhile.

  --minutes N     How long the load lasts. Default: 30. The others take some 13 more.
  --only PART,... ${PART_NAMES.join(' ')}. Default: all.
  --rounds N      Of crowd and hostile. Default: 5.
  --sessions N    Idle sessions. Default: 9000.
  --tiny          Tiny numbers: shows that it all works, in about a minute.
  --markdown      Print the rows of the README's table at the end.
  --help          Print this text.

The figures are kept in build/soak/. The last line is \`N passed, N failed\`.

Exit status: 0 nothing failed; 1 something did; 64 wrong usage; 129, 130, 143 ended by
SIGHUP, SIGINT, SIGTERM.
`;

const FULL: Settings = {
  tiny: false,
  parts: PART_NAMES,
  loadSeconds: 30 * 60,
  warmUpSeconds: 120,
  failoverEverySeconds: 60,
  reloadEverySeconds: 20,
  churnPerSecond: 200,
  listeners: 20,
  copyMegabytes: 32,
  idleSessions: 9000,
  rounds: 5,
  seconds: 3,
  attacks: ATTACKS,
  floodRate: 1000,
  fullFloodRate: 20_000,
  fullFloodSeconds: 10,
  markdown: false,
};

const TINY: Settings = {
  ...FULL,
  tiny: true,
  loadSeconds: 16,
  warmUpSeconds: 4,
  failoverEverySeconds: 8,
  reloadEverySeconds: 4,
  churnPerSecond: 20,
  listeners: 4,
  copyMegabytes: 2,
  idleSessions: 200,
  rounds: 1,
  seconds: 0.7,
  // The others differ in nothing but the attack, which `integration/hostile` makes.
  attacks: ['slow-startup', 'ssl-flood'],
  fullFloodSeconds: 1,
};

/** With fewer minutes there is less to warm up for. */
const WARM_UP_SHARE = 0.2;

/** Undefined: the help was asked for. @throws UsageError */
export function settingsOf(args: readonly string[]): Settings | undefined {
  const values = valuesOf(args);
  if (values.help === true) return undefined;
  const base = values.tiny === true ? TINY : FULL;
  const minutes = number('minutes', values.minutes);
  const loadSeconds = minutes === undefined ? base.loadSeconds : minutes * 60;
  return {
    ...base,
    parts: words('only', values.only, PART_NAMES) ?? base.parts,
    loadSeconds,
    warmUpSeconds: Math.min(base.warmUpSeconds, WARM_UP_SHARE * loadSeconds),
    idleSessions: number('sessions', values.sessions) ?? base.idleSessions,
    rounds: number('rounds', values.rounds) ?? base.rounds,
    markdown: values.markdown ?? false,
  };
}

function valuesOf(args: readonly string[]) {
  return optionValues(args, {
    minutes: { type: 'string' },
    only: { type: 'string' },
    rounds: { type: 'string' },
    sessions: { type: 'string' },
    tiny: { type: 'boolean' },
    markdown: { type: 'boolean' },
    help: { type: 'boolean' },
  });
}
