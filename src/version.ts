// SPDX-License-Identifier: MIT
// The version of the product.

import { readFileSync } from 'node:fs';

import { GatewayError } from './errors.js';

/** The version in package.json, which lies beside the folder of the compiled program. */
export function version(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  if (typeof manifest === 'object' && manifest !== null && 'version' in manifest) return String(manifest.version);
  throw new GatewayError('INTERNAL', 'package.json has no version.');
}
