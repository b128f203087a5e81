// SPDX-License-Identifier: MIT
// What may be asked on the control socket, and what is refused, by path, method and body.

import { answer, PATHS } from '#src/control/api.js';
import type { ApiRequest, Desk } from '#src/control/api.js';
import { GatewayError } from '#src/errors.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('control requests');

/** What reached the desk. */
function recordingDesk(): { readonly asked: unknown[]; readonly desk: Desk } {
  const asked: unknown[] = [];
  const note =
    (name: string) =>
    (...args: readonly unknown[]): never => {
      asked.push([name, ...args]);
      // The desk's answer is passed on as it is.
      return { name } as never;
    };
  const desk: Desk = {
    status: note('status'),
    failovers: note('failovers'),
    version: note('version'),
    sessions: note('sessions'),
    kill: note('kill'),
    hold: note('hold'),
    release: note('release'),
    drain: note('drain'),
    reload: note('reload'),
    setLogLevel: note('log-level'),
  };
  return { asked, desk };
}

function requestOf(line: string, body = ''): ApiRequest {
  const [method = '', target = ''] = line.split(' ');
  const [path = '', query = ''] = target.split('?');
  return { method, path, query: new URLSearchParams(query), body };
}

const GOOD: readonly (readonly [line: string, body: string, asked: readonly unknown[]])[] = [
  ['GET /v1/status', '', ['status']],
  ['GET /v1/failovers', '', ['failovers']],
  ['GET /v1/version', '', ['version']],
  ['GET /v1/sessions', '', ['sessions', { limit: 1000 }]],
  [
    'GET /v1/sessions?client=10.0.0.7:51234&server=a:5432&idle=1.5&port=40000&limit=2',
    '',
    ['sessions', { client: '10.0.0.7', clientPort: 51_234, server: 'a:5432', idleMs: 1500, port: 40_000, limit: 2 }],
  ],
  ['GET /v1/sessions?client=unix', '', ['sessions', { client: 'unix', limit: 1000 }]],
  ['GET /v1/sessions?client=::1', '', ['sessions', { client: '::1', limit: 1000 }]],
  ['GET /v1/sessions?client=[::1]:5', '', ['sessions', { client: '::1', clientPort: 5, limit: 1000 }]],
  ['POST /v1/kill', '{"ids":[3,1,3]}', ['kill', [3, 1]]],
  ['POST /v1/hold', '', ['hold', 60]],
  ['POST /v1/hold', '{"seconds":600}', ['hold', 600]],
  ['POST /v1/release', '{}', ['release']],
  ['POST /v1/drain', '{"seconds":0,"exit":false}', ['drain', { seconds: 0, exit: false }]],
  ['POST /v1/drain', '', ['drain', { seconds: 300, exit: true }]],
  ['POST /v1/reload', '', ['reload']],
  ['POST /v1/log-level', '{"level":"debug"}', ['log-level', 'debug']],
];

for (const [line, body, expected] of GOOD) {
  test(`${line} ${body}`, async () => {
    const { asked, desk } = recordingDesk();
    const { status, document } = await answer(desk, requestOf(line, body));
    assert.is(status, 200, JSON.stringify(document));
    assert.equal(asked, [expected]);
  });
}

test('every path is among them', () => {
  const asked = new Set(GOOD.map(([line]) => line.replace(/\?.*/u, '')));
  assert.equal([...asked].sort(), PATHS.map((pair) => pair.join(' ')).sort());
});

const BAD: readonly (readonly [line: string, body: string, status: number, message: string])[] = [
  ['GET /', '', 404, '/: there is no such path'],
  ['GET /v1/constructor', '', 404, '/v1/constructor: there is no such path'],
  ['GET /v2/status', '', 404, '/v2/status: there is no such path'],
  ['POST /v1/status', '', 405, '/v1/status: GET expected'],
  ['HEAD /v1/status', '', 405, '/v1/status: GET expected'],
  ['GET /v1/kill', '', 405, '/v1/kill: POST expected'],
  ['GET /v1/status?x=1', '', 400, '"x": not known here'],
  ['POST /v1/hold?seconds=5', '', 400, '"seconds": not known here'],
  ['GET /v1/sessions?limit=0', '', 400, 'limit: expected a whole number from 1 to 10000'],
  ['GET /v1/sessions?limit=10001', '', 400, 'limit: expected a whole number from 1 to 10000'],
  ['GET /v1/sessions?limit=1&limit=2', '', 400, 'limit: given twice'],
  ['GET /v1/sessions?port=x', '', 400, 'port: expected a whole number from 1 to 65535'],
  ['GET /v1/sessions?idle=-1', '', 400, 'idle: expected a number of seconds from 0 to 2000000'],
  ['GET /v1/sessions?client=db1', '', 400, 'client: expected an address, address:port, or unix: "db1"'],
  [
    'GET /v1/sessions?client=fe80::1%25eth9',
    '',
    400,
    'client: expected an address, address:port, or unix: "fe80::1%eth9"',
  ],
  ['GET /v1/sessions?client=1.2.3.4:0', '', 400, 'client: expected a whole number from 1 to 65535'],
  ['POST /v1/kill', '', 400, 'ids: expected a list of 1 to 1000 numbers of sessions'],
  ['POST /v1/kill', '{"ids":[]}', 400, 'ids: expected a list of 1 to 1000 numbers of sessions'],
  ['POST /v1/kill', '{"ids":[1.5]}', 400, 'ids: expected a whole number from 1 to 9007199254740991'],
  ['POST /v1/kill', '[1]', 400, 'expected a JSON object'],
  ['POST /v1/kill', '{"ids":', 400, 'the body is not JSON'],
  ['POST /v1/hold', '{"seconds":601}', 400, 'seconds: expected a whole number from 1 to 600'],
  ['POST /v1/drain', '{"exit":"no"}', 400, 'exit: expected true or false'],
  ['POST /v1/reload', '{"now":true}', 400, '"now": not known here'],
  ['POST /v1/log-level', '{"level":"loud"}', 400, 'level: expected one of debug, info, notice, warning, err'],
];

for (const [line, body, status, message] of BAD) {
  test(`refused: ${line} ${body}`, async () => {
    const { asked, desk } = recordingDesk();
    const given = await answer(desk, requestOf(line, body));
    assert.equal(given.document, { error: { code: 'CONTROL_REQUEST', message } });
    assert.is(given.status, status);
    assert.equal(asked, []);
  });
}

test('too many ids are refused', async () => {
  const ids = Array.from({ length: 1001 }, (_, at) => at + 1);
  const { status } = await answer(recordingDesk().desk, requestOf('POST /v1/kill', JSON.stringify({ ids })));
  assert.is(status, 400);
});

test('a desk that cannot answer now is told by its code, and a fault of its own is none of the asker', async () => {
  const { desk } = recordingDesk();
  const busy = (): never => {
    throw new GatewayError('CONTROL_BUSY', 'later');
  };
  const { status, document } = await answer({ ...desk, status: busy }, requestOf('GET /v1/status'));
  assert.equal([status, document], [503, { error: { code: 'CONTROL_BUSY', message: 'later' } }]);
  const fault = (): never => {
    throw new TypeError('a fault');
  };
  try {
    await answer({ ...desk, status: fault }, requestOf('GET /v1/status'));
    assert.unreachable();
  } catch (error) {
    assert.instance(error, TypeError);
  }
});

test.run();
