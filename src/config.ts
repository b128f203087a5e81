// SPDX-License-Identifier: MIT
// The configuration: the only importer of convict and of the TOML parser.
//
// Defaults < files < environment < arguments. Each source is checked on its own
// against the one schema, so that every fault can be said with the name of its
// source; then convict lays the sources over each other. Either all of it is
// good, or a `ConfigError` tells everything that is not.

import { availableParallelism } from 'node:os';
import { join } from 'node:path';

import convict from 'convict';
import { parse, TomlError } from 'smol-toml';

import { parseCandidates } from './candidates.js';
import type { Candidate } from './candidates.js';
import { ENVIRONMENT_FILES, passwordWarnings } from './config-exposure.js';
import { resolveLogin } from './config-login.js';
import type { Login } from './config-login.js';
import { badValue, ConfigError, invalid, oneLine, unreadable } from './config-problems.js';
import type { Problem } from './config-problems.js';
import { CONFIG_DIRECTORY, MAX_WORKERS, SCHEMA, SETTINGS } from './config-schema.js';
import type { RawSettings } from './config-schema.js';
import { argumentLayer, configFiles, environmentLayer, isMissing, isSystemError } from './config-sources.js';
import type { ConfigFile, Given, Layer, Override } from './config-sources.js';
import { settingsOf } from './config-toml.js';
import type { FileContent } from './config-toml.js';
import type { Config, GivenSetting, LoadedConfig } from './config-types.js';
import { effectiveSettings } from './config-values.js';
import { GatewayError } from './errors.js';
import type { InstalledService } from './installed-service.js';

export { ConfigError } from './config-problems.js';
export { diffConfig } from './config-diff.js';
export type { ConfigDiff } from './config-diff.js';
export { describeConfig } from './config-print.js';
export type { Override } from './config-sources.js';
export type {
  Config,
  EffectiveSetting,
  GivenSetting,
  HostPort,
  LoadedConfig,
  ProbeConfig,
  ProbeTls,
  SslMode,
} from './config-types.js';

export interface LoadInput {
  readonly env: NodeJS.ProcessEnv;
  /** From the command line; none if left out. */
  readonly overrides?: readonly Override[] | undefined;
  /** Read this file and no other. */
  readonly file?: string | undefined;
  /** Folder of pg-gateway.toml and conf.d; /etc/pg-gateway if left out. */
  readonly directory?: string | undefined;
  /** Folder of the environment files of the units, which systemd reads; /etc/default if left out. */
  readonly environmentFiles?: string | undefined;
  /** Load it as this service would: with its user, its password, and no home directory. */
  readonly service?: Pick<InstalledService, 'user' | 'passwordFile'> | undefined;
}

type Settings = convict.Config<RawSettings>;

const KEYS: ReadonlySet<string> = new Set(SETTINGS.map(({ key }) => key));
const SECRETS: ReadonlySet<string> = new Set(SETTINGS.filter(({ secret }) => secret).map(({ key }) => key));

/**
 * Reads every source. Reads the file system synchronously.
 * @throws {ConfigError} CONFIG_INVALID, or CONFIG_UNREADABLE if unreadable files are the only problems.
 */
export function loadConfig(input: LoadInput): LoadedConfig {
  const { env, file, directory = CONFIG_DIRECTORY, environmentFiles = ENVIRONMENT_FILES, service } = input;
  const problems: Problem[] = [];
  const files = readFiles(input, problems);
  // Such a file may hold any setting: whether one is missing cannot be said then.
  const someUnread = problems.length > 0;
  problems.push(...files.flatMap(({ content }) => content.problems));
  const layers = layersOf(files, input, problems);
  const withPassword = files
    .filter(({ content }) => (content.layer.get('probe.password')?.value ?? '') !== '')
    .map(({ path }) => path);
  const failed = new Set(files.flatMap(({ content }) => [...content.failed]));
  for (const layer of layers) dropBadValues(layer, failed, problems);
  const { raw, given } = merge(layers);
  if (!given.has('candidates') && !failed.has('candidates') && !someUnread)
    problems.push(noCandidates(file, directory));

  const checkRules = ![...failed].some((key) => key.startsWith('probe.ssl'));
  const account = service === undefined ? undefined : { name: service.user, home: undefined };
  const login = resolveLogin({ probe: raw.probe, given: (key) => given.get(key), env, account, checkRules }, problems);
  if (problems.length > 0) throw new ConfigError(problems);
  const sources = files.map(({ path }) => path);
  const warnings = passwordWarnings({ configFiles: withPassword, env, environmentFiles });
  return loaded(assemble(raw, login, sources), given, warnings);
}

/**
 * The configuration of which `left` is left, checked as any source is, but for files that it names: they are looked
 * at when they are used. Settings that are none any more are left out. Secrets are as the sources have them now,
 * whatever else is wrong there.
 * @throws {ConfigError} CONFIG_INVALID: it is none any more.
 */
