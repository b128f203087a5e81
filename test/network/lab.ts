// SPDX-License-Identifier: MIT
// What the tests of network faults share: a primary and a standby on hosts of their
// own, a gateway on a third, and a client's host.

import { Gateway } from '../helpers/gateway.js';
import { Network, networkObstacle } from '../helpers/network.js';
import type { Host, SlowLink } from '../helpers/network.js';
import { PostgresServer } from '../helpers/postgres.js';
import { note } from '../helpers/suite.js';
import type { suite } from '../helpers/suite.js';

export interface Lab {
  readonly network: Network;
  readonly primary: PostgresServer;
  readonly standby: PostgresServer;
  readonly hosts: Readonly<Record<'primary' | 'standby' | 'gateway' | 'client', Host>>;
}

/** Registers a test; where there can be no network it is skipped, and the run says so. */
export function whereNetworksCanBe(test: ReturnType<typeof suite>): (title: string, body: () => Promise<void>) => void {
  const obstacle = networkObstacle();
  if (obstacle === undefined) return (title, body) => test(title, body);
  note(`SKIPPED: the tests of network faults did not run: ${obstacle}`);
  return (title) => {
    test.skip(title);
  };
}

export async function withLab(
  use: (lab: Lab) => Promise<void>,
  gatewayLink: SlowLink | 'fast' = 'fast',
): Promise<void> {
  const network = await Network.create({ db1: 'fast', db2: 'fast', gw: gatewayLink, client: 'fast' });
  const servers: PostgresServer[] = [];
  try {
    const [db1, db2] = [network.host('db1'), network.host('db2')];
    const primary = await PostgresServer.create({ on: db1 });
    servers.push(primary);
    const standby = await PostgresServer.createStandby(primary, db2);
    servers.push(standby);
    const hosts = { primary: db1, standby: db2, gateway: network.host('gw'), client: network.host('client') };
    await use({ network, primary, standby, hosts });
  } finally {
    await Promise.all(servers.map((server) => server.close()));
    await network.close();
  }
}

/** The gateway on its host, with both servers as candidates. */
export async function withGateway(
  { hosts, primary, standby }: Lab,
  env: Readonly<Record<string, string>>,
  use: (gateway: Gateway) => Promise<void>,
): Promise<void> {
  const { address, enter } = hosts.gateway;
  const gateway = await Gateway.start({
    candidates: [primary.candidate, standby.candidate],
    launcher: [...enter, process.execPath],
    env: { LISTEN_HOST: address, METRICS_HOST: address, ...env },
  });
  try {
    await gateway.primaryIs(primary.candidate);
    await use(gateway);
  } finally {
    await gateway.close();
  }
}

/** How often the log has told of another verdict. */
export function stateChanges(gateway: Gateway): number {
  return gateway.lines.filter(({ message }) => message === 'STATE CHANGE').length;
}

export async function sessionsCut(gateway: Gateway): Promise<number> {
  return (await gateway.samples()).value('pg_gateway_sessions_cut_total') ?? 0;
}
