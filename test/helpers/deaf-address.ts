// SPDX-License-Identifier: MIT
// A loopback address that answers a SYN with nothing at all, like a host that has
// vanished. (Node accepts whatever comes, so another program listens there.)

import { Child } from './child.js';
import { testFile } from './paths.js';

export interface DeafAddress {
  readonly host: string;
  readonly port: number;
  close(): Promise<void>;
}

/** `host` is an address of 127.0.0.0/8. */
export async function deafAddress(host: string, port: number): Promise<DeafAddress> {
  const child = new Child(['python3', testFile('helpers/deaf-address.py'), host, String(port)]);
  try {
    await child.output('the full queue', (stdout) => /^deaf\n/.exec(stdout)?.[0]);
  } catch (error) {
    await child.close();
    throw error;
  }
  return { host, port, close: () => child.close() };
}