export function restoreConfig(left: readonly GivenSetting[], input: LoadInput): LoadedConfig {
  const secrets = layersOf(readFiles(input, []), input, []).map((layer) => {
    const ofIt: Layer = new Map([...layer].filter(([key]) => SECRETS.has(key)));
    dropBadValues(ofIt, new Set(), []);
    return ofIt;
  });
  const layer: Layer = new Map(
    left.filter(([key]) => KEYS.has(key)).map(([key, value, from]) => [key, { value, from }]),
  );
  const problems: Problem[] = [];
  dropBadValues(layer, new Set(), problems);
  const { raw, given } = merge([layer, ...secrets]);
  if (!given.has('candidates')) problems.push(invalid('candidates', 'none are set'));
  if (problems.length > 0) throw new ConfigError(problems);
  const whose = { probe: raw.probe, given: (key: string) => given.get(key), env: input.env, checkRules: false };
  return loaded(assemble(raw, resolveLogin(whose, []), []), given, []);
}

function loaded(config: Config, given: ReadonlyMap<string, Given>, warnings: readonly string[]): LoadedConfig {
  const left = [...given].filter(([key]) => !SECRETS.has(key));
  return {
    ...config,
    settings: effectiveSettings(config, given),
    given: left.map(([key, { value, from }]) => [key, value, from]),
    warnings,
  };
}

/**
 * The state directory alone, whatever else is wrong or missing: for who has to mend something.
 * @throws {ConfigError} if a file cannot be read, which might name it, or if it is named badly.
 */
export function configuredStateDirectory(input: LoadInput): string | undefined {
  const key = 'state_directory';
  const problems: Problem[] = [];
  const files = readFiles(input, problems);
  problems.push(...files.filter(({ content }) => content.failed.has(key)).flatMap(({ content }) => content.problems));
  const layers = layersOf(files, input, []).map((layer): Layer => {
    const given = layer.get(key);
    return new Map(given === undefined ? [] : [[key, given]]);
  });
  for (const layer of layers) dropBadValues(layer, new Set(), problems);
  if (problems.length > 0) throw new ConfigError(problems);
  return merge(layers).raw.state_directory ?? undefined;
}

function readFiles({ file, directory = CONFIG_DIRECTORY }: LoadInput, problems: Problem[]): readonly ReadFile[] {
  registerKinds();
  return configFiles(file, directory, problems).flatMap((source) => readConfigFile(source, problems));
}

/** The weakest first. */
function layersOf(files: readonly ReadFile[], input: LoadInput, problems: Problem[]): Layer[] {
  const { env, overrides = [], service } = input;
  const environment = environmentLayer(env, problems, service?.passwordFile);
  return [...files.map(({ content }) => content.layer), environment, argumentLayer(overrides)];
}

/** A convict object that holds the defaults; it must not look at the process's own environment and arguments. */
function defaults(): Settings {
  return convict<RawSettings>(SCHEMA, { env: {}, args: [] });
}

/** convict keeps its formats for the whole process, under names that are ours; doing it again changes nothing. */
function registerKinds(): void {
  for (const { format, kind, default: builtIn } of SETTINGS) {
    convict.addFormat({
      name: format,
      coerce: (value: string) => kind.fromText(value),
      validate: (value: unknown) => {
        // What was not given is not checked: a start has sessions waiting for it.
        const found = value === builtIn ? [] : kind.problems(value);
        // As JSON, since convict joins everything into one text, by line feeds.
        if (found.length > 0) throw new Error(JSON.stringify(found));
      },
    });
  }
}

/**
 * What convict has against the values: key -> problems. Its message has one line for each key, `key: message`,
 * without the values, as every setting is marked sensitive.
 */
function complaints(settings: Settings): ReadonlyMap<string, readonly string[]> {
  try {
    settings.validate({ allowed: 'strict' });
    return new Map();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return new Map(message.split('\n').map(readComplaint));
  }
}

function readComplaint(line: string): [string, string[]] {
  const [, key = '', json = ''] = /^([\w.]+): (\[.*\])$/s.exec(line) ?? [];
  if (key === '') throw new GatewayError('INTERNAL', 'The configuration schema is not what convict expects.');
  const found: unknown = JSON.parse(json);
  return [key, Array.isArray(found) ? found.map(String) : []];
}

/** Takes out of `layer` what no setting can be, and reports it. */
function dropBadValues(layer: Layer, failed: Set<string>, problems: Problem[]): void {
  if (layer.size === 0) return;
  const settings = defaults();
  for (const [key, { value }] of layer) settings.set(key, value);
  const found = complaints(settings);
  for (const setting of SETTINGS) {
    const given = layer.get(setting.key);
    const wrong = found.get(setting.key);
    // A default is not this layer's business: the empty list of candidates is wrong too.
    if (given === undefined || wrong === undefined) continue;
    problems.push(...wrong.map((what) => badValue(given.from, setting, given.value, what)));
    layer.delete(setting.key);
    failed.add(setting.key);
  }
}

