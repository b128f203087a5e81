// SPDX-License-Identifier: MIT
// Sessions of an earlier process go on before anything else is done: the data plane
// is opened with what came back from the service manager as soon as the
// configuration is known, and only then is the rest of the program loaded. Where the
// addon was loaded ahead of Node they go on already (native/early_start.h).
//
// A configuration that cannot be used is refused as it is by a reload: they go on, and
// new ones come, by that of the process before, which is in its note.

import { ConfigError } from './config.js';
import type { Config, GivenSetting, LoadedConfig } from './config-types.js';
import { MAX_EPOCH, openDataPlane, reopenDataPlane, WORKERS_STOP_MS } from './dataplane.js';
import type { DataPlane, DataPlaneSettings } from './dataplane.js';
import { descriptorShare, maxConnectionsOf } from './descriptor-limit.js';
import type { Logger } from './log.js';
import { decodeNote, RestartNoteKeeper } from './restart-note.js';
import type { InheritedSockets } from './systemd.js';

/** What of the configuration the data plane is told, at the start and with each reload. */
export function dataPlaneSettings(config: Config): DataPlaneSettings {
  const { probe, tcp, failover, maxConnectionsPerClient, maxConnectionRate, logLevel } = config;
  return {
    connectTimeoutMs: probe.connectTimeoutMs,
    tcp,
    holdTimeoutMs: failover.holdTimeoutMs,
    maxHeld: failover.maxHeld,
    releaseRate: failover.releaseRate,
    maxConnections: maxConnectionsOf(config),
    maxConnectionsPerClient,
    maxConnectionRate,
    descriptors: descriptorShare().bounds,
    logSessions: logLevel === 'debug',
  };
}

export interface BeginOptions {
  /** Throws ConfigError. */
  readonly load: () => LoadedConfig;
  /** What it was of which this is left. Throws ConfigError. */
  readonly restore: (left: readonly GivenSetting[]) => LoadedConfig;
  readonly inherited: InheritedSockets;
  /** $NOTIFY_SOCKET: the service manager, in whose store sessions outlive this process. */
  readonly notifySocket: string | undefined;
}

export interface Beginning {
  readonly config: LoadedConfig;
  /** Runs; sessions of an earlier process go on. */
  readonly dataPlane: DataPlane;
  /** What is wrong with the configuration that was found, if `config` is that of an earlier process. */
  readonly rejected: ConfigError | undefined;
}

/**
 * Reads the configuration and starts the workers.
 * @throws GatewayError CONFIG_INVALID, CONFIG_UNREADABLE, DATAPLANE_LOAD, DATAPLANE_START
 */
export function begin({ load, restore, inherited, notifySocket }: BeginOptions): Beginning {
  const hasManager = notifySocket !== undefined && notifySocket !== '';
  const keeping = { ...(hasManager ? { notifySocket } : {}), stored: inherited.stored };
  let rejected: ConfigError;
  try {
    const config = load();
    const dataPlane = openDataPlane({ workers: config.workers, ...dataPlaneSettings(config), keeping });
    return { config, dataPlane, rejected: undefined };
  } catch (error) {
    if (!(error instanceof ConfigError) || inherited.stored.length === 0) throw error;
    rejected = error;
  }
  const dataPlane = reopenDataPlane(keeping);
  const config = configBefore(dataPlane, restore);
  if (config === undefined) {
    dataPlane.close(WORKERS_STOP_MS);
    throw rejected;
  }
  dataPlane.configure(dataPlaneSettings(config));
  return { config, dataPlane, rejected };
}

/** By which the process before went, if it has left that and it is still good. */
function configBefore({ recovery: { note } }: DataPlane, restore: BeginOptions['restore']): LoadedConfig | undefined {
  const settings = note === undefined ? undefined : decodeNote(note)?.settings;
  try {
    return settings === undefined ? undefined : restore(settings);
  } catch (error) {
    if (error instanceof ConfigError) return undefined;
    throw error;
  }
}

/** Says what became of the sessions of an earlier process; what is known of them, and where it is kept from now on. */
export function noteOf(dataPlane: DataPlane, logger: Logger): RestartNoteKeeper {
  const { kept, recovered, cut, notWhole, missing, bytesInPipes, ms, problem, note: text } = dataPlane.recovery;
  const { givenUp } = dataPlane.recovery;
  const found = text === undefined ? undefined : decodeNote(text);
  if (givenUp !== undefined) {
    const why = 'the processes that took them up crashed, one after the other';
    logger.err(`the sessions of an earlier process were given up: ${why}`, { code: 'RECOVERY_GIVEN_UP', ...givenUp });
  }
  if (text !== undefined && found === undefined) {
    // Nobody can say where they belong: they must not go on.
    dataPlane.setRoute(null, { belowEpoch: MAX_EPOCH, reason: 'superseded' });
    logger.warning('sessions of an earlier process were ended: what it left of them was not understood', {
      sessions: recovered,
    });
  } else if (recovered + cut + notWhole + missing > 0) {
    const message = 'sessions of an earlier process taken up';
    const counts = { recovered, cut, not_whole: notWhole, missing };
    const fields = { ...counts, bytes_in_pipes: bytesInPipes, ms: ms.toFixed(1) };
    if (notWhole + missing > 0) logger.warning(message, fields);
    else logger.notice(message, fields);
  }
  if (problem !== undefined) {
    const what = kept ? 'sessions of an earlier process were ended' : 'sessions will end with this process';
    logger.warning(what, { reason: problem });
  }
  return new RestartNoteKeeper(found, (note, cut) => {
    dataPlane.writeNote(note, cut ?? undefined);
  });
}
