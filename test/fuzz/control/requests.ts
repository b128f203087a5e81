// SPDX-License-Identifier: MIT
// What is asked on the control socket: `METHOD TARGET`, then the body.

import { isIP } from 'node:net';

import { answer } from '#src/control/api.js';
import type { Desk } from '#src/control/api.js';
import { BOUNDS } from '#src/control/documents.js';
import { ERROR_CODES } from '#src/errors.js';
import { LOG_LEVELS } from '#src/log.js';

import { require } from './target.js';
import type { Target } from './target.js';

/** Whatever reaches it is within its bounds. */
export function strictDesk(): Desk {
  const done = { name: 'done' } as never;
  const within = (value: number, min: number, max: number): never => {
    require(Number.isInteger(value) && value >= min && value <= max, `${value} is from ${min} to ${max}`);
    return done;
  };
  return {
    status: () => done,
    failovers: () => done,
    version: () => done,
    release: () => done,
    reload: () => done,
    sessions: ({ client, clientPort, port, idleMs, limit }) => {
      require(client === undefined || client === 'unix' || isIP(client) !== 0, `${client ?? ''} is an address`);
      for (const one of [clientPort, port]) if (one !== undefined) within(one, 1, 65_535);
      if (idleMs !== undefined) within(idleMs, 0, Number.MAX_SAFE_INTEGER);
      return within(limit, 1, BOUNDS.listed);
    },
    kill: (ids) => {
      for (const id of ids) within(id, 1, Number.MAX_SAFE_INTEGER);
      return within(ids.length, 1, BOUNDS.killed);
    },
    hold: (seconds) => within(seconds, 1, BOUNDS.holdSeconds),
    drain: ({ seconds }) => within(seconds, 0, BOUNDS.drainSeconds),
    setLogLevel: (level) => {
      require(LOG_LEVELS.includes(level), `${level} is a level`);
      return done;
    },
  };
}

export const controlRequest: Target = {
  name: 'control-request',
  modules: ['control/api', 'control/requests'],
  words: [
    ...['GET ', 'POST ', '/v1/status', '/v1/sessions?', '/v1/kill\n', '/v1/hold\n', '/v1/drain\n', '/v1/log-level\n'],
    ...['client=', 'server=', 'idle=', 'port=', 'limit=', '&', 'unix', '10.0.0.7:5', '[::1]:5', '%3A'],
    ...['{"ids":[1]}', '{"seconds":1}', '{"exit":true}', '{"level":"debug"}', '__proto__', '1e3'],
  ],
  run: async (input) => {
    const [head = '', ...rest] = input.toString('utf8').split('\n');
    const [method = '', target = ''] = head.split(' ');
    const [path = '', query = ''] = target.split('?', 2);
    const asked = { method, path, query: new URLSearchParams(query), body: rest.join('\n') };
    const { status, document } = await answer(strictDesk(), asked);
    JSON.stringify(document);
    if (status === 200) return;
    const { error } = document as { readonly error: { readonly code: string; readonly message: string } };
    require(Object.hasOwn(ERROR_CODES, error.code) && error.message !== '', 'an error has a code, and words');
  },
};
