// SPDX-License-Identifier: MIT
// Reads what /metrics serves: the text format of Prometheus.

import { once } from 'node:events';
import { request } from 'node:http';
import type { IncomingMessage } from 'node:http';

type Labels = Readonly<Record<string, string>>;

interface Sample {
  readonly name: string;
  readonly labels: ReadonlyMap<string, string>;
  readonly value: number;
}

export class Samples {
  readonly #samples: readonly Sample[];

  private constructor(samples: readonly Sample[]) {
    this.#samples = samples;
  }

  /** @throws Error naming a line that is neither a sample nor a comment */
  static parse(text: string): Samples {
    const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    return new Samples(lines.map(parseSample));
  }

  /** The sum of all samples of the name that have these labels, and maybe others; undefined if there is none. */
  value(name: string, labels: Labels = {}): number | undefined {
    const found = this.#samples.filter(
      (sample) =>
        sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels.get(key) === value),
    );
    return found.length === 0 ? undefined : found.reduce((sum, { value }) => sum + value, 0);
  }

  /** The same. @throws Error if there is none */
  get(name: string, labels: Labels = {}): number {
    const value = this.value(name, labels);
    if (value === undefined) throw new Error(`no metric ${name}${JSON.stringify(labels)}`);
    return value;
  }

  /** Each value of one label among the samples of the name. */
  labelValues(name: string, label: string): string[] {
    return this.#samples.filter((sample) => sample.name === name).flatMap(({ labels }) => labels.get(label) ?? []);
  }
}

function parseSample(line: string): Sample {
  const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line);
  if (match === null) throw new Error(`not a sample: ${line}`);
  const [, name = '', labels = '', value = ''] = match;
  const pairs = [...labels.matchAll(/([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g)];
  return {
    name,
    labels: new Map(pairs.map(([, key = '', text = '']) => [key, text.replace(/\\(.)/g, '$1')])),
    value: value === '+Inf' ? Infinity : Number(value),
  };
}

/** A GET on a connection of its own. */
export async function httpGet(
  address: { readonly host: string; readonly port: number },
  path: string,
): Promise<{ status: number; body: string }> {
  const sent = request({ ...address, path, agent: false, timeout: 15_000 });
  sent.on('timeout', () => sent.destroy(new Error(`no answer to GET ${path}`)));
  sent.end();
  // events.once is untyped: 'response' has one argument.
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  response.setEncoding('utf8');
  let body = '';
  for await (const chunk of response) body += String(chunk);
  return { status: response.statusCode ?? 0, body };
}
