// SPDX-License-Identifier: MIT
// What the gateway would do with its configuration, as lines for people. Pure.

import { isIP } from 'node:net';

import { configuredName, formatHostPort } from '../candidates.js';
import { STATE_DIRECTORY } from '../config-schema.js';
import type { HostPort, LoadedConfig } from '../config.js';
import type { InstalledService } from '../installed-service.js';
import type { CertificateFacts, LocalFacts } from './facts.js';
import { expiryText } from './finding.js';
import type { Finding } from './finding.js';

/** One entry for each subject: its name, and what there is to say. */
export type Entry = readonly [term: string, lines: readonly string[]];

export function planEntries(facts: LocalFacts): readonly Entry[] {
  const { config, service } = facts;
  const memory =
    service === undefined
      ? `none beyond a stop, without STATE_DIRECTORY (the service has ${STATE_DIRECTORY})`
      : `${service.stateDirectory}, as the service would`;
  return [
    ...(service === undefined ? [] : [['judged', [serviceText(service)]] as const]),
    ['clients', [handedOver(listening(facts, config.listen), service?.sockets.clients)]],
    ['metrics', [handedOver(listening(facts, config.metrics), service?.sockets.metrics)]],
    ['candidates', config.candidates.map(({ name, host }) => candidateText(facts, name, host))],
    ['limits', limitTexts(facts)],
    ['log-in', [loginText(config)]],
    ['encryption', [encryptionText(config), ...facts.certificates.map(certificateText)]],
    ['memory', [config.stateDirectory ?? memory]],
  ];
}

/** What a check by root goes by, in one line. */
function serviceText({ unit, user, passwordFile }: InstalledService): string {
  return `as ${unit} would: it is the user ${user}, has its password from ${passwordFile}, and no home directory`;
}

/** @param socket the unit whose addresses they are; null: the service has none; undefined: nobody knows */
function handedOver(bound: string, socket: string | null | undefined): string {
  if (socket === null) return bound;
  return socket === undefined
    ? `${bound}, unless systemd hands sockets over`
    : `where ${socket} listens (systemctl cat ${socket}); without that ${bound}`;
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
    ...serviceFindings(facts),
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

/** Where root's own case misleads: it sees more than the service does. */
function serviceFindings(facts: LocalFacts): readonly Finding[] {
  const { config, service, ownFiles, hiddenFiles, hiddenSources, passwordIsExposed } = facts;
  if (service === undefined) return [];
  const isDefault = (key: string): boolean => config.settings.find((one) => one.key === key)?.from === 'default';
  const user: Finding = {
    level: 'note',
    about: 'probe.user',
    what: `it is not set, and the service logs in by the name of its own user, ${service.user}`,
    fix: 'set it (PGUSER), or make a role of that name: pg-gateway --print-hba has it',
  };
  const password = `put the password into ${service.passwordFile}`;
  const hidden = [...hiddenFiles].map(([key, path]): Finding => ({
    level: 'warning',
    about: path,
    what: `the service cannot read it, which ${key} names: it is for root alone, or in a home directory`,
    fix:
      key === 'probe.passfile'
        ? password
        : 'let it be outside of home directories, and readable by all, or by a group that a drop-in gives the service (SupplementaryGroups=)',
  }));
  const exposed: Finding = {
    level: 'warning',
    about: service.passwordFile,
    what: 'every user of this machine can read the password of the probes in it',
    fix: 'let nobody but root read it:',
    lines: [`chmod 600 ${service.passwordFile}`],
  };
  const sources = hiddenSources.map((path): Finding => ({
    level: 'warning',
    about: path,
    what: 'the service cannot read its configuration there, and does not start',
    fix: `chmod a+r, after a password in it has gone to ${service.passwordFile}; or let it be readable by a group that a drop-in gives the service (SupplementaryGroups=)`,
  }));
  const own = [...ownFiles].filter(([key]) => isDefault(key) && isWanted(config, key));
  return [
    ...(isDefault('probe.user') ? [user] : []),
    ...(passwordIsExposed ? [exposed] : []),
    ...sources,
    ...hidden,
    ...own.map(([key, path]): Finding => ({
      level: 'note',
      about: path,
      what: 'it is not used, for the service has no home directory',
      fix:
        key === 'probe.passfile'
          ? password
          : `if the service needs it, put it into /etc/pg-gateway, and name it by ${key}`,
    })),
  ];
}

/** Whether the file that stands for this setting would do anything. */
function isWanted({ probe }: LoadedConfig, key: string): boolean {
  return key === 'probe.passfile' ? probe.password === undefined : probe.tls.mode !== 'disable';
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
