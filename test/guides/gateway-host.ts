// SPDX-License-Identifier: MIT
// A host on which the package is installed: the sockets of pg-gateway.socket and
// pg-gateway-metrics.socket, which a service manager holds, and the service.

import { Gateway } from '../helpers/gateway.js';
import type { Host } from '../helpers/network.js';
import { ServiceManager } from '../helpers/service-manager.js';
import type { SocketKind } from '../helpers/service-manager.js';

/** What the page sets nowhere is as the package has it, and not as in most tests. */
export const AS_INSTALLED: Readonly<Record<string, string | undefined>> = {
  LISTEN_HOST: undefined,
  LISTEN_PORT: undefined,
  METRICS_HOST: undefined,
  METRICS_PORT: undefined,
  PGUSER: undefined,
  CHECK_EVERY: undefined,
  HOLD_TIMEOUT_MS: undefined,
};

export interface Installation {
  /** /etc/pg-gateway/pg-gateway.toml */
  readonly config: string;
  /** /etc/default/pg-gateway, and what stands for /etc/pg-gateway/pgpassword. */
  readonly env: Readonly<Record<string, string>>;
  /** ListenStream= of pg-gateway.socket; default: the package's. */
  readonly listen?: readonly SocketKind[];
}

const METRICS = '0.0.0.0:9090';

export class GatewayHost {
  readonly host: Host;
  readonly #installation: Installation;
  #manager: ServiceManager;
  #gateway: Gateway;

  private constructor(host: Host, installation: Installation, running: readonly [ServiceManager, Gateway]) {
    this.host = host;
    this.#installation = installation;
    [this.#manager, this.#gateway] = running;
  }

  /** The service is ready when this resolves. */
  static async start(host: Host, installation: Installation): Promise<GatewayHost> {
    return new GatewayHost(host, installation, await startBoth(host, installation));
  }

  /** The process that runs now. */
  get gateway(): Gateway {
    return this.#gateway;
  }

  /** `systemctl restart pg-gateway`: the sockets stay, and the sessions. */
  async restart(): Promise<void> {
    const last = this.#gateway;
    last.kill('SIGTERM');
    await last.ended;
    this.#gateway = await startService(this.#manager, this.#installation);
    await last.close();
  }

  /** Both are gone at once, in any way that there is: `start()` begins anew. */
  async kill(): Promise<void> {
    this.#manager.kill();
    this.#gateway.kill('SIGKILL');
    await this.close();
  }

  /** After `kill()`. */
  async start(): Promise<void> {
    [this.#manager, this.#gateway] = await startBoth(this.host, this.#installation);
  }

  async close(): Promise<void> {
    await this.#gateway.close();
    await this.#manager.close();
  }
}

async function startBoth(host: Host, installation: Installation): Promise<[ServiceManager, Gateway]> {
  const clients = (installation.listen ?? ['0.0.0.0:5432']).map((kind) => ['primary', kind] as const);
  const manager = await ServiceManager.start([...clients, ['metrics', METRICS]], { store: true, on: host });
  try {
    return [manager, await startService(manager, installation)];
  } catch (error) {
    await manager.close();
    throw error;
  }
}

function startService(manager: ServiceManager, { config, env }: Installation): Promise<Gateway> {
  return Gateway.start({ config, env: { ...AS_INSTALLED, ...env }, launcher: manager.earlyLauncher });
}
