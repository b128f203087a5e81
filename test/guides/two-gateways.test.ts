// SPDX-License-Identifier: MIT
// TWO GATEWAYS of pg-gateway-guides(7): keepalived moves the address when a host or its
// gateway is gone, and at no other time; a client of libpq may have both in its list.

import { join } from 'node:path';

import { runCtl } from '../helpers/ctl.js';
import { temporaryFolder } from '../helpers/paths.js';
import type { PostgresServer } from '../helpers/postgres.js';
import { postgresProgram } from '../helpers/postgres-install.js';
import { startPsql } from '../helpers/psql.js';
import { succeed } from '../helpers/child.js';
import { assert, note, suite } from '../helpers/suite.js';
import { eventually, observeFor } from '../helpers/wait.js';
import { GatewayHost } from './gateway-host.js';
import { Keepalived } from './keepalived.js';
import { Lan, whereLansCanBe } from './lan.js';
import { block } from './page.js';
import { startServers } from './servers.js';
import type { Servers } from './servers.js';
import { SteadyClient } from './steady-client.js';

/** The address of the page that is given to one of them. */
const SHARED = { host: '10.0.0.20', port: 5432 };
const CLIENTS = 10;
const ROUNDS = 5;
const TAKEOVER_TARGET_MS = 2000;
/** Some intervals of the check, for what must not happen. */
const QUIET_MS = 3000;

/** One of the two hosts. */
interface Node {
  readonly gatewayHost: GatewayHost;
  keepalived: Keepalived;
  /** Where pg-gatewayctl asks. */
  readonly control: string;
}

interface Stage {
  readonly lan: Lan;
  readonly servers: Servers;
  readonly nodes: readonly Node[];
  readonly clients: readonly SteadyClient[];
}

const test = suite('two gateways', {}, 600_000);
const testGuide = whereLansCanBe(test);

async function withStage(use: (stage: Stage) => Promise<void>): Promise<void> {
  const lan = await Lan.create();
  const closing: { close(): Promise<void> }[] = [lan];
  try {
    const servers = await startServers(lan);
    closing.unshift(servers);
    const folder = await temporaryFolder();
    closing.unshift(folder);
    const nodes: Node[] = [];
    for (const name of ['gw1', 'gw2'] as const) {
      const host = lan.host(name);
      const control = join(folder.path, name);
      const env = { PGPASSWORD: 'secret', CONTROL_SOCKET: control };
      const gatewayHost = await GatewayHost.start(host, { config: block('pg-gateway.toml'), env });
      closing.unshift(gatewayHost);
      const keepalived = await Keepalived.start(host, block('keepalived.conf'));
      const node = { gatewayHost, keepalived, control };
      closing.unshift({ close: () => node.keepalived.close() });
      nodes.push(node);
    }
    await eventually('one of them to have the address', () => holderOf(lan, nodes), { deadlineMs: 30_000 });
    const clients = Array.from({ length: CLIENTS }, () => new SteadyClient(SHARED));
    closing.unshift({
      close: async () => {
        await Promise.all(clients.map((client) => client.close()));
      },
    });
    await allAnswered(clients);
    await use({ lan, servers, nodes, clients });
  } finally {
    for (const leftover of closing) await leftover.close();
  }
}

/** Whoever has the address alone; undefined: nobody, or both. */
async function holderOf(lan: Lan, nodes: readonly Node[]): Promise<Node | undefined> {
  const having: Node[] = [];
  for (const node of nodes) {
    if ((await lan.addressesOf(node.gatewayHost.host)).includes(SHARED.host)) having.push(node);
  }
  return having.length === 1 ? having[0] : undefined;
}

async function holder({ lan, nodes }: Stage): Promise<Node> {
  return eventually('one of them to have the address', () => holderOf(lan, nodes));
}

async function allAnswered(clients: readonly SteadyClient[]): Promise<void> {
  const now = performance.now();
  await eventually('all clients to be served', () => clients.every((client) => client.answeredSince(now)), {
    deadlineMs: 30_000,
  });
}

/** Milliseconds until each client has been served anew. */
async function recoveries(clients: readonly SteadyClient[], from: number): Promise<number[]> {
  return eventually(
    'all clients to be served by the other gateway',
    () => {
      const all = clients.map((client) => client.recoveredWithin(from));
      return all.every((time) => time !== undefined) ? all : undefined;
    },
    { deadlineMs: 30_000 },
  );
}

function judge(what: string, times: readonly number[]): void {
  const sorted = [...times].sort((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)] ?? NaN;
  const worst = sorted.at(-1) ?? NaN;
  const [first, second] = [median, worst].map((time) => `${Math.round(time)} ms`);
  note(
    `${what}: ${ROUNDS} times, ${CLIENTS} clients: served again after ${String(first)} in the median, ${String(second)} at worst`,
  );
  assert.ok(median < TAKEOVER_TARGET_MS, `the median is ${String(first)}`);
}

