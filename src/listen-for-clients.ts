// SPDX-License-Identifier: MIT
// Where clients connect: sockets that were handed over, or addresses that are bound.

import { bindHost } from './bind-host.js';
import type { Binder } from './bind-host.js';
import type { HostPort } from './config.js';
import type { DataPlane } from './dataplane.js';
import type { Logger } from './log.js';

/**
 * @param fds listening sockets that were handed over; if there is none, `listen` is bound
 * @throws GatewayError LISTEN_FAILED
 */
export async function listenForClients(
  dataPlane: DataPlane,
  fds: readonly number[],
  listen: HostPort,
  logger: Logger,
): Promise<void> {
  for (const fd of fds) {
    dataPlane.adoptListener(fd);
    logger.info('listening for clients', { fd });
  }
  if (fds.length > 0) return;
  const binder: Binder = {
    bind: (address, free) => dataPlane.bindListener(address, free),
    release: (taken) => {
      dataPlane.releaseListener(taken);
    },
  };
  for (const address of await bindHost('accept clients', listen.host, listen.port, binder)) {
    logger.info('listening for clients', { address });
  }
}
