// SPDX-License-Identifier: MIT
// The etcd in which Patroni keeps who leads: one server, on free ports.

import { request } from 'node:http';
import { join } from 'node:path';

import { freePort } from '../helpers/ports.js';
import { eventually } from '../helpers/wait.js';
import { Kept } from './kept.js';

const START_DEADLINE_MS = 20_000;
const ANSWER_DEADLINE_MS = 10_000;

export interface HttpAnswer {
  readonly status: number;
  readonly body: string;
}

/** One request with a JSON body. @throws Error when nobody answers in time */
export function callJson(port: number, method: string, path: string, body?: unknown): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const headers = text === undefined ? {} : { 'content-type': 'application/json', 'content-length': text.length };
    const sent = request({ host: '127.0.0.1', port, method, path, headers, agent: false }, (answer) => {
      let received = '';
      answer.setEncoding('utf8');
      answer.on('data', (chunk: string) => {
        received += chunk;
      });
      answer.on('end', () => {
        resolve({ status: answer.statusCode ?? 0, body: received });
      });
    });
    sent.on('error', reject);
    sent.setTimeout(ANSWER_DEADLINE_MS, () => sent.destroy(new Error(`no answer to ${method} ${path}`)));
    sent.end(text);
  });
}

export class Etcd {
  readonly port: number;
  readonly #process: Kept;

  private constructor(port: number, process: Kept) {
    this.port = port;
    this.#process = process;
  }

  static async start(folder: string): Promise<Etcd> {
    const port = await freePort();
    const clients = `http://127.0.0.1:${port}`;
    const peers = `http://127.0.0.1:${await freePort()}`;
    const settings = {
      '--data-dir': join(folder, 'etcd'),
      '--listen-client-urls': clients,
      '--advertise-client-urls': clients,
      '--listen-peer-urls': peers,
      '--initial-advertise-peer-urls': peers,
      '--initial-cluster': `default=${peers}`,
    };
    const etcd = new Etcd(port, await Kept.start(['etcd', ...Object.entries(settings).flat()]));
    try {
      await eventually('etcd to be ready', () => etcd.#isReady(), { deadlineMs: START_DEADLINE_MS });
    } catch (error) {
      await etcd.close();
      throw error;
    }
    return etcd;
  }

  /** @throws Error if there is none */
  async deleteKey(key: string): Promise<void> {
    const body = { key: Buffer.from(key).toString('base64') };
    const answer = await callJson(this.port, 'POST', '/v3/kv/deleterange', body);
    // The number is a text, and left out when it is 0.
    if (answer.status !== 200 || !answer.body.includes('"deleted":"1"')) {
      throw new Error(`etcd did not delete ${key}: ${answer.status} ${answer.body}`);
    }
  }

  close(): Promise<void> {
    return this.#process.close();
  }

  async #isReady(): Promise<boolean> {
    if (this.#process.hasEnded) throw new Error(`etcd has ended: ${this.#process.log}`);
    return (await callJson(this.port, 'GET', '/health')).status === 200;
  }
}
