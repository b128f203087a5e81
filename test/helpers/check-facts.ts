// SPDX-License-Identifier: MIT
// What a check of the configuration has gathered, made up: nothing is looked up and
// nobody is asked.

import type { Inspected, LocalFacts } from '#src/check/facts.js';
import type { LoadedConfig, ProbeConfig } from '#src/config.js';
import type { Inspection, Refusal, Session } from '#src/probe/inspection.js';
import type { Observation, ProbeFailureReason } from '#src/probe/observation.js';
import type { ServerDetails } from '#src/probe/server-details.js';
import { ConfigMachine } from './config-input.js';
import { failed, primary } from './observations.js';

/** 2026-11-30 */
export const NOW = Date.UTC(2026, 10, 30);
export const DAY_MS = 86_400_000;

/** The configuration of an environment, with other settings of the probes where tests need what no file has. */
export function configOf(env: NodeJS.ProcessEnv = {}, probe: Partial<ProbeConfig> = {}): LoadedConfig {
  const machine = new ConfigMachine();
  try {
    const config = machine.load({ CANDIDATES: 'a', PGUSER: 'probe', ...env });
    return { ...config, probe: { ...config.probe, ...probe } };
  } finally {
    machine.close();
  }
}

export function localFacts(config: LoadedConfig, facts: Partial<LocalFacts> = {}): LocalFacts {
  return {
    config,
    names: new Map(),
    candidates: config.candidates,
    leftOut: [],
    openFiles: 1024,
    clientsThatFit: 320,
    certificates: [],
    service: undefined,
    ownFiles: new Map(),
    hiddenFiles: new Map(),
    hiddenSources: [],
    passwordIsExposed: false,
    now: NOW,
    ...facts,
  };
}

export const DETAILS: ServerDetails = {
  version: '15.18',
  maxConnections: 500,
  reservedConnections: 3,
  superuser: false,
  readsStatistics: true,
  passwordUntil: null,
  clientAddress: '192.0.2.1',
  clock: NOW,
  port: 5432,
};

export const SESSION: Session = {
  connectMs: 3,
  answerMs: 1,
  encryption: { protocol: 'TLSv1.3', chainVerified: true, validUntil: NOW + 100 * DAY_MS },
  details: DETAILS,
  clockAheadMs: 0,
  clockUncertaintyMs: 1,
};

/** One that answered. */
export function answeredWith(session: Partial<Session>, observation: Observation = primary('a', 1)): Inspected {
  return inspected({ observation, session: { ...SESSION, ...session } });
}

/** One that did not. */
export function failedBy(
  reason: ProbeFailureReason,
  rest: { detail?: string; refusal?: Partial<Refusal>; errorCode?: string } = {},
): Inspected {
  const { detail = 'as the test says', refusal, errorCode } = rest;
  const observation: Observation = { ...failed('a', reason), kind: 'failed', reason, detail };
  return inspected({
    observation,
    ...(refusal === undefined
      ? {}
      : { refusal: { sqlState: '', routine: undefined, toQuery: false, clientAddress: undefined, ...refusal } }),
    ...(errorCode === undefined ? {} : { errorCode }),
  });
}

function inspected(inspection: Inspection): Inspected {
  const { candidate } = inspection.observation;
  return { candidate, inspection, source: { address: '192.0.2.1', toldBy: 'server' } };
}