/** The layers over each other, the last one on top. All values are good ones. */
function merge(layers: readonly Layer[]): { readonly raw: RawSettings; readonly given: ReadonlyMap<string, Given> } {
  const settings = defaults();
  const given = new Map<string, Given>();
  for (const layer of layers) {
    for (const [key, value] of layer) {
      settings.set(key, value.value);
      given.set(key, value);
    }
  }
  return { raw: settings.getProperties(), given };
}

/** All there is in the log of a service that was installed and not yet configured: it says the whole way on. */
function noCandidates(file: string | undefined, directory: string): Problem {
  const path = file ?? join(directory, 'pg-gateway.toml');
  const environment =
    file === undefined
      ? ' in /etc/default/pg-gateway, which only the units read, or in the environment'
      : ' in the environment';
  const start = file === undefined ? 'systemctl start pg-gateway.socket' : 'start it again';
  return invalid(
    'candidates',
    `none are set: name the PostgreSQL servers as candidates = ["db1:5432", "db2:5432"] in ${path}, ` +
      `or as CANDIDATES=db1:5432,db2:5432${environment}, then: ${start}`,
  );
}

interface ReadFile {
  readonly path: string;
  readonly content: FileContent;
}

/** One file, or none if it cannot be had: a problem, unless it is missing and may be. */
function readConfigFile({ path, optional }: ConfigFile, problems: Problem[]): readonly ReadFile[] {
  const found: ReadFile[] = [];
  const read = (text: string): object => {
    // convict has put U+FFFD for what is not UTF-8, as in a password in Latin-1.
    const lost = text.indexOf('\ufffd');
    if (lost < 0) found.push({ path, content: settingsOf(parseToml(text), path) });
    else problems.push(invalid(path, `line ${String(text.slice(0, lost).split('\n').length)}: not valid UTF-8`));
    return {};
  };
  // convict chooses a parser by the ending, and takes the rest for JSON: `--config` may name any file.
  convict.addParser({ extension: ['toml', '*'], parse: read });
  try {
    defaults().loadFile(path);
  } catch (error) {
    if (error instanceof TomlError) {
      problems.push(syntaxProblem(path, error));
    } else if (!isSystemError(error)) {
      throw error;
    } else if (!optional || !isMissing(error)) {
      problems.push(unreadable(path, error));
    }
  }
  return found;
}

/** The document as it is, unchecked. @throws {TomlError} on a fault of syntax. */
export function parseToml(text: string): Readonly<Record<string, unknown>> {
  return parse(text, { maxDepth: 16 });
}

/** Only the first line of the parser's message: the others quote the file, and with it perhaps a password. */
function syntaxProblem(path: string, error: TomlError): Problem {
  const [first = ''] = error.message.split('\n');
  const what = first
    .replace(/^Invalid TOML document: /, '')
    .replace(/^invalid value$/, 'invalid value (a text stands in quotation marks)');
  return invalid(path, `line ${String(error.line)}, column ${String(error.column)}: not valid TOML: ${what}`);
}

function assemble(raw: RawSettings, login: Login, sources: readonly string[]): Config {
  const candidates = checkedCandidates(raw.candidates);
  const workers =
    raw.sessions.workers === 'auto' ? Math.min(availableParallelism(), MAX_WORKERS) : raw.sessions.workers;
  return {
    candidates,
    stateDirectory: raw.state_directory ?? undefined,
    listen: raw.listen,
    metrics: { host: raw.metrics.host, port: raw.metrics.port, statusPage: raw.metrics.status_page },
    control: raw.control,
    probe: {
      user: login.user,
      password: raw.probe.password ?? undefined,
      passfile: login.passfile,
      database: raw.probe.database,
      connectTimeoutMs: raw.probe.connect_timeout_ms,
      queryTimeoutMs: raw.probe.query_timeout_ms,
      checkEveryMs: Math.round(raw.probe.check_every * 1000),
      tls: login.tls,
    },
    workers,
    maxConnections: raw.sessions.max_connections === 'auto' ? undefined : raw.sessions.max_connections,
    maxConnectionsPerClient: raw.sessions.max_connections_per_client,
    maxConnectionRate: raw.sessions.max_connection_rate,
    tcp: {
      keepalive: raw.sessions.tcp_keepalive,
      keepalivesIdleS: raw.sessions.tcp_keepalives_idle,
      keepalivesIntervalS: raw.sessions.tcp_keepalives_interval,
      keepalivesCount: raw.sessions.tcp_keepalives_count,
      userTimeoutMs: raw.sessions.tcp_user_timeout,
    },
    drainTimeoutMs: raw.sessions.drain_timeout_ms,
    failover: {
      holdTimeoutMs: raw.failover.hold_timeout_ms,
      maxHeld: raw.failover.max_held,
      releaseRate: raw.failover.release_rate,
      cutPolicy: raw.failover.cut_policy,
    },
    logLevel: raw.log.level,
    sources,
  };
}

function checkedCandidates(items: readonly string[]): readonly Candidate[] {
  const list = parseCandidates(items);
  if (list.kind === 'good') return list.candidates;
  throw new GatewayError('INTERNAL', `A checked candidate list is not good: ${oneLine(list.problems.join('; '))}`);
}
