// SPDX-License-Identifier: MIT
// A Debian machine with systemd: boots in half a second, is thrown away when it is
// closed. What runs inside is root's, offline, and knows nothing of the host.

import { readFile } from 'node:fs/promises';

import { atExit } from '../helpers/cleanup.js';
import { Child, run, succeed } from '../helpers/child.js';
import type { ChildOptions, Ended } from '../helpers/child.js';
import { testFile } from '../helpers/paths.js';
import { eventually, within } from '../helpers/wait.js';
import type { WaitOptions } from '../helpers/wait.js';

/** The environment by which the runner tells a test file what to test. */
export const SUITE_VARIABLE = 'PG_GATEWAY_TEST_SUITE';

const SCRIPT = testFile('system/machine');
const BOOT_DEADLINE_MS = 70_000;
const CLOSE_DEADLINE_MS = 15_000;

/** From "emerg" to "debug", as syslog(3) numbers them. */
const PRIORITIES = ['emerg', 'alert', 'crit', 'err', 'warning', 'notice', 'info', 'debug'] as const;
export type Priority = (typeof PRIORITIES)[number];

/** One message in the journal. */
export interface Entry {
  readonly message: string;
  readonly priority: Priority;
  /** Of whoever wrote it; 1 is systemd itself. */
  readonly pid: number;
  /** Its place in the journal: later ones have higher numbers. */
  readonly number: number;
}

export interface JournalQuery {
  /** Messages of the unit, and those of systemd about it. Default: all there are. */
  readonly unit?: string;
  /** These and more severe ones. */
  readonly priority?: Priority;
  readonly after?: Entry | undefined;
}

export class Machine {
  readonly #supervisor: Child;
  readonly #prefix: readonly string[];
  readonly #forget: () => void;

  private constructor(supervisor: Child, name: string, init: string) {
    this.#supervisor = supervisor;
    this.#prefix = [SCRIPT, 'exec', name, init];
    this.#forget = atExit({
      close: () => this.close(),
      closeNow: () => {
        supervisor.kill('SIGTERM');
      },
    });
  }

  /** @throws Error with the console's last words if it does not get up */
  static async boot(suite = process.env[SUITE_VARIABLE] ?? 'bookworm'): Promise<Machine> {
    const supervisor = new Child([SCRIPT, 'run', suite], { endedByOwner: true });
    const find = (stdout: string): RegExpExecArray | undefined => /^booted (\S+) (\d+)\n/m.exec(stdout) ?? undefined;
    try {
      const [, name = '', init = ''] = await supervisor.output('the machine to boot', find, BOOT_DEADLINE_MS);
      return new Machine(supervisor, name, init);
    } catch (error) {
      supervisor.kill('SIGTERM');
      await supervisor.ended;
      throw error;
    }
  }

  /** A command to its end, whatever that is. */
  run(command: readonly string[], options: ChildOptions = {}): Promise<Ended> {
    return run([...this.#prefix, ...command], options);
  }

  /** Its standard output. @throws Error with all its output if its status is not 0 */
  succeed(command: readonly string[], options: ChildOptions = {}): Promise<string> {
    return succeed([...this.#prefix, ...command], options);
  }

  /** The same for a script, which ends at the first command that fails. */
  shell(script: string, ...args: readonly string[]): Promise<string> {
    return this.succeed(['bash', '--norc', '-euo', 'pipefail', '-c', script, 'bash', ...args]);
  }

  /** A command that goes on; it ends with the machine at the latest. */
  start(command: readonly string[]): Child {
    return new Child([...this.#prefix, ...command]);
  }

  async write(path: string, content: string, mode = '644'): Promise<void> {
    await this.succeed(['sh', '-ec', 'mkdir -p "${1%/*}"; cat >"$1"; chmod "$2" "$1"', 'sh', path, mode], {
      input: content,
    });
  }

  /** Copies a file of the host. Its bytes travel as base64: standard input is text. */
  async copyIn(hostPath: string, path: string): Promise<void> {
    const content = (await readFile(hostPath)).toString('base64');
    await this.succeed(['sh', '-ec', 'base64 -d >"$1"', 'sh', path], { input: content });
  }

  systemctl(...args: readonly string[]): Promise<string> {
    return this.succeed(['systemctl', ...args]);
  }

  /** As `systemctl show` names it, like MainPID or ActiveState. */
  async property(unit: string, name: string): Promise<string> {
    return (await this.systemctl('show', '--value', '--property', name, unit)).trimEnd();
  }

  /** Waits until ActiveState of the unit is this one. */
  async becomes(unit: string, state: string, options?: WaitOptions): Promise<void> {
    await eventually(
      `${unit} to be ${state}`,
      async () => (await this.property(unit, 'ActiveState')) === state,
      options,
    );
  }

  /** What the journal has, complete up to now. */
  async journal({ unit, priority, after }: JournalQuery = {}): Promise<Entry[]> {
    await this.succeed(['journalctl', '--sync']);
    const text = await this.succeed([
      ...['journalctl', '--quiet', '--no-pager', '--output=json'],
      ...(unit === undefined ? [] : [`--unit=${unit}`]),
      ...(priority === undefined ? [] : [`--priority=${priority}`]),
    ]);
    return (
      text
        .split('\n')
        .filter((line) => line !== '')
        .map(parseEntry)
        // Not by --after-cursor: together with --unit it loses the first one now and then.
        .filter(({ number }) => after === undefined || number > after.number)
    );
  }

  /** The last message in the journal, as a mark for `after`. */
  async mark(): Promise<Entry> {
    const entry = (await this.journal()).at(-1);
    if (entry === undefined) throw new Error('the journal is empty');
    return entry;
  }

  /** Waits for a message. @throws Error with what there was instead */
  async logged(pattern: RegExp, query: JournalQuery = {}, options?: WaitOptions): Promise<Entry> {
    let entries: Entry[] = [];
    const look = async (): Promise<Entry | undefined> => {
      entries = await this.journal(query);
      return entries.find(({ message }) => pattern.test(message));
    };
    return eventually(`${String(pattern)} in the journal`, look, { everyMs: 100, ...options }).catch(
      (error: unknown) => {
        throw new Error(`${String(error)}; there was:\n${entries.map(({ message }) => message).join('\n')}`);
      },
    );
  }

  /** Pulls the plug. */
  async close(): Promise<void> {
    this.#supervisor.endInput();
    await within(CLOSE_DEADLINE_MS, 'the end of the machine', this.#supervisor.ended);
    this.#forget();
  }
}

function parseEntry(line: string): Entry {
  const { MESSAGE, PRIORITY, _PID, __CURSOR } = JSON.parse(line) as Record<string, unknown>;
  return {
    message: typeof MESSAGE === 'string' ? MESSAGE : JSON.stringify(MESSAGE),
    priority: PRIORITIES[Number(PRIORITY)] ?? 'info',
    pid: Number(_PID),
    // systemd.journal-fields(7) calls cursors opaque; this part has been the number of the entry ever since.
    number: Number.parseInt(/(?:^|;)i=([0-9a-f]+)/.exec(String(__CURSOR))?.[1] ?? '', 16),
  };
}
