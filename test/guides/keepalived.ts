// SPDX-License-Identifier: MIT
// Debian's keepalived on a host, with a configuration of the page.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { Child } from '../helpers/child.js';
import type { Host } from '../helpers/network.js';
import { temporaryFolder } from '../helpers/paths.js';
import type { TemporaryFolder } from '../helpers/paths.js';
import { descendantsOf, signal } from '../helpers/processes.js';

const PROGRAM = '/usr/sbin/keepalived';

export class Keepalived {
  readonly #folder: TemporaryFolder;
  readonly #child: Child;

  private constructor(folder: TemporaryFolder, child: Child) {
    this.#folder = folder;
    this.#child = child;
  }

  static async start(host: Host, configuration: string): Promise<Keepalived> {
    const folder = await temporaryFolder();
    const file = join(folder.path, 'keepalived.conf');
    await writeFile(file, configuration);
    // In the foreground; the files of one are not those of another, as on another machine.
    const command = [PROGRAM, '--dont-fork', '--log-console', '--log-detail', '--vrrp', '--use-file', file];
    const files = ['--pid', join(folder.path, 'pid'), '--vrrp_pid', join(folder.path, 'vrrp-pid')];
    const child = new Child([...host.enter, ...command, ...files], { cwd: '/', input: '' });
    return new Keepalived(folder, child);
  }

  get log(): string {
    return this.#child.stderr + this.#child.stdout;
  }

  /** As when the machine loses its power: it gives nothing up. */
  async kill(): Promise<void> {
    const all = [this.#child.pid, ...descendantsOf(this.#child.pid)];
    for (const pid of all) signal(pid, 'SIGSTOP');
    for (const pid of all) signal(pid, 'SIGKILL');
    await this.close();
  }

  /** `systemctl stop keepalived` */
  async close(): Promise<void> {
    await this.#child.close();
    await this.#folder.close();
  }
}
