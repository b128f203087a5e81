// SPDX-License-Identifier: MIT
// The life of the service: start, reload, stop. Wires the parts together: what the
// monitor decides goes down to the data plane, what the data plane notices comes up.
//
// Owns every long-lived part and closes it. stop() is idempotent.

import { BackendFailures } from './backend-failures.js';
import type { Candidate } from './candidates.js';
import { ClusterMemory } from './cluster-memory.js';
import type { Config, LoadedConfig } from './config.js';
import { ControlDesk } from './control/desk.js';
import type { ReloadDocument } from './control/documents.js';
import { CurrentConfig } from './current-config.js';
import { WORKERS_STOP_MS } from './dataplane.js';
import type { BackendFailure, DataPlane, DataPlaneSettings } from './dataplane.js';
import { maxConnectionsOf, warnOfTooMany } from './descriptor-limit.js';
import { drain } from './drain.js';
import type { Verdict } from './election.js';
import { Failovers } from './failovers.js';
import { listenForClients } from './listen-for-clients.js';
import type { Logger } from './log.js';
import { Metrics } from './metrics.js';
import { viewsOf } from './metrics-samples.js';
import { firstRoundWithinMs, Monitor } from './monitor.js';
import type { Doubt } from './monitor.js';
import { dataPlaneSettings } from './recovery.js';
import { ResourceLog } from './resource-log.js';
import type { RestartNoteKeeper } from './restart-note.js';
import { routingFor } from './routing.js';
import { ServerSlots } from './server-slots.js';
import { openServiceListeners } from './service-listeners.js';
import type { ServiceListeners } from './service-listeners.js';
import { SessionLog } from './session-log.js';
import type { State } from './state-directory.js';
import { StatusSite } from './status/site.js';
import { logFailover, logVerdict, readinessOf, statusText } from './story.js';
import type { InheritedSockets, Notifier } from './systemd.js';
import { systemTimers } from './timers.js';
import { Watchdog } from './watchdog.js';

export interface DaemonOptions {
  readonly config: LoadedConfig;
  /** Reads the configuration anew. Throws ConfigError. */
  readonly reload: () => LoadedConfig;
  readonly inherited: InheritedSockets;
  /** Runs already, with the sessions of an earlier process; the daemon's from now on. */
  readonly dataPlane: DataPlane;
  /** What the earlier process has left word of, and this one leaves. */
  readonly note: RestartNoteKeeper;
  /** What is wrong with the configuration that is there, if `config` is an earlier one; else empty. */
  readonly rejected: readonly string[];
  /** What is remembered of the cluster. */
  readonly state: State;
  readonly notifier: Notifier;
  readonly logger: Logger;
  /** Has somebody call stop() and end the process: an administrator wants it. */
  readonly requestStop: () => void;
  /** Of the product. */
  readonly version: string;
}

const STATUS_EVERY_MS = 2000;

/**
 * Starts the service; resolves when it is ready: sockets adopted, workers running, the first probe round over
 * (whatever its result).
 * @throws GatewayError LISTEN_FAILED, STATE_INVALID; nothing is left running then
 */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const daemon = makeDaemon(options);
  try {
    await daemon.start();
  } catch (error) {
    await daemon.stop();
    throw error;
  }
  return daemon;
}

function makeDaemon(options: DaemonOptions): Daemon {
  try {
    return new Daemon(options);
  } catch (error) {
    options.dataPlane.close(WORKERS_STOP_MS);
    throw error;
  }
}

export class Daemon {
  readonly #options: DaemonOptions;
  readonly #logger: Logger;
  readonly #current: CurrentConfig;
  readonly #slots: ServerSlots;
  readonly #dataPlane: DataPlane;
  readonly #memory: ClusterMemory;
  readonly #sessionLog: SessionLog;
  readonly #resourceLog: ResourceLog;
  readonly #monitor: Monitor;
  readonly #failovers: Failovers;
  readonly #metrics: Metrics;
  readonly #watchdog: Watchdog;
  readonly #desk: ControlDesk;
  readonly #site: StatusSite | undefined;
  readonly #backendFailures: BackendFailures;
  #listeners: ServiceListeners | undefined;
  #verdict: Verdict | undefined;
  /** Something speaks against the primary, and it has not answered yet. */
  #suspected = false;
  #epoch = 0;
  /** Of the last primary that this process has proven. */
  #provenEpoch = 0;
  /** A stop waits for sessions. */
  #stopDrains = false;
  #cancelStatus: (() => void) | undefined;
  #stopped: Promise<boolean> | undefined;

