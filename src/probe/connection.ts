// SPDX-License-Identifier: MIT
// One connection to one candidate: the only importer of pg.
//
// Owns its socket. Opened, asked any number of times (one question at a time),
// closed. Once it broke, or a question was aborted, it is destroyed and an answer
// that comes late has nobody to go to.

import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';

import { Client } from 'pg';

import type { Candidate } from '../candidates.js';
import type { ProbeConfig } from '../config.js';
import type { Timers } from '../timers.js';
import { abortable } from './deadline.js';
import { dial } from './dial.js';
import type { Dialled } from './dial.js';
import { faultOf, ProbeFault } from './failure.js';
import type { ProbeStage } from './failure.js';
import { guardInput } from './input-guard.js';
import type { ServerAddress, ServerState } from './observation.js';
import { readPassfile } from './passfile.js';
import type { Resolver } from './resolver.js';
import { DETAILS_QUERY, parseServerDetails } from './server-details.js';
import type { ServerDetails } from './server-details.js';
import { parseServerState, PROBE_QUERY } from './server-state.js';
import { encryptionOf, requestTls, startTls } from './tls.js';
import type { Encryption, TlsFiles } from './tls.js';

export const APPLICATION_NAME = 'pg-gateway';

export interface ConnectionTarget {
  readonly candidate: Candidate;
  readonly probe: ProbeConfig;
  readonly resolver: Resolver;
  readonly tlsFiles: TlsFiles;
  readonly timers: Timers;
}

/** How far opening has come: what a missed deadline is blamed on. */
export interface Progress {
  stage: ProbeStage;
}

const CLOSE_TIMEOUT_MS = 200;

/** A logged-in connection. */
export class ProbeConnection {
  readonly address: ServerAddress;
  readonly #client: Client;
  readonly #stream: Socket;
  readonly #timers: Timers;
  readonly #guard: { reset(): void };
  #asking = false;
  #closing = false;
  #fault: ProbeFault | undefined;
  #onBroken: ((fault: ProbeFault) => void) | undefined;

  /** Use `openConnection`. */
  constructor(parts: {
    readonly client: Client;
    readonly stream: Socket;
    readonly address: ServerAddress;
    readonly timers: Timers;
    readonly guard: { reset(): void };
  }) {
    this.address = parts.address;
    this.#client = parts.client;
    this.#stream = parts.stream;
    this.#timers = parts.timers;
    this.#guard = parts.guard;
    this.#client.on('error', (error) => this.#broke(faultOf(error, 'query')));
    this.#client.on('end', () => this.#broke(new ProbeFault('broken', 'the server closed the connection')));
  }

  /** Called once, when the connection breaks while nothing is asked; never for one that was closed from here. */
  set onBroken(listener: (fault: ProbeFault) => void) {
    this.#onBroken = listener;
  }

  /** How it is encrypted; undefined: it is not. */
  get encryption(): Encryption | undefined {
    return encryptionOf(this.#stream);
  }

  /**
   * One probe. After a failure the connection must not be used again.
   * @throws ProbeFault, or the signal's reason
   */
  async ask(signal: AbortSignal): Promise<ServerState> {
    return parseServerState(await this.#query(PROBE_QUERY, signal));
  }

  /**
   * What only a check of the configuration wants to know. After a failure the connection must not be used again.
   * @throws ProbeFault, or the signal's reason
   */
  async askDetails(signal: AbortSignal): Promise<ServerDetails> {
    return parseServerDetails(await this.#query(DETAILS_QUERY, signal));
  }

  async #query(text: string, signal: AbortSignal): Promise<readonly (readonly unknown[])[]> {
    if (this.#fault !== undefined) throw this.#fault;
    this.#asking = true;
    this.#guard.reset();
    try {
      return await abortable<readonly (readonly unknown[])[]>(signal, (resolve, reject) => {
        // Texts as the server sends them: nothing is guessed about types.
        const types = { getTypeParser: () => (value: string | Buffer) => value };
        this.#client.query<unknown[]>({ text, rowMode: 'array', types }, (error: Error | null, result) => {
          if (error === null) resolve(result.rows);
          else reject(this.#fault ?? faultOf(error, 'query'));
        });
        return () => this.destroy();
      });
    } finally {
      this.#asking = false;
    }
  }

  /** At once and without a word to the server. Idempotent. */
  destroy(): void {
    this.#closing = true;
    this.#stream.destroy();
  }

  /** Takes leave of the server, so that its log has nothing to complain of; bounded. Idempotent. */
  async close(): Promise<void> {
    if (this.#closing || this.#fault !== undefined) {
      this.destroy();
      return;
    }
    this.#closing = true;
    await new Promise<void>((resolve) => {
      const cancel = this.#timers.after(CLOSE_TIMEOUT_MS, () => {
        this.#stream.destroy();
      });
      this.#stream.once('close', () => {
        cancel();
        resolve();
      });
      void this.#client.end().catch(() => this.#stream.destroy());
    });
  }

  #broke(fault: ProbeFault): void {
    if (this.#fault !== undefined) return; // pg tells of one break several times: FATAL, reset, end
    this.#fault = fault;
    this.#stream.destroy();
    if (!this.#asking && !this.#closing) this.#onBroken?.(fault);
  }
}

/**
 * Look-up, connect, TLS, log-in.
 * @throws ProbeFault, or the signal's reason
 */
