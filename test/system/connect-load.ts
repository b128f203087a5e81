// SPDX-License-Identifier: MIT
// Clients inside the machine that connect, log in and leave all the time.

import type { Child } from '../helpers/child.js';
import { testFile } from '../helpers/paths.js';
import { within } from '../helpers/wait.js';
import type { Machine } from './machine.js';

/** How connections went; connect-load.py says what each means. */
export interface Outcome {
  readonly ok: number;
  readonly refused: number;
  readonly cut: number;
  readonly rejected: number;
  /** Reasons with their counts. */
  readonly why: Readonly<Record<string, number>>;
}

/** How many at the same time. */
export const LOAD_CLIENTS = 8;

const SCRIPT = '/root/connect-load.py';
const END_DEADLINE_MS = 60_000;

export class ConnectLoad {
  readonly #child: Child;

  private constructor(child: Child) {
    this.#child = child;
  }

  /** Each client has logged in once when this returns. */
  static async start(machine: Machine, clients = LOAD_CLIENTS): Promise<ConnectLoad> {
    await machine.copyIn(testFile('system/connect-load.py'), SCRIPT);
    const child = machine.start(['python3', SCRIPT, '5432', String(clients)]);
    await child.output('the load to run', (stdout) => /^running\n/.exec(stdout) ?? undefined, 30_000);
    return new ConnectLoad(child);
  }

  /** Each client connects once more before it ends. */
  async stop(): Promise<Outcome> {
    this.#child.endInput();
    const { stdout, stderr } = await within(END_DEADLINE_MS, 'the end of the load', this.#child.ended);
    const line = stdout.trimEnd().split('\n').at(-1) ?? '';
    if (!line.startsWith('{')) throw new Error(`the load ended without counts: ${stdout}${stderr}`);
    return JSON.parse(line) as Outcome;
  }
}
