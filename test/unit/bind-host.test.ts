// SPDX-License-Identifier: MIT
import { bindHost } from '#src/bind-host.js';
import { GatewayError } from '#src/errors.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('bind host');

function systemError(code: string, errno: number): Error {
  return Object.assign(new Error(code), { code, errno });
}

/** A fake kernel: port 0 becomes 4000; the addresses in `broken` fail so. */
function kernel(broken: Readonly<Record<string, Error>> = {}) {
  const calls: string[] = [];
  const bind = (address: string, port: number): number => {
    calls.push(`${address} ${port.toString()}`);
    const error = broken[address];
    if (error !== undefined) throw error;
    return port === 0 ? 4000 : port;
  };
  return { calls, bind };
}

async function messageOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    if (error instanceof GatewayError) return `${error.code}: ${error.message}`;
    throw error;
  }
  return 'no error';
}

for (const host of ['::', '*', '']) {
  test(`"${host}" is one dual-stack socket`, async () => {
    const { calls, bind } = kernel();
    assert.equal(await bindHost('accept clients', host, 5432, bind), ['[::]:5432']);
    assert.equal(calls, [':: 5432']);
  });
}

for (const code of ['EAFNOSUPPORT', 'EADDRNOTAVAIL']) {
  test(`:: falls back to 0.0.0.0 on ${code}`, async () => {
    const { bind } = kernel({ '::': systemError(code, -97) });
    assert.equal(await bindHost('accept clients', '::', 5432, bind), ['0.0.0.0:5432']);
  });
}

test('any other fault of :: is no reason for IPv4 alone', async () => {
  const { calls, bind } = kernel({ '::': systemError('EADDRINUSE', -98) });
  assert.is(
    await messageOf(bindHost('accept clients', '::', 5432, bind)),
    'LISTEN_FAILED: cannot accept clients on [::]:5432: EADDRINUSE (address already in use)',
  );
  assert.is(calls.length, 1);
});

test('a literal address is bound as it stands', async () => {
  const { bind } = kernel();
  assert.equal(await bindHost('accept clients', '192.0.2.1', 0, bind), ['192.0.2.1:4000']);
  assert.equal(await bindHost('accept clients', '2001:db8::1', 7, bind), ['[2001:db8::1]:7']);
});

test('all addresses of a name get the same port', async () => {
  const { calls, bind } = kernel();
  const bound = await bindHost('accept clients', 'localhost', 0, bind);
  assert.ok(bound.length >= 1);
  assert.ok(bound.every((address) => address.endsWith(':4000')));
  assert.ok(calls.slice(1).every((call) => call.endsWith(' 4000')));
});

test('a missing address is an error when it is the only one', async () => {
  const { bind } = kernel({ '2001:db8::1': systemError('EADDRNOTAVAIL', -99) });
  assert.is(
    await messageOf(bindHost('serve metrics', '2001:db8::1', 1, bind)),
    'LISTEN_FAILED: cannot serve metrics on [2001:db8::1]:1: EADDRNOTAVAIL (address not available)',
  );
});

test('a name without an address is named', async () => {
  const { bind } = kernel();
  assert.match(
    await messageOf(bindHost('accept clients', 'no-such-host.invalid', 1, bind)),
    /^LISTEN_FAILED: cannot accept clients on the name no-such-host\.invalid: /,
  );
});

test.run();