export async function openConnection(
  target: ConnectionTarget,
  signal: AbortSignal,
  progress: Progress,
): Promise<ProbeConnection> {
  const { candidate, probe, resolver, timers } = target;
  const at = async <T>(stage: ProbeStage, work: Promise<T>): Promise<T> => {
    progress.stage = stage;
    try {
      return await work;
    } catch (error) {
      throw signal.aborted ? error : faultOf(error, stage);
    }
  };
  const addresses = await at('lookup', addressesOf(candidate, resolver, signal));
  if (probe.tls.mode === 'disable') {
    const plain = await at('connect', dial(addresses, candidate.port, signal, timers));
    return at('login', logIn(target, plain, plain.socket, signal));
  }
  try {
    const encrypted = await openEncrypted(target, addresses, signal, at);
    return await at('login', logIn(target, encrypted, encrypted.stream, signal));
  } catch (error) {
    if (signal.aborted || probe.tls.mode !== 'prefer' || !(error instanceof ProbeFault) || !mayGoPlain(error)) {
      throw error;
    }
    const plain = await at('connect', dial(addresses, candidate.port, signal, timers));
    try {
      return await at('login', logIn(target, plain, plain.socket, signal));
    } catch (second) {
      if (!(second instanceof ProbeFault)) throw second;
      throw new ProbeFault(second.reason, `${second.message}; before, with TLS: ${error.message}`, {
        cause: second,
        sqlState: second.sqlState,
      });
    }
  }
}

/** Where one address of a name is meant, nothing is waited for: whether the name has it still is the resolver's to tell. */
async function addressesOf(
  { address }: Candidate,
  resolver: Resolver,
  signal: AbortSignal,
): Promise<readonly string[]> {
  if (address === undefined) return resolver.addresses(signal);
  resolver.lookUp();
  return [address];
}

/**
 * What "prefer" answers by a try without TLS: no handshake, or pg_hba.conf has no line for an encrypted log-in (28000).
 * Not a wrong password (28P01): a clear-text one must not be sent in the open because of it.
 */
function mayGoPlain(fault: ProbeFault): boolean {
  return fault.reason === 'tls' || (fault.reason === 'auth' && fault.sqlState === '28000');
}

/** For every mode but `disable`. The stream is the plain socket where "prefer" met a server without TLS. */
async function openEncrypted(
  { candidate, probe, tlsFiles, timers }: ConnectionTarget,
  addresses: readonly string[],
  signal: AbortSignal,
  at: <T>(stage: ProbeStage, work: Promise<T>) => Promise<T>,
): Promise<Dialled & { readonly stream: Socket }> {
  // Before there is a socket: once the server has answered, nothing may be waited for (requestTls, startTls).
  const material = await at('tls', tlsFiles.load(signal));
  const dialled = await at('connect', dial(addresses, candidate.port, signal, timers));
  try {
    // A reset is the business of `broken` still: no handshake has begun.
    const encrypts = await at('login', requestTls(dialled.socket, signal));
    if (encrypts)
      return { ...dialled, stream: await at('tls', startTls(dialled.socket, candidate.host, material, signal)) };
    if (probe.tls.mode === 'prefer') return { ...dialled, stream: dialled.socket };
    throw new ProbeFault('tls', `the server does not encrypt, and sslmode is ${probe.tls.mode}`);
  } catch (error) {
    dialled.socket.destroy();
    throw error;
  }
}

function logIn(
  { candidate, probe, timers }: ConnectionTarget,
  { address }: Dialled,
  stream: Socket,
  signal: AbortSignal,
): Promise<ProbeConnection> {
  return abortable(signal, (resolve, reject) => {
    let failure: ProbeFault | undefined;
    const fail = (error: unknown): void => {
      failure ??= faultOf(error, 'login');
      stream.destroy();
      reject(failure);
    };
    if (probe.user === undefined) {
      fail(new ProbeFault('auth', 'no user name: PGUSER is not set, and the operating system has none for this user'));
      return () => undefined;
    }
    const guard = guardInput(stream);
    const client = new Client({
      host: candidate.host,
      port: candidate.port,
      user: probe.user,
      database: probe.database,
      password: passwordSource(candidate, probe, probe.user, signal),
      application_name: APPLICATION_NAME,
      // Explicit, or pg would take them from the environment.
      ssl: false,
      sslnegotiation: 'postgres',
      stream: () => connected(stream),
    });
    forgetEnvironment(client);
    client.on('error', fail);
    client.connect((error: Error | null) => {
      client.off('error', fail);
      if (error === null) resolve(new ProbeConnection({ client, stream, address, timers, guard }));
      else fail(error);
    });
    return () => {
      stream.destroy();
    };
  });
}

/**
 * What pg takes from the environment wherever it is not told of a value that is not empty: PGOPTIONS and PGREPLICATION.
 * With the first a server could look read-only to the probes, or a read-only one writable.
 */
function forgetEnvironment(client: Client): void {
  const { connectionParameters } = client as Client & { readonly connectionParameters: Record<string, unknown> };
  connectionParameters['options'] = undefined;
  connectionParameters['replication'] = undefined;
}

/** pg asks only where the server does, so that trust and cert need neither password nor file. */
function passwordSource(
  candidate: Candidate,
  probe: ProbeConfig,
  user: string,
  signal: AbortSignal,
): () => Promise<string> {
  const { password, passfile, database } = probe;
  return async () => {
    if (password !== undefined) return password;
    const { host, port } = candidate;
    const key = { host, port, database, user };
    const found = passfile === undefined ? undefined : await readPassfile(passfile, key, signal);
    if (found !== undefined) return found;
    const where = passfile === undefined ? '' : `, and none in ${passfile} fits`;
    throw new ProbeFault('auth', `the server asks for a password: PGPASSWORD is not set${where}`);
  };
}

/** pg calls connect() on what it is given and waits for the event; this socket is connected already. */
function connected(stream: Socket | TLSSocket): Socket {
  stream.connect = () => {
    process.nextTick(() => stream.emit('connect'));
    return stream;
  };
  return stream;
}
