// SPDX-License-Identifier: MIT
import { bindAddresses, bindHost } from '#src/bind-host.js';
import { GatewayError } from '#src/errors.js';
import { assert, suite } from '../helpers/suite.js';

const test = suite('bind host');

function systemError(code: string, errno: number): Error {
  return Object.assign(new Error(code), { code, errno });
}

/** A fake kernel: port 0 becomes 4000, then 4001...; the addresses and ports in `broken` fail so. */
function kernel(broken: Readonly<Record<string, Error>> = {}) {
  const calls: string[] = [];
  let free = 4000;
  const bind = (address: string, port: number): number => {
    calls.push(`${address} ${port.toString()}`);
    const error = broken[address] ?? broken[port];
    if (error !== undefined) throw error;
    return port === 0 ? free++ : port;
  };
  const release = (port: number): void => {
    calls.push(`release ${port.toString()}`);
  };
  return { calls, binder: { bind, release } };
}

const taken = systemError('EADDRINUSE', -98);

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
    const { calls, binder } = kernel();
    assert.equal(await bindHost('accept clients', host, 5432, binder), ['[::]:5432']);
    assert.equal(calls, [':: 5432']);
  });
}

for (const code of ['EAFNOSUPPORT', 'EADDRNOTAVAIL']) {
  test(`:: falls back to 0.0.0.0 on ${code}`, async () => {
    const { binder } = kernel({ '::': systemError(code, -97) });
    assert.equal(await bindHost('accept clients', '::', 5432, binder), ['0.0.0.0:5432']);
  });
}

test('any other fault of :: is no reason for IPv4 alone', async () => {
  const { calls, binder } = kernel({ '::': systemError('EADDRINUSE', -98) });
  assert.is(
    await messageOf(bindHost('accept clients', '::', 5432, binder)),
    'LISTEN_FAILED: cannot accept clients on [::]:5432: EADDRINUSE (address already in use)',
  );
  assert.is(calls.length, 1);
});

test('a literal address is bound as it stands', async () => {
  const { binder } = kernel();
  assert.equal(await bindHost('accept clients', '192.0.2.1', 0, binder), ['192.0.2.1:4000']);
  assert.equal(await bindHost('accept clients', '2001:db8::1', 7, binder), ['[2001:db8::1]:7']);
});

test('all addresses of a name get the same port', async () => {
  const { calls, binder } = kernel();
  const bound = await bindHost('accept clients', 'localhost', 0, binder);
  assert.ok(bound.length >= 1);
  assert.ok(bound.every((address) => address.endsWith(':4000')));
  assert.ok(calls.slice(1).every((call) => call.endsWith(' 4000')));
});

test('a port that is taken on a later address is let go, and another one tried', async () => {
  const { calls, binder } = kernel({ 4000: taken, 4001: taken });
  assert.equal(await bindAddresses('accept clients', ['::1', '127.0.0.1'], 0, binder), [
    '[::1]:4002',
    '127.0.0.1:4002',
  ]);
  assert.equal(calls, [
    ...['::1 0', '127.0.0.1 4000', 'release 4000'],
    ...['::1 0', '127.0.0.1 4001', 'release 4001'],
    ...['::1 0', '127.0.0.1 4002'],
  ]);
});

test('but not for ever', async () => {
  const { calls, binder } = kernel({ '127.0.0.1': taken });
  assert.is(
    await messageOf(bindAddresses('accept clients', ['::1', '127.0.0.1'], 0, binder)),
    'LISTEN_FAILED: cannot accept clients on 127.0.0.1:4009: EADDRINUSE (address already in use)',
  );
  assert.is(calls.filter((call) => call.startsWith('release')).length, 9);
});

test('a port that is not known is an error, and no other port is taken for it', async () => {
  const { calls, binder } = kernel({ '::1': systemError('ENOBUFS', -105) });
  assert.is(
    await messageOf(bindAddresses('accept clients', ['::1', '127.0.0.1'], 0, binder)),
    'LISTEN_FAILED: cannot accept clients on [::1]:0: ENOBUFS (no buffer space available)',
  );
  assert.equal(calls, ['::1 0']);
});

test('a port that was asked for is the only one tried', async () => {
  const { calls, binder } = kernel({ '127.0.0.1': taken });
  assert.match(
    await messageOf(bindAddresses('accept clients', ['::1', '127.0.0.1'], 7, binder)),
    /^LISTEN_FAILED: cannot accept clients on 127\.0\.0\.1:7: EADDRINUSE/,
  );
  assert.equal(calls, ['::1 7', '127.0.0.1 7']);
});

test('a missing address is an error when it is the only one', async () => {
  const { binder } = kernel({ '2001:db8::1': systemError('EADDRNOTAVAIL', -99) });
  assert.is(
    await messageOf(bindHost('serve metrics', '2001:db8::1', 1, binder)),
    'LISTEN_FAILED: cannot serve metrics on [2001:db8::1]:1: EADDRNOTAVAIL (address not available)',
  );
});

test('a name without an address is named', async () => {
  const { binder } = kernel();
  assert.match(
    await messageOf(bindHost('accept clients', 'no-such-host.invalid', 1, binder)),
    /^LISTEN_FAILED: cannot accept clients on the name no-such-host\.invalid: /,
  );
});

test.run();
