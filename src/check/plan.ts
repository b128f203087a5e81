// SPDX-License-Identifier: MIT
// What the gateway would do with its configuration, as lines for people. Pure.

import { isIP } from 'node:net';

import { configuredName, formatHostPort } from '../candidates.js';
import { STATE_DIRECTORY } from '../config-schema.js';
import type { HostPort, LoadedConfig } from '../config.js';
import type { CertificateFacts, LocalFacts } from './facts.js';
import { expiryText } from './finding.js';
import type { Finding } from './finding.js';

/** One entry for each subject: its name, and what there is to say. */
export type Entry = readonly [term: string, lines: readonly string[]];

export function planEntries(facts: LocalFacts): readonly Entry[] {
  const { config } = facts;
  const memory = `none beyond a stop, without STATE_DIRECTORY (the service has ${STATE_DIRECTORY})`;
  return [
    ['clients', [`${listening(facts, config.listen)}, unless systemd hands sockets over`]],
    ['metrics', [`${listening(facts, config.metrics)}, unless systemd hands sockets over`]],
    ['candidates', config.candidates.map(({ name, host }) => candidateText(facts, name, host))],
    ['limits', limitTexts(facts)],
    ['log-in', [loginText(config)]],
    ['encryption', [encryptionText(config), ...facts.certificates.map(certificateText)]],
    ['memory', [config.stateDirectory ?? memory]],
  ];
}

function listening({ names }: LocalFacts, { host, port }: HostPort): string {
  const where = port === 0 ? 'any free port' : `port ${String(port)}`;
  if (host === '::') return `${where} of every address, IPv6 and IPv4`;
  if (isIP(host) !== 0) return port === 0 ? `${where} of ${host}` : formatHostPort(host, port);
  const found = names.get(host);
  if (found?.kind !== 'found') return `${where} of ${host}, which cannot be looked up`;
  if (port === 0) return `${where} of ${found.addresses.join(', ')} (${host})`;
  return `${found.addresses.map((address) => formatHostPort(address, port)).join(', ')} (${host})`;
}

function candidateText({ names, candidates, leftOut }: LocalFacts, name: string, host: string): string {
  if (isIP(host) !== 0) return name;
  const found = names.get(host);
  if (found?.kind !== 'found') return `${name}  cannot be looked up: ${found?.why ?? 'no answer'}`;
  const addresses = found.addresses.join(', ');
  const watched = candidates.filter((candidate) => configuredName(candidate) === name).length;
  if (watched === 1) return `${name}  ${addresses}`;
  const without = leftOut.find((one) => one.name === name)?.addresses ?? 0;
  const rest = without === 0 ? '' : `, ${String(without)} more are not watched`;
  return `${name}  ${addresses}: each is a candidate of its own${rest}`;
}

function limitTexts({ config, openFiles, clientsThatFit }: LocalFacts): readonly string[] {
  const limit = openFiles === undefined ? 'no limit of open files' : `a limit of ${String(openFiles)} open files`;
  const fit = `${String(clientsThatFit)} clients fit under ${limit} (here; the service has its own, LimitNOFILE=)`;
  const most =
    config.maxConnections === undefined
      ? 'as many clients at once as fit (max_connections = "auto")'
      : `${String(config.maxConnections)} clients at once`;
  const each = config.maxConnectionsPerClient;
  return [
    `${most}${each === 0 ? '' : `, ${String(each)} from one address`}; ${String(config.failover.maxHeld)} may wait for a primary, ${String(config.failover.holdTimeoutMs)} ms at most`,
    fit,
  ];
}

/** Never the password, only where it comes from. */
function loginText({ probe, settings }: LoadedConfig): string {
  const from = settings.find(({ key }) => key === 'probe.password')?.from ?? 'default';
  const password =
    probe.password !== undefined
      ? `a password (${from})`
      : probe.passfile !== undefined
        ? `the password in ${probe.passfile}`
        : 'no password';
  return `as ${probe.user ?? 'nobody: probe.user is not set'} to the database ${probe.database}, with ${password}`;
}

const MODE_TEXTS = {
  disable: 'never',
  prefer: 'if the server can',
  require: 'always',
  'verify-ca': 'always, by a certificate that a trusted root has signed',
  'verify-full': "always, by a certificate that a trusted root has signed for the candidate's name",
} as const;

function encryptionText({ probe: { tls } }: LoadedConfig): string {
  const root = tls.rootCert === undefined ? 'the certificate is not verified' : `trusted: ${tls.rootCert}`;
  const client = tls.cert === undefined ? '' : `, client certificate: ${tls.cert}`;
  return `${tls.mode}: ${MODE_TEXTS[tls.mode]}${tls.mode === 'disable' ? '' : ` (${root}${client})`}`;
}

function certificateText({ what, path, validUntil }: CertificateFacts): string {
  if (validUntil === undefined) return `${what} ${path}: not read as a certificate`;
  return `${what} ${path}: valid until ${new Date(validUntil).toISOString().slice(0, 10)}`;
}

/** What speaks against it, before any server is asked. */
export function planFindings(facts: LocalFacts): readonly Finding[] {
  return [
    ...nameFindings(facts),
    ...limitFindings(facts),
    ...facts.certificates.flatMap((one) => certificateFindings(one, facts.now)),
  ];
}

function nameFindings({ config, names, leftOut }: LocalFacts): readonly Finding[] {
  const candidateHosts = new Set(config.candidates.map(({ host }) => host));
  const unknown = [...names].flatMap(([host, found]): Finding[] =>
    found.kind === 'found'
      ? []
      : [
          {
            level: 'warning',
            about: host,
            what: `it cannot be looked up: ${found.why}`,
            fix: `${candidateHosts.has(host) ? 'correct it in candidates' : 'correct listen.host or metrics.host'}, or make it known to this machine (DNS, /etc/hosts)`,
          },
        ],
  );
  const many = leftOut.map(({ name, addresses }): Finding => ({
    level: 'warning',
    about: name,
    what: `${String(addresses)} of its addresses are not watched`,
    fix: 'name the servers one by one in candidates',
  }));
  return [...unknown, ...many];
}

function limitFindings({ config: { maxConnections }, clientsThatFit }: LocalFacts): readonly Finding[] {
  if (maxConnections === undefined || maxConnections <= clientsThatFit) return [];
  return [
    {
      level: 'note',
      about: 'sessions.max_connections',
      what: `${String(maxConnections)} clients are more than fit under the limit of open files here, ${String(clientsThatFit)}`,
      fix: 'raise it (ulimit -n; LimitNOFILE= of the service, which may well be higher), for a client takes two',
    },
  ];
}

function certificateFindings({ what, path, validUntil }: CertificateFacts, now: number): readonly Finding[] {
  if (validUntil === undefined) {
    return [
      {
        level: 'warning',
        about: path,
        what: `the ${what} cannot be read as one`,
        fix: 'let it be a certificate in PEM, as openssl x509 -in reads it',
      },
    ];
  }
  const expiry = expiryText(validUntil, now);
  return expiry === undefined
    ? []
    : [{ level: 'warning', about: path, what: `the ${what} ${expiry}`, fix: 'put a renewed one in its place' }];
}
