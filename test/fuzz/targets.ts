// SPDX-License-Identifier: MIT
// The fuzz targets: how each is run, and what its coverage is counted in.

import { join } from 'node:path';

import { PROJECT_ROOT } from '../helpers/paths.js';

export interface FuzzTarget {
  readonly name: string;
  /** The first part of its command line; libFuzzer's options follow. */
  readonly command: readonly string[];
  /** What a unit of its coverage is. */
  readonly unit: 'edges' | 'signs';
  /** It has inputs; the other one has seeds only. */
  readonly corpus: boolean;
}

export const NATIVE_FOLDER = join(PROJECT_ROOT, 'build/fuzz/native');
const CONTROL_FUZZER = join(PROJECT_ROOT, 'build/test/fuzz/control/fuzzer.js');

function native(name: string, ...options: readonly string[]): FuzzTarget {
  return { name, command: [join(NATIVE_FOLDER, name), ...options], unit: 'edges', corpus: true };
}

function control(name: string): FuzzTarget {
  return { name, command: [process.execPath, CONTROL_FUZZER, name], unit: 'signs', corpus: true };
}

const LIBFUZZER = ['-timeout=25', '-rss_limit_mb=2048'];

export const FUZZ_TARGETS: readonly FuzzTarget[] = [
  { ...native('sessions'), corpus: false },
  native('wire', ...LIBFUZZER, '-max_len=2048'),
  native('startup', ...LIBFUZZER, '-max_len=16384'),
  native('ledger', ...LIBFUZZER),
  native('recovery', ...LIBFUZZER),
  native('handover', ...LIBFUZZER),
  ...[
    'configuration',
    'candidates',
    'arguments',
    'listen-fds',
    'cluster-file',
    'owner',
    'restart-note',
    'passfile',
  ].map(control),
  ...['server-state', 'control-request', 'control-socket', 'probe', 'http'].map(control),
];
