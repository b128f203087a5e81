// SPDX-License-Identifier: MIT
// Packets that are lost without a word, between hosts: suspicion touches no session,
// proof ends those it is about, and the bound that the README states holds.

import type { Gateway } from '../helpers/gateway.js';
import { PgSession } from '../helpers/pg-session.js';
import { assert, note, suite } from '../helpers/suite.js';
import { observeFor, timed } from '../helpers/wait.js';
import { sessionsCut, stateChanges, whereNetworksCanBe, withGateway, withLab } from './lab.js';

const test = suite('network partition', undefined, 180_000);
const register = whereNetworksCanBe(test);

const CHECK_EVERY_MS = 500;
const CONNECT_TIMEOUT_MS = 400;
const QUERY_TIMEOUT_MS = 300;
const TIMES = {
  CHECK_EVERY: String(CHECK_EVERY_MS / 1000),
  CONNECT_TIMEOUT_MS: String(CONNECT_TIMEOUT_MS),
  QUERY_TIMEOUT_MS: String(QUERY_TIMEOUT_MS),
};
const BOUND_MS = CHECK_EVERY_MS + CONNECT_TIMEOUT_MS;
/** For a busy machine to run what is due, and for the test to see it. */
const SLACK_MS = 400;
/** Long enough for several probes to fail. */
const OUTAGE_MS = 2500;
const WHO = 'SELECT host(inet_server_addr())';

async function hasPrimary(gateway: Gateway, expected: 0 | 1): Promise<void> {
  await gateway.metric('pg_gateway_has_primary', {}, (value) => value === expected);
}

register('a silent primary: doubted within the bound, no session cut; then its successor is proven', async () => {
  await withLab(async (lab) => {
    const { network, primary, standby, hosts } = lab;
    await withGateway(lab, TIMES, async (gateway) => {
      const sessions = [await PgSession.open(gateway.clients), await PgSession.open(gateway.clients)];
      const before = gateway.mark;
      await network.isolate(hosts.primary);
      const doubtMs = await timed(() => gateway.logged('STATE CHANGE', { reason: 'primary-in-doubt' }, 15_000, before));
      note(`a silent primary was doubted after ${doubtMs.toFixed(0)} ms; the bound is ${BOUND_MS} ms`);
      assert.ok(doubtMs <= BOUND_MS + SLACK_MS, `doubted after ${doubtMs.toFixed(0)} ms`);

      await observeFor(OUTAGE_MS);
      assert.is(await sessionsCut(gateway), 0, 'suspicion cuts nothing');
      assert.is((await gateway.samples()).get('pg_gateway_connections_active'), sessions.length);

      const promoted = standby.promote();
      const followMs = await timed(() => gateway.primaryIs(standby.candidate));
      await promoted;
      note(`a standby was followed ${followMs.toFixed(0)} ms after the order to promote it, its promotion included`);
      assert.ok(followMs <= BOUND_MS + SLACK_MS, `followed after ${followMs.toFixed(0)} ms`);
      for (const session of sessions) await session.ended({ deadlineMs: 1000 });
      assert.is(await sessionsCut(gateway), sessions.length, 'proof does');
      const next = await PgSession.open(gateway.clients);
      assert.equal(await next.query(WHO), [hosts.standby.address]);

      await network.heal();
      await gateway.logged('server fenced: it gets no traffic', {
        server: primary.candidate,
        reason: 'stale-timeline',
      });
      assert.equal(await next.query(WHO), [hosts.standby.address], 'the old primary changes nothing');
      assert.is(gateway.primary?.startsWith(standby.candidate), true);
      next.close();
    });
  });
});

register('a primary that falls silent while its probe connects is doubted within the bound as well', async () => {
  const link = { delayMs: 100, lossPercent: 0 };
  // A connection takes some round trips of 200 ms: time enough to cut the line while it is being made.
  const times = { checkEveryMs: 500, connectTimeoutMs: 3000, queryTimeoutMs: 1000 };
  const env = {
    LOG_LEVEL: 'debug',
    CHECK_EVERY: String(times.checkEveryMs / 1000),
    CONNECT_TIMEOUT_MS: String(times.connectTimeoutMs),
    QUERY_TIMEOUT_MS: String(times.queryTimeoutMs),
  };
  await withLab(async (lab) => {
    const { network, primary, hosts } = lab;
    await withGateway(lab, env, async (gateway) => {
      const before = gateway.mark;
      await primary.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pg-gateway'`,
      );
      // From now on it connects anew: that its connection was terminated says nothing about the server.
      await gateway.logged('probe round', {}, 15_000, before);
      await network.isolate(hosts.primary);
      const doubtMs = await timed(() => gateway.logged('STATE CHANGE', { reason: 'primary-in-doubt' }, 15_000, before));
      const boundMs = times.checkEveryMs + times.connectTimeoutMs;
      note(
        `a primary silent towards a new probe was doubted after ${doubtMs.toFixed(0)} ms; the bound is ${boundMs} ms`,
      );
      assert.ok(doubtMs <= boundMs + SLACK_MS, `doubted after ${doubtMs.toFixed(0)} ms`);
      const failed = { server: primary.candidate, reason: 'connect_timeout' };
      await gateway.metric('pg_gateway_probe_failures_total', failed, (value) => value > 0);
      assert.is(await sessionsCut(gateway), 0);
    });
  }, link);
});

