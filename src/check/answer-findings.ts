// SPDX-License-Identifier: MIT
// A candidate that answered: what of it is not as it should be. Pure.

import { isLoopback } from './loopback.js';
import type { Candidate } from '../candidates.js';
import type { LoadedConfig } from '../config.js';
import type { Session } from '../probe/inspection.js';
import type { ServerDetails } from '../probe/server-details.js';
import type { Inspected, LocalFacts } from './facts.js';
import { expiryText } from './finding.js';
import type { Finding } from './finding.js';
import { quotedInSql } from './hba.js';

type Remark = Omit<Finding, 'about'>;

/** A clock that is as far off as this makes logs of two machines hard to read side by side. */
const CLOCK_TOLERANCE_MS = 2000;
/** A limit of time that was used up to this part in quiet times is too short for others. */
const TIGHT_PART = 0.5;

/** @param clientsThatFit how many clients the limit of open files has room for */
export function answerFindings({ config, clientsThatFit, now }: LocalFacts, inspected: Inspected): readonly Finding[] {
  const { observation, session } = inspected.inspection;
  if (observation.kind !== 'answered' || session === undefined) return [];
  const { details } = session;
  const remarks: readonly (Remark | undefined)[] = [
    ...timingRemarks(config, session),
    isLoopback(observation.address.address) ? undefined : encryptionRemark(config, session),
    certificateRemark(session, now),
    ...(details === undefined
      ? [detailsRemark(session)]
      : [
          portRemark(inspected.candidate, details),
          clockRemark(session),
          connectionsRemark(config, details, clientsThatFit),
          ...roleRemarks(config, details, now),
        ]),
  ];
  return remarks.flatMap((remark) => (remark === undefined ? [] : [{ about: inspected.candidate.name, ...remark }]));
}

function timingRemarks({ probe }: LoadedConfig, { connectMs, answerMs = 0 }: Session): (Remark | undefined)[] {
  const tight = (tookMs: number, what: string, limitMs: number, setting: string): Remark | undefined =>
    tookMs < limitMs * TIGHT_PART
      ? undefined
      : {
          level: 'warning',
          what: `${what} took ${tookMs.toFixed(0)} ms of the ${String(limitMs)} ms that it may`,
          fix: `find out why, or raise ${setting}: a busy moment would look like an outage`,
        };
  return [
    tight(
      connectMs,
      'connecting and logging in',
      probe.connectTimeoutMs,
      'probe.connect_timeout_ms (CONNECT_TIMEOUT_MS)',
    ),
    tight(answerMs, 'the answer', probe.queryTimeoutMs, 'probe.query_timeout_ms (QUERY_TIMEOUT_MS)'),
  ];
}

/** On a loopback address nobody can be in between. */
function encryptionRemark({ probe }: LoadedConfig, { encryption }: Session): Remark | undefined {
  const { mode } = probe.tls;
  const fix =
    'set probe.sslmode = "verify-full" (PGSSLMODE), and probe.sslrootcert to the root certificate of the servers';
  if (encryption === undefined) {
    return {
      level: 'warning',
      what: `the probe was not encrypted (probe.sslmode = "${mode}"): who is in between reads it, and can answer as a primary`,
      fix: `let the server encrypt (ssl = on), and ${fix}`,
    };
  }
  if (encryption.chainVerified) return undefined;
  return {
    level: 'warning',
    what: `its certificate is not verified (probe.sslmode = "${mode}"): who is in between can answer as a primary`,
    fix,
  };
}

function certificateRemark({ encryption }: Session, now: number): Remark | undefined {
  const expiry = encryption?.validUntil === undefined ? undefined : expiryText(encryption.validUntil, now);
  if (expiry === undefined) return undefined;
  return {
    level: 'warning',
    what: `its certificate ${expiry}`,
    fix: 'renew it (ssl_cert_file of the server), then SELECT pg_reload_conf();',
  };
}

