// SPDX-License-Identifier: MIT
// Names with several addresses, looked up by the system's own resolver: of servers on
// hosts of their own, of one server that has two, and of names that nobody answers for.

import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { succeed } from '../helpers/child.js';
import { Gateway } from '../helpers/gateway.js';
import { KeptGateway } from '../helpers/kept-gateway.js';
import { PgSession } from '../helpers/pg-session.js';
import { assert, note, suite } from '../helpers/suite.js';
import { timed } from '../helpers/wait.js';
import { sessionsCut, whereNetworksCanBe, withLab } from './lab.js';
import type { Lab } from './lab.js';

const test = suite('names', undefined, 180_000);
const register = whereNetworksCanBe(test);

const WHO = 'SELECT host(inet_server_addr())';
const PID = 'SELECT pg_backend_pid()';

/** What the resolver of this file's own mount namespace reads. */
class Resolver {
  readonly #hosts: string;

  private constructor(hosts: string) {
    this.#hosts = hosts;
  }

  /** @param nameserver who is asked for names that are not known */
  static async create(nameserver: string): Promise<Resolver> {
    const folder = await mkdtemp(join(tmpdir(), 'pggw-'));
    const [hosts, servers] = [join(folder, 'hosts'), join(folder, 'resolv.conf')];
    await writeFile(hosts, '');
    await writeFile(servers, `nameserver ${nameserver}\noptions timeout:30 attempts:1\n`);
    await succeed(['mount', '--bind', hosts, '/etc/hosts']);
    await succeed(['mount', '--bind', servers, '/etc/resolv.conf']);
    return new Resolver(hosts);
  }

  /** `db` has these addresses from now on. */
  async set(...addresses: readonly string[]): Promise<void> {
    await writeFile(this.#hosts, addresses.map((address) => `${address} db\n`).join(''));
  }
}

async function withNames(
  { hosts }: Lab,
  candidates: readonly string[],
  use: (gateway: Gateway) => Promise<void>,
): Promise<void> {
  const { address, enter } = hosts.gateway;
  const gateway = await Gateway.start({
    candidates,
    launcher: [...enter, process.execPath],
    env: { LISTEN_HOST: address, METRICS_HOST: address, UV_THREADPOOL_SIZE: '16' },
  });
  try {
    await use(gateway);
  } finally {
    await gateway.close();
  }
}

/** The probes have to connect anew, and look the name up for that. */
async function breakProbes({ primary }: Lab): Promise<void> {
  await primary.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pg-gateway'");
}

register('a primary and its standby behind one name: the failover is followed', async () => {
  await withLab(async (lab) => {
    const { primary, standby, hosts } = lab;
    const resolver = await Resolver.create(hosts.client.address);
    await resolver.set(standby.host, primary.host);
    await withNames(lab, [`db:${primary.port}`], async (gateway) => {
      const [first, second] = [primary, standby].map(({ host, port }) => `db:${port}/${host}`) as [string, string];
      await gateway.primaryIs(first);
      const samples = await gateway.samples();
      assert.is(samples.get('pg_gateway_servers_healthy'), 2);
      assert.is(samples.value('pg_gateway_server_role', { server: second, role: 'standby' }), 1);
      const session = await PgSession.open(gateway.clients);
      assert.equal(await session.query(WHO), [primary.host]);
      assert.is((await gateway.samples()).value('pg_gateway_server_sessions', { server: first }), 1);

      await primary.crash();
      await standby.promote();
      await gateway.primaryIs(second);
      const next = await PgSession.open(gateway.clients);
      assert.equal(await next.query(WHO), [standby.host]);
      next.close();
      session.close();

      await primary.start();
      await gateway.logged('server fenced: it gets no traffic', { server: first, reason: 'stale-timeline' });
      assert.is(gateway.primary, second);
    });
  });
});

register('from one address to two and back: followed at once, and no session is cut', async () => {
  await withLab(async (lab) => {
    const { primary, standby, hosts } = lab;
    const resolver = await Resolver.create(hosts.client.address);
    await resolver.set(primary.host);
    await withNames(lab, [`db:${primary.port}`], async (gateway) => {
      const name = `db:${primary.port}`;
      await gateway.primaryIs(`${name}(${primary.host})`);
      const session = await PgSession.open(gateway.clients);
      const pid = await session.query(PID);

      await resolver.set(primary.host, standby.host);
      await breakProbes(lab);
      await gateway.primaryIs(`${name}/${primary.host}`);
      const role = { server: `${name}/${standby.host}`, role: 'standby' };
      await gateway.metric('pg_gateway_server_role', role, (value) => value === 1);
      assert.equal(await session.query(PID), pid);

      await resolver.set(primary.host);
      await breakProbes(lab);
      await gateway.primaryIs(`${name}(${primary.host})`);
      assert.is((await gateway.samples()).get('pg_gateway_servers_total'), 1);
      assert.equal(await session.query(PID), pid);
      assert.is(await sessionsCut(gateway), 0);
      assert.is((await gateway.samples()).get('pg_gateway_failovers_total'), 0);
      session.close();
    });
  });
});

register('sessions on one of several addresses outlive the gateway, which knows where they are', async () => {
  await withLab(async (lab) => {
    const { primary, standby, hosts } = lab;
    const resolver = await Resolver.create(hosts.client.address);
    await resolver.set(primary.host, standby.host);
    const kept = await KeptGateway.start({ candidates: [`db:${primary.port}`] });
    try {
      const [first, second] = [primary, standby].map(({ host, port }) => `db:${port}/${host}`) as [string, string];
      await kept.current.primaryIs(first);
      const session = await PgSession.open(kept.clients);
      const pid = await session.query(PID);
      for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
        const next = await kept.restart(signal);
        await next.primaryIs(first);
        assert.equal(await session.query(PID), pid);
        await next.metric('pg_gateway_server_sessions', { server: first }, (value) => value === 1);
      }
      assert.is(await sessionsCut(kept.current), 0);

      await standby.promote();
      await kept.current.primaryIs(second);
      await session.ended({ deadlineMs: 2000 });
      assert.is(await sessionsCut(kept.current), 1, 'it was on the other one');
    } finally {
      await kept.close();
    }
  });
});

