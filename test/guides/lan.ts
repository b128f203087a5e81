// SPDX-License-Identifier: MIT
// The network of pg-gateway-guides(7): hosts with the very addresses of the page, each a
// network namespace, on one Ethernet segment, a bridge in the namespace of the test itself,
// which is a host of it too: the client. See helpers/network.ts for what else holds.

import { ip, entering, networkObstacle, prepareOwnNetwork } from '../helpers/network.js';
import type { Host } from '../helpers/network.js';
import { succeed } from '../helpers/child.js';
import { note } from '../helpers/suite.js';
import type { suite } from '../helpers/suite.js';

const BRIDGE = 'lan';
const CLIENT = '10.0.0.31';

/** The hosts of the page. */
const ADDRESSES = { db1: '10.0.0.11', db2: '10.0.0.12', gw1: '10.0.0.21', gw2: '10.0.0.22' } as const;
export type HostName = keyof typeof ADDRESSES;

/** Registers a test; where there can be no network it is skipped, and the run says so. */
export function whereLansCanBe(test: ReturnType<typeof suite>): (title: string, body: () => Promise<void>) => void {
  const obstacle = networkObstacle();
  if (obstacle === undefined) return (title, body) => test(title, body);
  note(`SKIPPED: the guides were not tried: ${obstacle}`);
  return (title) => {
    test.skip(title);
  };
}

export class Lan {
  readonly #hosts = new Map<HostName, Host>();

  /** One at a time. */
  static async create(): Promise<Lan> {
    const lan = new Lan();
    try {
      await prepareOwnNetwork();
      await ip(`link add ${BRIDGE} type bridge`);
      await ip(`addr add ${CLIENT}/24 dev ${BRIDGE}`);
      await ip(`link set ${BRIDGE} up`);
      for (const name of Object.keys(ADDRESSES) as HostName[]) await lan.#add(name);
      return lan;
    } catch (error) {
      await lan.close();
      throw error;
    }
  }

  host(name: HostName): Host {
    const host = this.#hosts.get(name);
    if (host === undefined) throw new Error(`no host ${name}`);
    return host;
  }

  /** Pulls its cable: from now on nothing comes from it or gets to it. */
  async unplug({ name }: Host): Promise<void> {
    await ip(`link set ${portOf(name)} down`);
  }

  async plug({ name }: Host): Promise<void> {
    await ip(`link set ${portOf(name)} up`);
  }

  /** Its IPv4 addresses, those of others that it has taken among them. */
  async addressesOf({ name }: Host): Promise<string[]> {
    const listed = await succeed(['ip', '-n', name, '-4', '-o', 'addr', 'show', 'dev', 'eth0']);
    return [...listed.matchAll(/ inet ([\d.]+)\//gu)].map(([, address = '']) => address);
  }

  /** What a start of the machine does to its interface: only its own address is left. */
  async forgetOtherAddresses(host: Host): Promise<void> {
    for (const address of await this.addressesOf(host)) {
      if (address !== host.address) await ip(`-n ${host.name} addr del ${address}/24 dev eth0`);
    }
  }

  /** What still runs on a host goes on without a network. */
  async close(): Promise<void> {
    for (const name of this.#hosts.keys()) {
      await succeed(['sh', '-c', `ip link del ${portOf(name)} 2>/dev/null; ip netns del ${name}`]);
    }
    this.#hosts.clear();
    await succeed(['sh', '-c', `ip link del ${BRIDGE} 2>/dev/null || :`]);
  }

  async #add(name: HostName): Promise<void> {
    const address = ADDRESSES[name];
    await ip(`netns add ${name}`);
    this.#hosts.set(name, { name, address, enter: entering(name) });
    await ip(`link add ${portOf(name)} type veth peer name eth0 netns ${name}`);
    await ip(`link set ${portOf(name)} master ${BRIDGE} up`);
    await ip(`-n ${name} addr add ${address}/24 dev eth0`);
    await ip(`-n ${name} link set eth0 up`);
    await ip(`-n ${name} link set lo up`);
  }
}

/** Its end at the bridge. */
function portOf(name: string): string {
  return `port-${name}`;
}
