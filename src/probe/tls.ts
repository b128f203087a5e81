// SPDX-License-Identifier: MIT
// Encryption of a probe connection, with the meaning that libpq gives its modes
// ("34.19. SSL Support" in the PostgreSQL manual).
//
// pg could negotiate too. It is done here because then a failure is known by its
// stage and not by the words of a message, bytes slipped in before the handshake
// are noticed, and "prefer" can go on in plain text on the same connection.

import { isIP } from 'node:net';
import type { Socket } from 'node:net';
import { connect, createSecureContext, TLSSocket } from 'node:tls';
import type { ConnectionOptions, SecureContext } from 'node:tls';

import type { ProbeTls } from '../config.js';
import { abortable } from './deadline.js';
import { faultOf, ProbeFault } from './failure.js';
import { readProbeFile } from './probe-file.js';

/** "55.7. Message Formats": SSLRequest, eight bytes. */
const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);

/** Where distributions keep the root certificates that `system` means: Debian, Fedora, Alpine. */
const SYSTEM_ROOTS = ['/etc/ssl/certs/ca-certificates.crt', '/etc/pki/tls/certs/ca-bundle.crt', '/etc/ssl/cert.pem'];

/** All that is taken from files for one handshake. */
export interface TlsMaterial {
  readonly context: SecureContext;
  readonly verifyChain: boolean;
  readonly verifyHost: boolean;
}

/**
 * Reads the certificates for each new connection, so that renewed ones count from then on. Parsing hundreds of
 * system roots takes milliseconds, so the parsed form is kept for as long as the files say the same.
 */
export class TlsFiles {
  readonly #tls: ProbeTls;
  #texts: readonly (string | undefined)[] = [];
  #context: SecureContext | undefined;

  constructor(tls: ProbeTls) {
    this.#tls = tls;
  }

  /** @throws ProbeFault tls: a file cannot be read or is not what it should be; the signal's reason */
  async load(signal: AbortSignal): Promise<TlsMaterial> {
    const { mode, rootCert, cert, key } = this.#tls;
    const texts = await Promise.all([
      rootCert === 'system' ? readSystemRoots(signal) : readPem('root certificate', rootCert, signal),
      readPem('client certificate', cert, signal),
      readPem('client key', key, signal),
    ]);
    if (this.#context === undefined || texts.some((text, index) => text !== this.#texts[index])) {
      this.#context = contextOf(texts);
      this.#texts = texts;
    }
    const verifies = mode === 'verify-ca' || mode === 'verify-full';
    return {
      context: this.#context,
      verifyChain: verifies || rootCert !== undefined,
      verifyHost: mode === 'verify-full',
    };
  }
}

function contextOf([ca, cert, key]: readonly (string | undefined)[]): SecureContext {
  try {
    return createSecureContext({
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
    });
  } catch (error) {
    throw new ProbeFault('tls', `the certificates or the key cannot be used: ${messageOf(error)}`, { cause: error });
  }
}

async function readPem(what: string, path: string | undefined, signal: AbortSignal): Promise<string | undefined> {
  if (path === undefined) return undefined;
  try {
    return (await readProbeFile(path, signal)).text;
  } catch (error) {
    if (signal.aborted) throw error;
    throw new ProbeFault('tls', `${what}: ${messageOf(error)}`, { cause: error });
  }
}

/** SSL_CERT_FILE names another one, as it does for OpenSSL (and so for libpq). */
async function readSystemRoots(signal: AbortSignal): Promise<string> {
  const override = process.env['SSL_CERT_FILE'];
  const paths = override === undefined || override === '' ? SYSTEM_ROOTS : [override];
  for (const path of paths) {
    try {
      return (await readProbeFile(path, signal)).text;
    } catch (error) {
      if (signal.aborted) throw error;
      // The next one may be there; if none is, that is said below.
    }
  }
  throw new ProbeFault('tls', `no root certificates of the system: looked at ${paths.join(', ')}`);
}

/** Asks whether the server encrypts: true = S, false = N. */
export function requestTls(socket: Socket, signal: AbortSignal): Promise<boolean> {
  return abortable(signal, (resolve, reject) => {
    const done = (): void => {
      socket.off('data', onData).off('error', onError).off('close', onClose);
    };
    const onData = (chunk: Buffer): void => {
      done();
      const answer = chunk.toString('latin1');
      // Exactly one byte: more would have been put in by somebody else, to be taken for encrypted (CVE-2021-23222).
      if (answer === 'S') resolve(true);
      else if (answer === 'N') resolve(false);
      else if (answer.startsWith('E'))
        reject(new ProbeFault('tls', 'the server answered the SSLRequest with an error'));
      else
        reject(new ProbeFault('protocol', `not PostgreSQL: ${JSON.stringify(answer.slice(0, 40))} to an SSLRequest`));
    };
    const onError = (error: Error): void => {
      done();
      reject(error);
    };
    const onClose = (): void => {
      done();
      reject(new ProbeFault('broken', 'the connection was closed after the SSLRequest'));
    };
    socket.on('data', onData).on('error', onError).on('close', onClose);
    socket.write(SSL_REQUEST);
    return () => {
      done();
      socket.destroy();
    };
  });
}

/** Those whose chain had to lead to a trusted root. `authorized` says so too where it need not, and happens to. */
const verified = new WeakSet<Socket>();

/**
 * The handshake, after the server's S. Must be called in the turn in which that byte was read.
 * @throws ProbeFault tls
 */
export function startTls(socket: Socket, host: string, material: TlsMaterial, signal: AbortSignal): Promise<TLSSocket> {
  return abortable(signal, (resolve, reject) => {
    const stream = connect(handshakeOptions(socket, host, material));
    // Stays for the socket's life: an error nobody listens to would end the process.
    stream.on('error', (error) => reject(faultOf(error, 'tls')));
    stream.once('secureConnect', () => {
      if (material.verifyChain) verified.add(stream);
      resolve(stream);
    });
    stream.once('close', () => reject(new ProbeFault('tls', 'the connection was closed during the TLS handshake')));
    return () => {
      stream.destroy();
    };
  });
}

function handshakeOptions(socket: Socket, host: string, material: TlsMaterial): ConnectionOptions {
  const name = host.replace(/\.$/, ''); // a rooted name: certificates and SNI never have the dot (RFC 6066, 3)
  return {
    socket,
    host: name,
    ...(isIP(name) === 0 ? { servername: name } : {}), // SNI must not be an address (RFC 6066, 3)
    secureContext: material.context,
    rejectUnauthorized: material.verifyChain,
    // verify-ca, and "require" with a root certificate: the chain, but not the name.
    ...(material.verifyHost ? {} : { checkServerIdentity: () => undefined }),
  };
}

/** What an encrypted connection is worth. */
export interface Encryption {
  /** `TLSv1.3` */
  readonly protocol: string;
  /** The chain had to lead to a trusted root. (Whether the name was checked too is a matter of the mode.) */
  readonly chainVerified: boolean;
  /** Until when the server's certificate is valid, milliseconds since 1970; undefined: it does not say. */
  readonly validUntil: number | undefined;
}

/** Undefined: the stream is a plain one. */
export function encryptionOf(stream: Socket): Encryption | undefined {
  if (!(stream instanceof TLSSocket)) return undefined;
  const until = Date.parse(stream.getPeerCertificate().valid_to);
  return {
    protocol: stream.getProtocol() ?? 'TLS',
    chainVerified: verified.has(stream),
    validUntil: Number.isNaN(until) ? undefined : until,
  };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
