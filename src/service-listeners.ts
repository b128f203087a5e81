// SPDX-License-Identifier: MIT
// What the service listens on beside its clients: HTTP for metrics and the status page,
// and the control socket.

import type { Config } from './config.js';
import type { Desk } from './control/api.js';
import { startControl } from './control/server.js';
import { startHttp } from './http.js';
import type { Readiness } from './http.js';
import type { Logger } from './log.js';
import type { Metrics } from './metrics.js';
import type { StatusSite } from './status/site.js';
import type { InheritedSockets } from './systemd.js';

export interface ServiceListenersOptions {
  readonly inherited: InheritedSockets;
  readonly config: Pick<Config, 'metrics' | 'control'>;
  readonly metrics: Metrics;
  readonly readiness: () => Readiness;
  /** Undefined: there is no status page. */
  readonly site: StatusSite | undefined;
  readonly desk: Desk;
  readonly logger: Logger;
}

export interface ServiceListeners {
  /** Idempotent; resolves, within a time limit, when no connection is left. */
  close(): Promise<void>;
}

/** What a stop may take, so that the whole is over well before anybody's patience. */
const STOP_MS = 300;

/** @throws GatewayError LISTEN_FAILED; nothing is left open then */
export async function openServiceListeners(options: ServiceListenersOptions): Promise<ServiceListeners> {
  const { inherited, config, metrics, readiness, site, desk, logger } = options;
  const http = await startHttp({
    listen: inherited.metrics.length > 0 ? { fds: inherited.metrics } : config.metrics,
    render: () => metrics.render(),
    contentType: metrics.contentType,
    readiness,
    page: site === undefined ? undefined : () => site.page(),
    logger,
    closeTimeoutMs: STOP_MS,
  });
  for (const address of http.addresses) logger.info('serving metrics', { address });
  try {
    const control = await startControl({
      fds: inherited.control,
      path: config.control.socket === 'off' ? undefined : config.control.socket,
      desk,
      logger,
      closeTimeoutMs: STOP_MS,
    });
    for (const address of control.addresses) logger.info('serving administrators', { address });
    return {
      close: async () => {
        await Promise.all([http.close(), control.close()]);
      },
    };
  } catch (error) {
    await http.close();
    throw error;
  }
}
