// SPDX-License-Identifier: MIT
// Gathers what a check judges: looks names up, reads files and limits, and connects
// once to each candidate, all side by side and each with its deadline. Changes nothing,
// here or on a server.

import { X509Certificate } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { lstatSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { isIP, isIPv6 } from 'node:net';

import type { Candidate } from '../candidates.js';
import { ClusterFile } from '../cluster-file.js';
import { readableByAll } from '../config-exposure.js';
import { filesOfOwnHome } from '../config-login.js';
import type { LoadedConfig, ProbeTls } from '../config.js';
import { descriptorShare, openFilesLimit } from '../descriptor-limit.js';
import { elect } from '../election.js';
import { GatewayError } from '../errors.js';
import type { InstalledService } from '../installed-service.js';
import { memoryOf } from '../memory.js';
import type { RememberedCluster } from '../memory.js';
import { expanded } from '../names.js';
import { startDeadline } from '../probe/deadline.js';
import { faultOf, ProbeFault } from '../probe/failure.js';
import { inspect } from '../probe/inspection.js';
import { Resolver } from '../probe/resolver.js';
import { TlsFiles } from '../probe/tls.js';
import { systemTimers } from '../timers.js';
import type { CertificateFacts, Inspected, LocalFacts, NameFacts, ProbeFacts, Source } from './facts.js';

/** For certificates and the clocks of servers. */
function wallClock(): number {
  return new Date().getTime();
}

/** @param service it is judged for */
export async function gatherLocal(config: LoadedConfig, service: InstalledService | undefined): Promise<LocalFacts> {
  const hosts = [...config.candidates.map(({ host }) => host), config.listen.host, config.metrics.host];
  const wanted = [...new Set(hosts)].filter((host) => isIP(host) === 0);
  const found = await Promise.all(wanted.map(async (host) => [host, await lookUp(config, host)] as const));
  const names = new Map(found);
  const addressesOf = (host: string): readonly string[] => {
    const name = names.get(host);
    return name?.kind === 'found' ? name.addresses : [];
  };
  return {
    config,
    names,
    ...expanded(config.candidates, addressesOf),
    openFiles: openFilesLimit(),
    clientsThatFit: descriptorShare().clients,
    certificates: certificatesOf(config.probe.tls),
    service,
    ownFiles: service === undefined ? new Map() : filesOfOwnHome(process.env),
    hiddenFiles: service === undefined ? new Map() : hiddenFiles(config),
    hiddenSources: service === undefined ? [] : config.sources.filter(isHidden),
    passwordIsExposed: service !== undefined && readableByAll(service.passwordFile),
    now: wallClock(),
  };
}

const FILE_KEYS: ReadonlySet<string> = new Set([
  'probe.passfile',
  'probe.sslrootcert',
  'probe.sslcert',
  'probe.sslkey',
]);
/** ProtectHome= of the service. */
const HOMES = ['/root/', '/home/', '/run/user/'];

function hiddenFiles({ settings }: LoadedConfig): ReadonlyMap<string, string> {
  const named = settings.flatMap(({ key, value, from }) =>
    FILE_KEYS.has(key) && from !== 'default' && typeof value === 'string' && value !== 'system'
      ? [[key, value] as const]
      : [],
  );
  return new Map(named.filter(([, path]) => isHidden(path)));
}

/** A group, unless it is root's, may be one that a drop-in gives the service (SupplementaryGroups=). */
function isHidden(path: string): boolean {
  const { mode, gid } = statSync(path);
  const forGroup = (mode & 0o040) !== 0 && gid !== 0;
  return HOMES.some((home) => realpathSync(path).startsWith(home)) || !(forGroup || readableByAll(path));
}

async function lookUp({ probe }: LoadedConfig, host: string): Promise<NameFacts> {
  const ms = probe.connectTimeoutMs;
  const late = (): ProbeFault => new ProbeFault('dns', `the look-up did not end within ${String(ms)} ms`);
  const deadline = startDeadline(systemTimers, ms, new AbortController().signal, late);
  const resolver = new Resolver({ host, timers: systemTimers });
  try {
    return { kind: 'found', addresses: await resolver.addresses(deadline.signal) };
  } catch (error) {
    return { kind: 'failed', why: faultOf(error, 'lookup').message.replace(`${host}: `, '') };
  } finally {
    deadline.close();
    resolver.close();
  }
}

/** The roots of the operating system are its own business. */
function certificatesOf({ rootCert, cert }: ProbeTls): readonly CertificateFacts[] {
  return [
    ...(rootCert === undefined || rootCert === 'system' ? [] : [certificateFacts('root certificate', rootCert)]),
    ...(cert === undefined ? [] : [certificateFacts('client certificate', cert)]),
  ];
}

/** Of several roots the one that is valid longest counts: an old one may stay beside its successor. */
function certificateFacts(what: string, path: string): CertificateFacts {
  try {
    const parts = readFileSync(path, 'latin1').match(/-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----/gs) ?? [];
    const ends = parts.map((part) => Date.parse(new X509Certificate(part).validTo));
    // A client's comes first, before those that lead to the root.
    const until = what === 'client certificate' ? ends[0] : Math.max(...ends);
    return { what, path, validUntil: until !== undefined && Number.isFinite(until) ? until : undefined };
  } catch {
    return { what, path, validUntil: undefined };
  }
}

/** One connection to each candidate. */
export async function inspectAll({ config, candidates, names }: LocalFacts): Promise<readonly Inspected[]> {
  const tlsFiles = new TlsFiles(config.probe.tls);
  const one = async (candidate: Candidate): Promise<Inspected> => {
    const resolver = new Resolver({ host: candidate.host, timers: systemTimers });
    const target = { candidate, probe: config.probe, resolver, tlsFiles, timers: systemTimers };
    const inspection = await inspect(target, wallClock);
    resolver.close();
    const told = inspection.session?.details?.clientAddress ?? inspection.refusal?.clientAddress;
    const source: Source | undefined =
      told === undefined ? await routeSource(candidate, names) : { address: withoutZone(told), toldBy: 'server' };
    return { candidate, inspection, source };
  };
  return Promise.all(candidates.map(one));
}

/** What the kernel would put into a packet to the candidate; none is sent (connect(2) of a datagram socket). */
async function routeSource(
  { host, port, address }: Candidate,
  names: ReadonlyMap<string, NameFacts>,
): Promise<Source | undefined> {
  const found = names.get(host);
  const target = address ?? (isIP(host) !== 0 ? host : found?.kind === 'found' ? found.addresses[0] : undefined);
  if (target === undefined) return undefined;
  const socket = createSocket(isIPv6(target) ? 'udp6' : 'udp4');
  const own = await new Promise<string | undefined>((resolve) => {
    socket.once('error', () => {
      resolve(undefined);
    });
    socket.connect(port, target, () => {
      resolve(socket.address().address);
    });
  });
  socket.close();
  return own === undefined ? undefined : { address: withoutZone(own), toldBy: 'route' };
}

/** pg_hba.conf has no zones. */
function withoutZone(address: string): string {
  return address.replace(/%.*$/, '');
}

export interface Recollection {
  readonly remembered: RememberedCluster | null;
  readonly memoryProblem: string | undefined;
}

/**
 * What the gateway remembers of the cluster: the service, if it is its configuration that is looked at.
 * @param ofService its state directory, which need not be there
 * @throws GatewayError STATE_INVALID, which would stop the gateway too
 */
export function recollect({ stateDirectory }: LoadedConfig, ofService: string | undefined): Recollection {
  const path = stateDirectory ?? (ofService !== undefined && isThere(ofService) ? ofService : undefined);
  if (path === undefined) return { remembered: null, memoryProblem: undefined };
  try {
    return { remembered: new ClusterFile(path).read(), memoryProblem: undefined };
  } catch (error) {
    if (error instanceof GatewayError && error.code === 'STATE_UNREADABLE') {
      return { remembered: null, memoryProblem: error.message };
    }
    throw error;
  }
}

/** The name alone: what it leads to may be hidden from who is not root. */
function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** What the election makes of it, as at a start. */
export function judge(inspected: readonly Inspected[], { remembered, memoryProblem }: Recollection): ProbeFacts {
  const { verdict } = elect({
    candidates: inspected.map(({ candidate }) => candidate),
    observations: new Map(inspected.map(({ candidate, inspection }) => [candidate.name, inspection.observation])),
    memory: memoryOf(remembered),
  });
  return { inspected, remembered, memoryProblem, verdict };
}