/** Nothing moves: neither the address nor a client's session. */
async function nothingMoves(stage: Stage, expected: Node, during: () => Promise<unknown>): Promise<void> {
  const before = stage.clients.map((client) => client.sessions);
  await during();
  assert.is(await holderOf(stage.lan, stage.nodes), expected, expected.keepalived.log);
  await allAnswered(stage.clients);
  assert.equal(
    stage.clients.map((client) => client.sessions),
    before,
    expected.keepalived.log,
  );
}

testGuide('a host that loses its power: clients are served by the other one in less than two seconds', async () => {
  await withStage(async (stage) => {
    const times: number[] = [];
    for (let round = 1; round <= ROUNDS; round += 1) {
      const lost = await holder(stage);
      const { gatewayHost } = lost;
      const from = performance.now();
      await stage.lan.unplug(gatewayHost.host);
      await Promise.all([lost.keepalived.kill(), gatewayHost.kill()]);
      times.push(...(await recoveries(stage.clients, from)));
      await stage.lan.forgetOtherAddresses(gatewayHost.host);
      const taker = await holder(stage);
      assert.is.not(taker, lost);
      await nothingMoves(stage, taker, async () => {
        await stage.lan.plug(gatewayHost.host);
        await gatewayHost.start();
        lost.keepalived = await Keepalived.start(gatewayHost.host, block('keepalived.conf'));
        await observeFor(QUIET_MS);
      });
    }
    judge('the host loses its power', times);
  });
});

testGuide('a gateway that is gone: the same, and it comes back without a session being touched', async () => {
  await withStage(async (stage) => {
    const times: number[] = [];
    for (let round = 1; round <= ROUNDS; round += 1) {
      const lost = await holder(stage);
      const from = performance.now();
      await lost.gatewayHost.kill();
      times.push(...(await recoveries(stage.clients, from)));
      const taker = await holder(stage);
      assert.is.not(taker, lost);
      await nothingMoves(stage, taker, async () => {
        await lost.gatewayHost.start();
        await observeFor(QUIET_MS);
      });
    }
    judge('the gateway is killed', times);
  });
});

testGuide('a gateway that is restarted keeps the address, and the sessions', async () => {
  await withStage(async (stage) => {
    const node = await holder(stage);
    for (let round = 1; round <= ROUNDS; round += 1) {
      await nothingMoves(stage, node, async () => {
        await node.gatewayHost.restart();
        await observeFor(QUIET_MS / 2);
      });
    }
  });
});

testGuide('keepalived that is stopped hands the address over', async () => {
  await withStage(async (stage) => {
    const node = await holder(stage);
    const from = performance.now();
    await node.keepalived.close();
    const times = await recoveries(stage.clients, from);
    assert.ok(Math.max(...times) < TAKEOVER_TARGET_MS, times.join(' '));
    assert.is.not(await holder(stage), node);
  });
});

testGuide('without a primary the address stays, and clients wait', async () => {
  await withStage(async (stage) => {
    const { db1, db2 } = stage.servers;
    const node = await holder(stage);
    await db1.crash();
    await node.gatewayHost.gateway.primaryIs('none');
    const psql = startPsql(SHARED, 'SELECT pg_is_in_recovery();\n');
    await observeFor(QUIET_MS);
    assert.is(await holderOf(stage.lan, stage.nodes), node, node.keepalived.log);
    assert.is(psql.result, undefined, psql.stderr);
    await promoteAndFind(db2, stage.nodes);
    const { status, stdout, stderr } = await psql.ended;
    assert.equal([status, stdout], [0, 'f\n'], stderr);
  });
});

testGuide('a gateway that is drained keeps the address, its sessions, and new clients, who wait', async () => {
  await withStage(async (stage) => {
    const node = await holder(stage);
    await nothingMoves(stage, node, async () => {
      const { status } = await runCtl(node.control, ['drain', '--timeout', '1', '--stay']);
      assert.is(status, 1, 'there are sessions');
      const psql = startPsql(SHARED, 'SELECT 1;\n');
      await observeFor(QUIET_MS);
      assert.is(psql.result, undefined, psql.stderr);
      await psql.close();
    });
    const from = performance.now();
    await node.keepalived.close();
    await recoveries(stage.clients, from);
    assert.is.not(await holder(stage), node);
  });
});

async function promoteAndFind(next: PostgresServer, nodes: readonly Node[]): Promise<void> {
  await next.promote();
  // The page leaves the port out.
  for (const { gatewayHost } of nodes) await gatewayHost.gateway.primaryIs(next.candidate);
}

testGuide('a client with both gateways in its list gets by with either', async () => {
  await withStage(async ({ nodes, lan, clients }) => {
    await Promise.all(clients.map((client) => client.close()));
    const ask = (): Promise<string> =>
      succeed([
        postgresProgram('psql'),
        '-XAtc',
        'SELECT pg_is_in_recovery()',
        `${block('both-gateways').trim()} user=postgres`,
      ]);
    assert.is(await ask(), 'f\n');
    for (const { gatewayHost, keepalived } of nodes) {
      await keepalived.close();
      await lan.unplug(gatewayHost.host);
      assert.is(await ask(), 'f\n');
      await lan.plug(gatewayHost.host);
    }
  });
});

test.run();