register('a silent standby, silent servers, and each direction alone: sessions live through it', async () => {
  await withLab(async (lab) => {
    const { network, primary, standby, hosts } = lab;
    await withGateway(lab, TIMES, async (gateway) => {
      const session = await PgSession.open(gateway.clients);
      await session.query('CREATE TEMPORARY TABLE here (n int)');
      const insert = (n: number): Promise<string[]> => session.query(`INSERT INTO here VALUES (${n})`);
      await insert(0);
      assert.is(stateChanges(gateway), 1);

      await network.isolate(hosts.standby);
      await gateway.metric('pg_gateway_server_up', { server: standby.candidate }, (value) => value === 0);
      assert.equal(await session.query(WHO), [hosts.primary.address]);
      await observeFor(OUTAGE_MS);
      await hasPrimary(gateway, 1);
      assert.is(stateChanges(gateway), 1, 'a standby is no matter');
      await network.heal();
      await gateway.metric('pg_gateway_server_up', { server: standby.candidate }, (value) => value === 1);

      const { gateway: gw, primary: db } = hosts;
      const faults: readonly (readonly [string, () => Promise<void>])[] = [
        ['everybody', () => network.isolate(gw)],
        ['only what the primary says', () => network.lose(db, gw)],
        ['only what the primary is told', () => network.lose(gw, db)],
      ];
      for (const [index, [what, lose]] of faults.entries()) {
        await lose();
        const answer = insert(index + 1);
        await hasPrimary(gateway, 0);
        await observeFor(OUTAGE_MS);
        assert.is(await sessionsCut(gateway), 0, what);
        await network.heal();
        await answer;
        await hasPrimary(gateway, 1);
      }
      assert.equal(await session.query(`SELECT count(*) || '|' || sum(n) FROM here`), ['4|6'], 'each once');
      const samples = await gateway.samples();
      assert.is(samples.get('pg_gateway_epoch'), 1);
      assert.is(samples.get('pg_gateway_failovers_total'), 0);
      assert.is(gateway.primary?.startsWith(primary.candidate), true);
      session.close();
    });
  });
});

register('a round trip of 200 ms and 5% of the packets lost each way: sessions and route stay', async () => {
  const link = { delayMs: 100, lossPercent: 5 };
  await withLab(async (lab) => {
    // Time limits that fit such a link; with shorter ones the primary would be doubted now and then.
    const env = { CHECK_EVERY: '0.5', CONNECT_TIMEOUT_MS: '20000', QUERY_TIMEOUT_MS: '10000' };
    await withGateway(lab, env, async (gateway) => {
      const sessions = await Promise.all(Array.from({ length: 5 }, () => PgSession.open(gateway.clients)));
      const worst: number[] = [];
      const queries = 5;
      for (let round = 0; round < queries; round += 1) {
        const took = sessions.map((session) =>
          timed(async () => {
            assert.equal(await session.query(WHO, { deadlineMs: 60_000 }), [lab.hosts.primary.address]);
          }),
        );
        worst.push(...(await Promise.all(took)));
      }
      note(`${worst.length} queries over the bad link; the slowest took ${Math.max(...worst).toFixed(0)} ms`);
      assert.ok(Math.min(...worst) >= 4 * link.delayMs, 'the link is slow: client to gateway to server, and back');
      assert.is(stateChanges(gateway), 1, gateway.log);
      const samples = await gateway.samples();
      assert.is(samples.get('pg_gateway_connections_active'), sessions.length);
      assert.is(samples.get('pg_gateway_epoch'), 1);
      assert.is(await sessionsCut(gateway), 0);
      for (const session of sessions) session.close();
    });
  }, link);
});

test.run();