register('one server at two addresses is no rival of itself, and goes on at the other when one is lost', async () => {
  await withLab(async (lab) => {
    const { network, primary, hosts } = lab;
    const floating = { ...hosts.primary, name: 'floating', address: '10.77.1.9' };
    await succeed(['ip', '-n', hosts.primary.name, 'addr', 'add', `${floating.address}/24`, 'dev', 'eth0']);
    await primary.query(`ALTER SYSTEM SET listen_addresses = '*'`);
    await primary.stop();
    await primary.start();
    const resolver = await Resolver.create(hosts.client.address);
    await resolver.set(floating.address, primary.host);
    await withNames(lab, [`db:${primary.port}`], async (gateway) => {
      await gateway.primaryIs(`db:${primary.port}/${primary.host}`);
      const samples = await gateway.samples();
      assert.is(samples.get('pg_gateway_servers_healthy'), 2);
      assert.is(samples.get('pg_gateway_split_brain'), 0);
      const session = await PgSession.open(gateway.clients);
      const pid = await session.query(PID);

      const before = gateway.mark;
      await network.lose(hosts.gateway, hosts.primary);
      await gateway.logged('STATE CHANGE', { reason: 'moved' }, 15_000, before);
      assert.is(gateway.primary, `db:${primary.port}/${floating.address}`);
      const next = await PgSession.open(gateway.clients);
      assert.equal(await next.query(WHO), [floating.address]);
      next.close();

      await network.heal();
      const { port } = primary;
      await gateway.metric('pg_gateway_server_up', { server: `db:${port}/${primary.host}` }, (value) => value === 1);
      assert.is(gateway.primary, `db:${port}/${floating.address}`, 'it does not swing back');
      assert.equal(await session.query(PID), pid);
      assert.is(await sessionsCut(gateway), 0);
      assert.is((await gateway.samples()).get('pg_gateway_split_brain'), 0);
      session.close();
    });
  });
});

register('names whose look-ups hang keep no other waiting', async () => {
  await withLab(async (lab) => {
    const { network, primary, hosts } = lab;
    await network.isolate(hosts.client);
    const resolver = await Resolver.create(hosts.client.address);
    await resolver.set(primary.host);
    const hanging = Array.from({ length: 7 }, (_, index) => `hangs${index}.example`);
    await withNames(lab, [...hanging, `db:${primary.port}`], async (gateway) => {
      await gateway.primaryIs(`db:${primary.port}(${primary.host})`);
      assert.is((await gateway.samples()).get('pg_gateway_servers_healthy'), 1);
      const detail = 'the look-up did not end within 800 ms';
      for (const name of hanging) {
        await gateway.logged('candidate does not answer', { candidate: `${name}:5432`, reason: 'dns', detail });
      }
      const ms = await timed(async () => {
        const { status, signal } = await gateway.stop();
        assert.equal([status, signal], [null, 'SIGTERM'], 'it does not wait for them, and so ends by the signal');
      });
      await gateway.logged('stopped');
      assert.ok(ms < 2000, `stopping took ${ms.toFixed(0)} ms`);
      note(`with ${hanging.length} look-ups that hang for 30 s the gateway stopped in ${ms.toFixed(0)} ms`);
    });
  });
});

test.run();
