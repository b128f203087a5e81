// SPDX-License-Identifier: MIT
// Sessions of an earlier process go on before anything else is done: the data plane
// is opened with what came back from the service manager as soon as the
// configuration is known, and only then is the rest of the program loaded. Where the
// addon was loaded ahead of Node they go on already (native/early_start.h).

import type { Config } from './config-types.js';
import { MAX_EPOCH, openDataPlane } from './dataplane.js';
import type { DataPlane, DataPlaneSettings } from './dataplane.js';
import { descriptorShare, maxConnectionsOf } from './descriptor-limit.js';
import type { Logger } from './log.js';
import { decodeNote, RestartNoteKeeper } from './restart-note.js';
import type { InheritedSockets } from './systemd.js';

/** What of the configuration the data plane is told, at the start and with each reload. */
export function dataPlaneSettings(config: Config): DataPlaneSettings {
  const { probe, tcp, failover, maxConnectionsPerClient, logLevel } = config;
  return {
    connectTimeoutMs: probe.connectTimeoutMs,
    tcp,
    holdTimeoutMs: failover.holdTimeoutMs,
    maxHeld: failover.maxHeld,
    releaseRate: failover.releaseRate,
    maxConnections: maxConnectionsOf(config),
    maxConnectionsPerClient,
    descriptors: descriptorShare().bounds,
    logSessions: logLevel === 'debug',
  };
}

/**
 * Starts the workers; sessions of an earlier process go on at once.
 * @param notifySocket $NOTIFY_SOCKET: the service manager, in whose store sessions outlive this process
 * @throws GatewayError DATAPLANE_LOAD, DATAPLANE_START
 */
export function resumeSessions(config: Config, inherited: InheritedSockets, notifySocket?: string): DataPlane {
  const keeping = { ...(notifySocket === undefined ? {} : { notifySocket }), stored: inherited.stored };
  return openDataPlane({ workers: config.workers, ...dataPlaneSettings(config), keeping });
}

/** Says what became of the sessions of an earlier process; what is known of them, and where it is kept from now on. */
export function noteOf(dataPlane: DataPlane, logger: Logger): RestartNoteKeeper {
  const { kept, recovered, cut, notWhole, missing, bytesInPipes, ms, problem, note: text } = dataPlane.recovery;
  const found = text === undefined ? undefined : decodeNote(text);
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