function detailsRemark({ detailsProblem = 'no answer' }: Session): Remark {
  return {
    level: 'note',
    what: `more than a probe needs it did not tell: ${detailsProblem}`,
    fix: 'nothing has to be done for the gateway',
  };
}

/** A gateway among its own candidates sends clients round in a circle, until there is no place left. */
function portRemark({ port }: Candidate, details: ServerDetails): Remark | undefined {
  if (details.port === port) return undefined;
  return {
    level: 'note',
    what: `it listens on port ${String(details.port)} by its own word: something passes connections on from port ${String(port)}, a mapping of ports, a proxy, or this gateway itself`,
    fix: 'name the server itself in candidates, unless it is a mapping of ports: a proxy chooses by its own lights, and to the gateway itself clients must never be sent',
  };
}

/** Nothing is decided by comparing the clocks of two machines; certificates and logs have dates. */
function clockRemark({ clockAheadMs, clockUncertaintyMs = 0 }: Session): Remark | undefined {
  if (clockAheadMs === undefined || Math.abs(clockAheadMs) - clockUncertaintyMs < CLOCK_TOLERANCE_MS) return undefined;
  const seconds = (Math.abs(clockAheadMs) / 1000).toFixed(Math.abs(clockAheadMs) < 10_000 ? 1 : 0);
  return {
    level: 'warning',
    what: `its clock is ${seconds} s ${clockAheadMs > 0 ? 'ahead of' : 'behind'} this machine's: log lines of the two do not go together, and certificates may be valid on one alone`,
    fix: 'let both keep time (chrony, systemd-timesyncd): timedatectl tells whether they do',
  };
}

/** What the gateway lets in beyond the places of the server is told so by the server, after a connection for each. */
function connectionsRemark(
  { maxConnections }: LoadedConfig,
  { maxConnections: serverMost, reservedConnections }: ServerDetails,
  clientsThatFit: number,
): Remark | undefined {
  const places = serverMost - reservedConnections;
  if ((maxConnections ?? clientsThatFit) < places) return undefined;
  const of = `it has places for ${String(places)} clients (max_connections = ${String(serverMost)}, ${String(reservedConnections)} of them reserved), and each probe takes one`;
  const setting = `sessions.max_connections (MAX_CONNECTIONS) to ${String(Math.max(1, places - 1))} or less`;
  if (maxConnections === undefined) {
    return {
      level: 'note',
      what: `${of}: clients beyond that are turned away by the server, and not by the gateway, whose limit is "auto"`,
      fix: `set ${setting} to turn them away sooner, and to keep a place for the probe`,
    };
  }
  return {
    level: 'warning',
    what: `${of}, but the gateway lets ${String(maxConnections)} in`,
    fix: `set ${setting}, or raise max_connections of the server`,
  };
}

function roleRemarks({ probe }: LoadedConfig, details: ServerDetails, now: number): (Remark | undefined)[] {
  const user = quotedInSql(probe.user ?? '');
  const expiry = details.passwordUntil === null ? undefined : expiryText(details.passwordUntil, now);
  return [
    expiry === undefined
      ? undefined
      : {
          level: 'warning',
          what: `the password of ${user} ${expiry}`,
          fix: 'set a new one, or let it be valid for ever:',
          lines: [`ALTER ROLE ${user} VALID UNTIL 'infinity';`],
        },
    details.superuser
      ? {
          level: 'note',
          what: `the probes log in as a superuser, ${user}, whose password is worth more than theirs has to be`,
          fix: 'make a role of their own: pg-gateway --print-hba has it',
        }
      : undefined,
    details.superuser || details.readsStatistics
      ? undefined
      : {
          level: 'note',
          what: `${user} may not see what a standby streams, by which a gateway without memory tells an old primary`,
          fix: 'let it see that:',
          lines: [`GRANT pg_read_all_stats TO ${user};`],
        },
  ];
}
