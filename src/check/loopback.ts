// SPDX-License-Identifier: MIT
// Addresses that do not leave this machine. Pure.

import { BlockList, isIPv6 } from 'node:net';

/** A numeric address without brackets. */
export function isLoopback(address: string): boolean {
  return LOOPBACK.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
}

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4');
LOOPBACK.addAddress('::1', 'ipv6');
