// SPDX-License-Identifier: MIT
// A wall clock of the gateway's own, which a test sets. The machine's is not touched.

import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';

import { succeed } from './child.js';
import { PRELOAD, temporaryFolder, testFile } from './paths.js';
import type { TemporaryFolder } from './paths.js';

/** As wall-clock.cc has it: seconds ahead, count. */
const FILE_BYTES = 16;

export class WallClock {
  readonly #folder: TemporaryFolder;
  readonly #file: FileHandle;

  private constructor(folder: TemporaryFolder, file: FileHandle) {
    this.#folder = folder;
    this.#file = file;
  }

  /** It shows the machine's time until it is set. Needs a C++ compiler, as the build does. */
  static async create(): Promise<WallClock> {
    const folder = await temporaryFolder();
    const library = join(folder.path, 'wall-clock.so');
    const compiler = process.env['CXX'] ?? 'c++';
    const flags = ['-std=c++20', '-O1', '-shared', '-fPIC', '-Wall', '-Wextra', '-Werror', '-Wno-nonnull-compare'];
    await succeed([compiler, ...flags, '-o', library, testFile('helpers/wall-clock.cc')]);
    const file = await open(join(folder.path, 'clock'), 'w+');
    await file.write(Buffer.alloc(FILE_BYTES), 0, FILE_BYTES, 0);
    return new WallClock(folder, file);
  }

  /** What starts a gateway that goes by it. */
  get launcher(): readonly string[] {
    const library = join(this.#folder.path, 'wall-clock.so');
    // A sanitizer must be the first.
    const libraries = PRELOAD === undefined ? library : `${PRELOAD} ${library}`;
    const clock = `WALL_CLOCK=${join(this.#folder.path, 'clock')}`;
    return ['/usr/bin/env', clock, `LD_PRELOAD=${libraries}`, process.execPath];
  }

  /** So many hours ahead of the machine's, or behind it. */
  async set(hoursAhead: number): Promise<void> {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(BigInt(Math.round(hoursAhead * 3600)));
    await this.#file.write(bytes, 0, bytes.length, 0);
  }

  /** How often it has been asked. */
  async asked(): Promise<number> {
    const { buffer } = await this.#file.read(Buffer.alloc(8), 0, 8, 8);
    return Number(buffer.readBigInt64LE());
  }

  async close(): Promise<void> {
    await this.#file.close();
    await this.#folder.close();
  }
}
