// SPDX-License-Identifier: MIT
// Clients that mean no good, as a process of their own (hostile.py): what it costs them is not the test's.

import { Child } from './child.js';
import { testFile } from './paths.js';

/** What each does is said in hostile.py. */
export const ATTACKS = [
  'slow-startup',
  'bad-lengths',
  'ssl-flood',
  'reset-flood',
  'connect-flood',
  'never-read',
  'slow-read',
] as const;
export type AttackKind = (typeof ATTACKS)[number];

export interface AttackFigures {
  /** Handshakes that ended. */
  readonly connected: number;
  /** Handshakes that did not: the queue of the listener was full. */
  readonly unanswered: number;
  readonly refused: number;
  /** Connections that the other side has ended. */
  readonly ended: number;
  /** Bytes. */
  readonly sent: number;
  readonly received: number;
  readonly seconds: number;
}

export interface AttackOptions {
  /** After so long it ends whatever happens. */
  readonly seconds: number;
  /** Connections a second that a flood tries to make. Default: 1000. */
  readonly rate?: number;
}

const BEGIN_DEADLINE_MS = 30_000;

export class Attack {
  readonly #process: Child;

  private constructor(process: Child) {
    this.#process = process;
  }

  /** It has begun when this resolves. */
  static async start(
    kind: AttackKind,
    { host, port }: { readonly host: string; readonly port: number },
    { seconds, rate = 1000 }: AttackOptions,
  ): Promise<Attack> {
    const words = [kind, host, port, seconds, rate].map(String);
    const child = new Child(['python3', testFile('helpers/hostile.py'), ...words], { input: '' });
    try {
      await child.output('the attack', (text) => text.includes('attacking') || undefined, BEGIN_DEADLINE_MS);
      return new Attack(child);
    } catch (error) {
      await child.close();
      throw error;
    }
  }

  /** Ends it; what it has done. @throws Error if it had failed */
  async stop(): Promise<AttackFigures> {
    await this.#process.close();
    const { stdout, stderr } = await this.#process.ended;
    const last = stdout.trimEnd().split('\n').at(-1) ?? '';
    if (!last.startsWith('{')) throw new Error(`the attack has failed: ${stderr}${stdout}`);
    return JSON.parse(last) as AttackFigures;
  }
}
