// SPDX-License-Identifier: MIT
// A candidate's name that moves while its connection lives. Both addresses are the
// same server's, so that it can tell who is connected to it.

import type { Observation } from '#src/probe/observation.js';
import { LOOK_UP_EVERY_MS } from '#src/probe/resolver.js';
import type { Lookup } from '#src/probe/resolver.js';
import { systemTimers } from '#src/timers.js';
import type { Timers } from '#src/timers.js';
import { PostgresServer } from '../helpers/postgres.js';
import { backends, closeOpened, watch } from '../helpers/probes.js';
import type { Watched } from '../helpers/probes.js';
import { assert, suite } from '../helpers/suite.js';
import { eventually } from '../helpers/wait.js';

const moves = suite<{ server?: PostgresServer }>('names that move', {});

moves.before(async (context) => {
  context.server = await PostgresServer.create({ settings: { listen_addresses: '127.0.0.1, 127.0.0.2' } });
});
moves.after.each(closeOpened);
moves.after(async ({ server }) => {
  await server?.close();
});

/** A resolver that says what the test wants, and a clock that goes on when it wants. */
class Bench {
  answer: () => Promise<readonly string[]> = () => Promise.resolve(['127.0.0.1']);
  begun = 0;
  readonly server: PostgresServer;
  readonly #watched: Watched;
  #skippedMs = 0;

  constructor({ server }: { server?: PostgresServer }, host = 'db.example') {
    if (server === undefined) throw new Error('no server');
    this.server = server;
    const lookup: Lookup = () => {
      this.begun += 1;
      return this.answer();
    };
    const timers: Timers = { ...systemTimers, now: () => systemTimers.now() + this.#skippedMs };
    this.#watched = watch({ host, port: server.port }, {}, lookup, timers);
  }

  get breaks(): readonly string[] {
    return this.#watched.breaks;
  }

  probe(): Promise<Observation> {
    return this.#watched.prober.probe();
  }

  /** The address that answers a probe, 30 s after the last. */
  async later(): Promise<string> {
    this.#skippedMs += LOOK_UP_EVERY_MS;
    return this.now();
  }

  async now(): Promise<string> {
    const seen = await this.probe();
    return seen.kind === 'answered' ? seen.address.address : seen.detail;
  }

  close(): Promise<void> {
    return this.#watched.prober.close();
  }
}

moves('the probe after the look-up is of the new address, and the old connection is gone', async (context) => {
  const bench = new Bench(context);
  assert.is(await bench.now(), '127.0.0.1');
  const before = await backends(bench.server, 'postgres');
  bench.answer = () => Promise.resolve(['127.0.0.2']);
  assert.is(await bench.now(), '127.0.0.1', 'not before 30 s');
  assert.is(await bench.later(), '127.0.0.1', 'no probe waits for its look-up');
  assert.is(bench.begun, 2);
  assert.is(await bench.now(), '127.0.0.2');
  await eventually('the old backend to end', async () => {
    const now = await backends(bench.server, 'postgres');
    return /^\d+$/.test(now) && now !== before;
  });
  assert.is(await bench.now(), '127.0.0.2');
  assert.equal(bench.breaks, [], 'it was ended from here');
  assert.is(bench.begun, 3);
});

moves('a name that stays keeps its connection, also when others come to it and its order changes', async (context) => {
  const bench = new Bench(context);
  assert.is(await bench.now(), '127.0.0.1');
  const before = await backends(bench.server, 'postgres');
  bench.answer = () => Promise.resolve(['127.0.0.2', '::ffff:127.0.0.1']);
  for (let round = 0; round < 3; round += 1) assert.is(await bench.later(), '127.0.0.1');
  assert.is(bench.begun, 4);
  assert.is(await backends(bench.server, 'postgres'), before);
});

moves('a look-up that hangs or fails leaves probes and connection alone', async (context) => {
  const bench = new Bench(context);
  assert.is(await bench.now(), '127.0.0.1');
  const before = await backends(bench.server, 'postgres');
  let fail: (error: Error) => void = () => undefined;
  bench.answer = () =>
    new Promise((_, reject) => {
      fail = reject;
    });
  for (let round = 0; round < 3; round += 1) assert.is(await bench.later(), '127.0.0.1');
  assert.is(bench.begun, 2, 'one at a time');
  fail(new Error('EAI_AGAIN'));
  assert.is(await bench.now(), '127.0.0.1');
  assert.is(await bench.later(), '127.0.0.1');
  assert.is(bench.begun, 3);
  assert.is(await backends(bench.server, 'postgres'), before);
});

moves('an address is never looked up, and keeps its connection whatever its peer is called', async (context) => {
  const bench = new Bench(context, '0.0.0.0');
  assert.is(await bench.now(), '127.0.0.1');
  const before = await backends(bench.server, 'postgres');
  for (let round = 0; round < 3; round += 1) {
    await bench.later();
    assert.is(await bench.now(), '127.0.0.1');
  }
  assert.is(bench.begun, 0);
  assert.is(await backends(bench.server, 'postgres'), before);
});

moves('closed in the middle of a probe it looks nothing up any more', async (context) => {
  const bench = new Bench(context);
  assert.is(await bench.now(), '127.0.0.1');
  bench.answer = () => Promise.reject(new Error('a rejection that nobody hears'));
  const probe = bench.probe();
  await bench.close();
  assert.is((await probe).kind, 'failed');
  assert.is(bench.begun, 1);
});

moves.run();
