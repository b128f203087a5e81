// SPDX-License-Identifier: MIT
// A network of a few hosts, each a network namespace, with this process in the middle
// of it: every packet from host to host is forwarded by the test's own namespace, which
// may lose it silently. The test itself reaches every host, whatever is lost between them.
//
// The test file runs in network and mount namespaces of its own (`OWN_NETWORK`): nothing of
// this can be seen outside of them, two runs cannot meet, and all of it ends with the
// process, however that ends.

import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';

import { Child, succeed } from './child.js';
import { testFile } from './paths.js';

/** The environment variable by which test/run.ts says that the process has namespaces of its own. */
export const OWN_NETWORK = 'PG_GATEWAY_TEST_OWN_NETWORK';

export interface Host {
  readonly name: string;
  /** IPv4. */
  readonly address: string;
  /** The first part of a command line: what follows runs on the host, by exec. */
  readonly enter: readonly string[];
}

/** For each direction. */
export interface SlowLink {
  readonly delayMs: number;
  readonly lossPercent: number;
}

const NAMESPACES = '/run/netns';
/** Before the table `main`; that of the local addresses comes first. */
const RULE_PRIORITY = '100';

/** Why there can be none here; undefined: there can. */
export function networkObstacle(): string | undefined {
  if (process.env[OWN_NETWORK] === undefined) return 'it takes root, and a system that lets it unshare(1) namespaces';
  if (!existsSync('/dev/net/tun')) return 'there is no /dev/net/tun';
  return undefined;
}

export class Network {
  readonly #hosts: Host[] = [];
  readonly #links: Child[] = [];
  #lost = new Set<string>();

  /** Hosts that reach each other; those that have a slow link, by that. One network at a time. */
  static async create(hosts: Readonly<Record<string, SlowLink | 'fast'>>): Promise<Network> {
    const network = new Network();
    try {
      await prepareOwnNetwork();
      for (const [name, link] of Object.entries(hosts)) await network.#add(name, link);
    } catch (error) {
      await network.close();
      throw error;
    }
    return network;
  }

  host(name: string): Host {
    const host = this.#hosts.find((other) => other.name === name);
    if (host === undefined) throw new Error(`no host ${name}`);
    return host;
  }

  /** From now on every packet from the one to the other is lost, without a word to anybody. */
  async lose(from: Host, to: Host): Promise<void> {
    const rule = `from ${from.address} to ${to.address}`;
    if (this.#lost.has(rule)) return;
    await ip(`rule add ${rule} priority ${RULE_PRIORITY} blackhole`);
    this.#lost.add(rule);
  }

  /** Cuts a host off from all others, in both directions. */
  async isolate(host: Host): Promise<void> {
    for (const other of this.#hosts) {
      if (other === host) continue;
      await this.lose(host, other);
      await this.lose(other, host);
    }
  }

  /** Nothing is lost any more. */
  async heal(): Promise<void> {
    for (const rule of this.#lost) await ip(`rule del ${rule} priority ${RULE_PRIORITY} blackhole`);
    this.#lost = new Set();
  }

  /** What still runs on a host goes on without a network. */
  async close(): Promise<void> {
    await this.heal();
    await Promise.all(this.#links.map((link) => link.close()));
    for (const { name } of this.#hosts) {
      // The namespace lives on for as long as a connection in it does, and with it its interface, if that is let be.
      await succeed(['sh', '-c', `ip link del ${nearEnd(name)} 2>/dev/null; ip netns del ${name}`]);
    }
    this.#hosts.length = 0;
  }

  async #add(name: string, link: SlowLink | 'fast'): Promise<void> {
    const number = this.#hosts.length + 1;
    const [here, address] = [`10.77.${number}.1`, `10.77.${number}.2`];
    const near = nearEnd(name);
    await ip(`netns add ${name}`);
    this.#hosts.push({ name, address, enter: entering(name) });
    if (link === 'fast') {
      await ip(`link add ${near} type veth peer name eth0 netns ${name}`);
    } else {
      const { delayMs, lossPercent } = link;
      const far = `far-${name}`;
      const command = ['python3', testFile('helpers/slow-link.py'), near, far, String(delayMs), String(lossPercent)];
      const child = new Child(command);
      this.#links.push(child);
      await child.output('the slow link', () => (child.stdout.includes('ready') ? true : undefined), 10_000);
      await ip(`link set ${far} netns ${name} name eth0`);
    }
    await ip(`addr add ${here}/24 dev ${near}`);
    await ip(`link set ${near} up`);
    await ip(`-n ${name} addr add ${address}/24 dev eth0`);
    await ip(`-n ${name} link set eth0 up`);
    await ip(`-n ${name} link set lo up`);
    await ip(`-n ${name} route add default via ${here}`);
  }
}

/** The interface here that leads to the host. */
function nearEnd(name: string): string {
  return `to-${name}`;
}

/** Where hosts can be made: names of their own, a loopback interface, packets that are forwarded. Idempotent. */
export async function prepareOwnNetwork(): Promise<void> {
  if (!existsSync(`${NAMESPACES}/.own`)) {
    await mkdir(NAMESPACES, { recursive: true });
    // The names of those outside must neither be seen nor be met.
    await succeed(['mount', '-t', 'tmpfs', 'tmpfs', NAMESPACES]);
    await writeFile(`${NAMESPACES}/.own`, '');
  }
  await ip('link set lo up');
  const ipv4 = '/proc/sys/net/ipv4';
  await writeFile(`${ipv4}/ip_forward`, '1');
  // A packet whose answer would be lost comes through all the same.
  for (const scope of ['all', 'default']) await writeFile(`${ipv4}/conf/${scope}/rp_filter`, '0');
}

/** What `enter` of a host is: the namespace has the name of the host. */
export function entering(name: string): readonly string[] {
  return ['nsenter', `--net=${NAMESPACES}/${name}`];
}

/** One ip(8) command, of words without spaces. @throws Error with its output if it fails */
export async function ip(args: string): Promise<void> {
  await succeed(['ip', ...args.split(' ')]);
}
