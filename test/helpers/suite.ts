// SPDX-License-Identifier: MIT
// The only importer of uvu: what every test file runs on.

export { suite } from 'uvu';
export * as assert from 'uvu/assert';
