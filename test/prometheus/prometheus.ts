// SPDX-License-Identifier: MIT
// A Prometheus of the test's own: on a free port of 127.0.0.1, with its data in a
// temporary folder, configured by packaging/prometheus/scrape.yml. And promtool.

import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { Child, run } from '../helpers/child.js';
import type { Ended } from '../helpers/child.js';
import { httpGet } from '../helpers/metrics-text.js';
import { PROJECT_ROOT, temporaryFolder } from '../helpers/paths.js';
import type { TemporaryFolder } from '../helpers/paths.js';
import { freePort } from '../helpers/ports.js';
import { eventually } from '../helpers/wait.js';

export const ALERTS_FILE = join(PROJECT_ROOT, 'packaging/prometheus/alerts.yml');
const SCRAPE_FILE = join(PROJECT_ROOT, 'packaging/prometheus/scrape.yml');
/** Where the package has the rules, and so where the sample looks for them. */
const INSTALLED_ALERTS = '/usr/share/pg-gateway/prometheus/alerts.yml';
const SAMPLE_TARGETS = "['gateway1:9090', 'gateway2:9090']";

const START_DEADLINE_MS = 60_000;
/** For the unit tests of all changed rules, which take some ten seconds of CPU time. */
const PROMTOOL_DEADLINE_MS = 300_000;

/** One series of an instant query. */
export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Alert {
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly state: 'pending' | 'firing';
}

export interface Rule {
  readonly name: string;
  readonly health: string;
  readonly lastError?: string;
}

interface Answer<T> {
  readonly status: string;
  readonly error?: string;
  readonly data: T;
}

/** The sample configuration, with these rules and targets in place of its own, behind the lines of `global`. */
export function configuration(targets: readonly string[], alerts: string, global = ''): string {
  const sample = readFileSync(SCRAPE_FILE, 'utf8');
  const filledIn = sample
    .replace(INSTALLED_ALERTS, alerts)
    .replace(SAMPLE_TARGETS, `[${targets.map((target) => `'${target}'`).join(', ')}]`);
  if (!filledIn.includes(alerts) || filledIn.includes(SAMPLE_TARGETS)) throw new Error(`not as expected:\n${sample}`);
  return `${global}${filledIn}`;
}

/** Runs promtool to its end; its status is 0 if all is well. */
export function promtool(args: readonly string[], input = ''): Promise<Ended> {
  return run(['promtool', ...args], { input, deadlineMs: PROMTOOL_DEADLINE_MS });
}

export class Prometheus {
  readonly #folder: TemporaryFolder;
  readonly #child: Child;
  readonly #port: number;

  private constructor(folder: TemporaryFolder, child: Child, port: number) {
    this.#folder = folder;
    this.#child = child;
    this.#port = port;
  }

  /** Scrapes, and evaluates its rules, four times a second. */
  static async start(targets: readonly string[]): Promise<Prometheus> {
    const folder = await temporaryFolder();
    const file = join(folder.path, 'prometheus.yml');
    const global = 'global:\n  scrape_interval: 250ms\n  evaluation_interval: 250ms\n\n';
    await writeFile(file, configuration(targets, ALERTS_FILE, global));
    const port = await freePort();
    const child = new Child([
      'prometheus',
      `--config.file=${file}`,
      `--storage.tsdb.path=${join(folder.path, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--log.level=warn',
    ]);
    const prometheus = new Prometheus(folder, child, port);
    try {
      await prometheus.#ready();
    } catch (error) {
      await prometheus.close();
      throw error;
    }
    return prometheus;
  }

  /** An instant query, now. @throws Error with the words of Prometheus if it cannot answer it */
  async query(expr: string): Promise<readonly Sample[]> {
    const { result } = await this.#get<{
      readonly result: readonly {
        readonly metric: Readonly<Record<string, string>>;
        readonly value: readonly [number, string];
      }[];
    }>('query', { query: expr });
    return result.map(({ metric, value: [, text] }) => ({ labels: metric, value: numberOf(text) }));
  }

  /** Each value that a label has now among the series of a selector. */
  labelValues(selector: string, label: string): Promise<readonly string[]> {
    return this.#get(`label/${label}/values`, { 'match[]': selector });
  }

  async alerts(): Promise<readonly Alert[]> {
    return (await this.#get<{ readonly alerts: readonly Alert[] }>('alerts', {})).alerts;
  }

  async rules(): Promise<readonly Rule[]> {
    const { groups } = await this.#get<{ readonly groups: readonly { readonly rules: readonly Rule[] }[] }>(
      'rules',
      {},
    );
    return groups.flatMap(({ rules }) => rules);
  }

  async close(): Promise<void> {
    await this.#child.close();
    await this.#folder.close();
  }

  async #ready(): Promise<void> {
    const seen = await eventually(
      'Prometheus to be ready',
      async () => {
        if (this.#child.result !== undefined) return 'ended' as const;
        const { status } = await httpGet({ host: '127.0.0.1', port: this.#port }, '/-/ready');
        return status === 200 ? ('ready' as const) : undefined;
      },
      { deadlineMs: START_DEADLINE_MS, everyMs: 50 },
    );
    if (seen === 'ended') throw new Error(`Prometheus did not start: ${this.#child.stderr}`);
  }

  async #get<T>(what: string, parameters: Readonly<Record<string, string>>): Promise<T> {
    const path = `/api/v1/${what}?${new URLSearchParams(parameters).toString()}`;
    const { body } = await httpGet({ host: '127.0.0.1', port: this.#port }, path);
    const answer = JSON.parse(body) as Answer<T>;
    if (answer.status !== 'success') throw new Error(`${what} ${JSON.stringify(parameters)}: ${String(answer.error)}`);
    return answer.data;
  }
}

/** As its JSON has numbers. */
function numberOf(text: string): number {
  return text === '+Inf' ? Infinity : text === '-Inf' ? -Infinity : Number(text);
}
