// SPDX-License-Identifier: MIT
// A throwaway machine for the configuration: its /etc/pg-gateway, home and
// credentials, and what loading says about them.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

import { ConfigError, loadConfig } from '#src/config.js';
import type { LoadedConfig, LoadInput } from '#src/config.js';

export class ConfigMachine {
  /** The stand-in of `/`. */
  readonly root: string;

  constructor() {
    this.root = mkdtempSync(join(tmpdir(), 'pg-gateway-config-'));
    mkdirSync(this.path('home'));
  }

  path(name: string): string {
    return join(this.root, name);
  }

  /** Writes a file and returns its path. */
  write(name: string, content: string | Uint8Array): string {
    const path = this.path(name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    return path;
  }

  input(env: NodeJS.ProcessEnv, rest: Partial<LoadInput> = {}): LoadInput {
    return {
      env: { HOME: this.path('home'), ...env },
      directory: this.path('etc'),
      environmentFiles: this.path('default'),
      ...rest,
    };
  }

  load(env: NodeJS.ProcessEnv, rest: Partial<LoadInput> = {}): LoadedConfig {
    return loadConfig(this.input(env, rest));
  }

  /** The error's lines, with the folder taken out of them; none if there is no error. */
  problems(env: NodeJS.ProcessEnv, rest: Partial<LoadInput> = {}): readonly string[] {
    const error = this.failure(env, rest);
    return error === undefined ? [] : error.problems.map((line) => line.replaceAll(`${this.root}/`, ''));
  }

  failure(env: NodeJS.ProcessEnv, rest: Partial<LoadInput> = {}): ConfigError | undefined {
    try {
      this.load(env, rest);
      return undefined;
    } catch (error) {
      if (error instanceof ConfigError) return error;
      throw error;
    }
  }

  close(): void {
    rmSync(this.root, { recursive: true, force: true });
  }
}

/** The values alone. */
export function withoutSettings({ settings: _, given: __, warnings: ___, ...config }: LoadedConfig): object {
  return config;
}
