// SPDX-License-Identifier: MIT
// HAProxy in front of a Patroni cluster, with the configuration that Patroni's own documentation has for it.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { Child } from '../helpers/child.js';
import { temporaryFolder } from '../helpers/paths.js';
import type { TemporaryFolder } from '../helpers/paths.js';
import { freePort } from '../helpers/ports.js';
import { RawClient } from '../helpers/raw-client.js';
import { eventually } from '../helpers/wait.js';
import type { PatroniNode } from '../patroni/node.js';

export class HaProxy {
  readonly host = '127.0.0.1';
  readonly port: number;
  readonly #folder: TemporaryFolder;
  readonly #process: Child;

  private constructor(port: number, folder: TemporaryFolder, process: Child) {
    this.port = port;
    this.#folder = folder;
    this.#process = process;
  }

  /** It accepts clients when this returns. */
  static async start(nodes: readonly PatroniNode[]): Promise<HaProxy> {
    const folder = await temporaryFolder();
    const port = await freePort();
    const file = join(folder.path, 'haproxy.cfg');
    await writeFile(file, configuration(port, nodes));
    // -db: in the foreground.
    const proxy = new HaProxy(port, folder, new Child(['/usr/sbin/haproxy', '-db', '-f', file], { cwd: '/' }));
    try {
      await eventually('HAProxy to accept clients', async () => {
        if (proxy.#process.result !== undefined) throw new Error(proxy.#process.stderr);
        (await RawClient.connect(proxy)).close();
        return true;
      });
      return proxy;
    } catch (error) {
      await proxy.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#process.close();
    await this.#folder.close();
  }
}

/** patroni/examples/haproxy.cfg, with the path that asks for the primary and without the page of statistics. */
function configuration(port: number, nodes: readonly PatroniNode[]): string {
  const servers = nodes.map(
    ({ name, host, port: serverPort, restPort }) =>
      `    server ${name} ${host}:${serverPort} maxconn 100 check port ${restPort}`,
  );
  return `global
    maxconn 100

defaults
    mode tcp
    retries 2
    timeout client 30m
    timeout connect 4s
    timeout server 30m
    timeout check 5s

listen primary
    bind 127.0.0.1:${port}
    option httpchk OPTIONS /primary
    http-check expect status 200
    default-server inter 3s fall 3 rise 2 on-marked-down shutdown-sessions
${servers.join('\n')}
`;
}
