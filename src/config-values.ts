// SPDX-License-Identifier: MIT
// A configuration turned back into settings: key -> value. Pure.

import { MASKED_VALUE } from './config-problems.js';
import { SETTINGS } from './config-schema.js';
import type { Given } from './config-sources.js';
import type { Config, EffectiveSetting, SettingValue } from './config-types.js';

/** Every setting's value, in the units of the files. Secrets are in it, unmasked. */
export function settingValues(config: Config): ReadonlyMap<string, SettingValue | undefined> {
  const { listen, metrics, control, failover, probe } = config;
  return new Map<string, SettingValue | undefined>([
    ['candidates', config.candidates.map(({ name }) => name)],
    ['state_directory', config.stateDirectory],
    ['listen.host', listen.host],
    ['listen.port', listen.port],
    ['sessions.workers', config.workers],
    ['sessions.max_connections', config.maxConnections ?? 'auto'],
    ['sessions.max_connections_per_client', config.maxConnectionsPerClient],
    ['sessions.max_connection_rate', config.maxConnectionRate],
    ['sessions.tcp_keepalive', config.tcp.keepalive],
    ['sessions.tcp_keepalives_idle', config.tcp.keepalivesIdleS],
    ['sessions.tcp_keepalives_interval', config.tcp.keepalivesIntervalS],
    ['sessions.tcp_keepalives_count', config.tcp.keepalivesCount],
    ['sessions.tcp_user_timeout', config.tcp.userTimeoutMs],
    ['sessions.drain_timeout_ms', config.drainTimeoutMs],
    ['failover.hold_timeout_ms', failover.holdTimeoutMs],
    ['failover.max_held', failover.maxHeld],
    ['failover.release_rate', failover.releaseRate],
    ['failover.cut_policy', failover.cutPolicy],
    ['probe.user', probe.user],
    ['probe.password', probe.password],
    ['probe.passfile', probe.passfile],
    ['probe.database', probe.database],
    ['probe.connect_timeout_ms', probe.connectTimeoutMs],
    ['probe.query_timeout_ms', probe.queryTimeoutMs],
    ['probe.check_every', probe.checkEveryMs / 1000],
    ['probe.sslmode', probe.tls.mode],
    ['probe.sslrootcert', probe.tls.rootCert],
    ['probe.sslcert', probe.tls.cert],
    ['probe.sslkey', probe.tls.key],
    ['metrics.host', metrics.host],
    ['metrics.port', metrics.port],
    ['metrics.status_page', metrics.statusPage],
    ['control.socket', control.socket],
    ['log.level', config.logLevel],
  ]);
}

/** Every setting with the source of its value, secrets masked. */
export function effectiveSettings(config: Config, given: ReadonlyMap<string, Given>): readonly EffectiveSetting[] {
  const values = settingValues(config);
  return SETTINGS.map(({ key, secret }) => {
    const value = values.get(key);
    const masked = secret && value !== undefined;
    return { key, value: masked ? MASKED_VALUE : value, masked, from: given.get(key)?.from ?? 'default' };
  });
}