  constructor(options: DaemonOptions) {
    const { config, dataPlane, logger, note, notifier, rejected, state, version } = options;
    this.#options = options;
    this.#logger = logger;
    this.#current = new CurrentConfig({ config, rejected, load: options.reload, note, logger });
    this.#dataPlane = dataPlane;
    dataPlane.onBackendFailure = (failure) => {
      this.#backendFailed(failure);
    };
    this.#backendFailures = new BackendFailures(logger, systemTimers);
    this.#resourceLog = new ResourceLog(logger, systemTimers);
    this.#sessionLog = new SessionLog({
      logger,
      take: () => this.#dataPlane.takeSessionEvents(),
      serverName: (slot) => this.#slots.nameOf(slot),
      timers: systemTimers,
    });
    this.#sessionLog.enable(config.logLevel === 'debug');
    this.#memory = new ClusterMemory({ note, logger, timers: systemTimers, ...state });
    this.#slots = new ServerSlots(note.slots);
    this.#epoch = this.#memory.load().epoch;
    this.#failovers = new Failovers({
      lastPrimary: this.#memory.load().primary ?? undefined,
      stats: () => this.#dataPlane.stats(),
      timers: systemTimers,
    });
    this.#assignSlots(config.candidates);
    this.#metrics = new Metrics({
      stats: () => this.#dataPlane.stats(),
      candidates: () =>
        viewsOf(this.#monitor.candidates(), this.#monitor.observations(), this.#verdict, (name) =>
          this.#slots.of(name),
        ),
      epoch: () => this.#epoch,
      maxConnections: () => maxConnectionsOf(this.#current.config),
      state: () => this.#memory.state(),
      configRejected: () => this.#current.rejected.length > 0,
      holding: () => this.#desk.holding,
      draining: () => this.#isDraining(),
      version,
    });
    this.#metrics.recovery(dataPlane.recovery);
    this.#desk = this.#newDesk();
    this.#site = config.metrics.statusPage ? new StatusSite(this.#desk, systemTimers) : undefined;
    this.#monitor = new Monitor({
      candidates: config.candidates,
      probe: config.probe,
      logger,
      store: this.#memory,
      onCandidates: (candidates) => {
        this.#sessionLog.drain(); // while its names are those of the sessions
        this.#assignSlots(candidates);
      },
      onVerdict: (verdict, _, doubt) => {
        this.#decided(verdict, doubt);
      },
      onSuspicion: (suspected) => {
        this.#suspected = suspected;
        if (this.#verdict?.kind === 'primary') this.#route();
      },
      onObservation: (observation) => {
        this.#metrics.observation(observation);
        this.#desk.observed();
      },
    });
    this.#watchdog = new Watchdog({
      intervalMs: notifier.watchdogIntervalMs,
      beats: () => this.#dataPlane.stats().workers.map(({ beat }) => beat),
      ping: () => {
        this.#dataPlane.ping();
      },
      send: () => {
        notifier.watchdog();
      },
      logger,
    });
  }

  async start(): Promise<void> {
    this.#current.warn();
    warnOfTooMany(this.#current.config, this.#logger);
    await this.#openListeners();
    this.#watchdog.start();
    this.#monitor.start();
    this.#options.notifier.starting(firstRoundWithinMs(this.#current.config.probe));
    await this.#monitor.firstRound;
    if (this.#stopped !== undefined) return;
    this.#dataPlane.startAccepting(); // until now clients were in the queues of the listening sockets
    this.#dataPlane.confirmRecovery();
    this.#desk.opened();
    this.#tick();
    this.#options.notifier.ready();
    this.#current.started();
    this.#logger.notice('ready', {
      version: this.#options.version,
      candidates: this.#current.config.candidates.length,
      max_connections: maxConnectionsOf(this.#current.config),
    });
  }

  /** Re-reads the configuration. A bad one is rejected whole and the old one goes on. */
  reload(): ReloadDocument {
    if (this.#stopped !== undefined) {
      return { result: 'rejected', changed: [], waiting_for_restart: [], problems: ['the gateway stops'] };
    }
    const { notifier } = this.#options;
    notifier.reloading();
    try {
      const outcome = this.#current.reload((config, live) => {
        this.#apply(config, live);
      });
      this.#metrics.reloaded(outcome.result);
      return outcome;
    } finally {
      notifier.ready();
    }
  }

  /** Ends every session and thread. Resolves to whether all came to an orderly end in time. Idempotent. */
  stop(): Promise<boolean> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<boolean> {
    this.#options.notifier.stopping();
    this.#cancelStatus?.();
    // A start that fails has sessions of an earlier process at most, which go on in the next one.
    if (this.#desk.accepts && !this.#desk.drained) await this.#drain();
    this.#desk.close();
    await this.#memory.close(); // while the sessions go on
    this.#watchdog.close();
    const { active } = this.#dataPlane.stats();
    const ended = this.#dataPlane.close(WORKERS_STOP_MS);
    this.#sessionLog.close();
    if (!ended) this.#logger.err('a worker thread did not end in time');
    const { kept } = this.#dataPlane.recovery;
    const closed = Promise.all([this.#monitor.close(), this.#listeners?.close()]);
    // The next process takes the sessions up when this one has ended: they wait for nothing else.
    if (!kept) await closed;
    this.#options.notifier.close();
    this.#logger.notice('stopped', kept ? { sessions_kept: active } : { sessions_closed: active });
    return ended;
  }

  async #drain(): Promise<void> {
    const { drainTimeoutMs } = this.#current.config;
    this.#stopDrains = drainTimeoutMs > 0;
    if (this.#stopDrains) this.#tellStatus();
    await drain(this.#dataPlane, drainTimeoutMs, this.#logger);
  }

  /** No new clients are accepted, by an order or by a stop that waits for sessions. */
  #isDraining(): boolean {
    return this.#desk.draining || this.#stopDrains;
  }

  async #openListeners(): Promise<void> {
    const { inherited, logger } = this.#options;
    await listenForClients(this.#dataPlane, inherited.clients, this.#current.config.listen, logger);
    this.#listeners = await openServiceListeners({
      inherited,
      config: this.#current.config,
      metrics: this.#metrics,
      readiness: () => readinessOf(this.#verdict, this.#isDraining()),
      site: this.#site,
      desk: this.#desk,
      logger,
    });
  }

  #newDesk(): ControlDesk {
    const { logger, version, requestStop } = this.#options;
    return new ControlDesk({
      facts: () => ({
        verdict: this.#verdict,
        suspected: this.#suspected,
        candidates: this.#monitor.candidates(),
        observations: this.#monitor.observations(),
        maxConnections: maxConnectionsOf(this.#current.config),
        holdTimeoutMs: this.#current.config.failover.holdTimeoutMs,
        logLevel: this.#current.config.logLevel,
        rejected: this.#current.rejected,
        stateSaved: this.#options.state.directory === undefined || this.#memory.state().saved,
      }),
      dataPlane: this.#dataPlane,
      slots: this.#slots,
      reload: () => this.reload(),
      setLogLevel: (logLevel) => {
        this.#configureDataPlane({ ...this.#current.config, logLevel });
      },
      onHold: () => {
        this.#holdChanged();
      },
      onDrain: () => {
        this.#tellStatus();
      },
      stop: requestStop,
      logger,
      timers: systemTimers,
      version,
    });
  }

  #holdChanged(): void {
    // Who has waited for longer than he may from now on is sent to the primary first, if there is one.
    if (!this.#desk.holding) this.#route();
    this.#configureDataPlane(this.#current.config);
    if (this.#desk.holding) this.#route();
    this.#tellStatus();
  }

  #apply(applied: Config, live: readonly string[]): void {
    if (live.includes('sessions.max_connections')) warnOfTooMany(applied, this.#logger);
    this.#configureDataPlane(applied);
    this.#monitor.reconfigure(applied.candidates, applied.probe);
    // What is cut, and whether clients wait while the primary is suspected, are settings too.
    this.#route();
  }

  /** What is told to the data plane, and the log level. */
  #configureDataPlane(config: Config): void {
    this.#current.set(config);
    this.#sessionLog.drain(); // while the level is that of the sessions
    this.#logger.setLevel(config.logLevel);
    this.#dataPlane.configure(this.#settings(config));
    this.#sessionLog.enable(config.logLevel === 'debug');
  }

  #settings(config: Config): DataPlaneSettings {
    return { ...dataPlaneSettings(config), holdTimeoutMs: this.#desk.holdTimeoutMs(config.failover.holdTimeoutMs) };
  }

  #decided(verdict: Verdict, doubt: Doubt): void {
    const previous = this.#verdict;
    const decidedAt = systemTimers.now();
    this.#verdict = verdict;
    if (verdict.kind === 'primary') this.#epoch = this.#provenEpoch = verdict.epoch;
    const outcome = this.#failovers.decided(verdict, doubt);
    this.#route();
    this.#desk.decided(verdict, doubt, outcome, decidedAt);
    this.#metrics.verdict(verdict, outcome);
    logVerdict(this.#logger, {
      verdict,
      previous,
      lastPrimary: outcome.lastPrimary,
      candidates: this.#monitor.candidates(),
      observations: this.#monitor.observations(),
    });
    if (outcome.failover !== undefined) logFailover(this.#logger, outcome.failover);
    this.#tellStatus();
  }

  /** By the present verdict; until there is one nobody is told anything. */
  #route(): void {
    if (this.#verdict === undefined) return;
    const { route, cut } = routingFor(this.#verdict, {
      ...this.#current.config.failover,
      provenEpoch: this.#provenEpoch,
      suspected: this.#suspected,
      holding: this.#desk.holding,
      slotOf: (name) => this.#slots.of(name),
    });
    this.#dataPlane.setRoute(route, cut);
  }

  #backendFailed(failure: BackendFailure): void {
    const counts = this.#backendFailures.observe(failure, this.#slots.nameOf(failure.server));
    // One of a route that is no more says nothing about the present one.
    if (counts && failure.epoch === this.#epoch) this.#monitor.triggerRound('a backend connection failed');
  }

  #assignSlots(candidates: readonly Candidate[]): void {
    // At the start the workers may not have counted yet what they took up: no slot is given to another server.
    const allInUse = this.#verdict === undefined && this.#dataPlane.recovery.recovered > 0;
    const sessions = new Map(this.#dataPlane.stats().servers.map(({ server, sessions }) => [server, sessions]));
    const names = candidates.map(({ name }) => name);
    this.#slots.assign(names, (slot) => allInUse || (sessions.get(slot) ?? 0) > 0);
    this.#options.note.saveSlots(this.#slots.entries());
  }

  /** The service manager. */
  #tellStatus(): void {
    const text = statusText(this.#verdict, {
      sessions: this.#dataPlane.stats().active,
      holding: this.#desk.holding,
      draining: this.#isDraining(),
      rejected: this.#current.rejected.length > 0,
    });
    this.#options.notifier.status(text);
  }

  #tick(): void {
    this.#dataPlane.ping();
    const stats = this.#dataPlane.stats();
    this.#resourceLog.observe(stats);
    this.#desk.counted(stats);
    this.#site?.observe(stats);
    this.#tellStatus();
    this.#cancelStatus = systemTimers.after(STATUS_EVERY_MS, () => {
      this.#tick();
    });
  }
}
