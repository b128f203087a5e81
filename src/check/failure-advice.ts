// SPDX-License-Identifier: MIT
// A candidate that did not answer: what that means and what mends it. Pure.

import type { LoadedConfig } from '../config.js';
import type { Refusal } from '../probe/inspection.js';
import type { InstalledService } from '../installed-service.js';
import type { ProbeFailureReason } from '../probe/observation.js';
import type { Inspected } from './facts.js';
import type { Finding } from './finding.js';
import { hbaLine, quotedInSql } from './hba.js';

type Advice = Pick<Finding, 'what' | 'fix' | 'lines'>;

/**
 * Undefined: it answered.
 * @param service it is judged for, if it is not for who asks
 */
export function failureFinding(
  config: LoadedConfig,
  inspected: Inspected,
  service?: InstalledService,
): Finding | undefined {
  const { observation, refusal } = inspected.inspection;
  if (observation.kind !== 'failed') return undefined;
  const { reason, detail } = observation;
  const advice =
    refusal === undefined
      ? localAdvice(config, inspected, { reason, detail, service })
      : refusalAdvice(config, inspected, reason, refusal);
  return { level: 'warning', about: inspected.candidate.name, ...advice };
}

interface LocalFailure {
  readonly reason: ProbeFailureReason;
  readonly detail: string;
  readonly service: InstalledService | undefined;
}

/** It did not get as far as an answer of the server, or it was this machine that did not go on. */
function localAdvice(config: LoadedConfig, inspected: Inspected, { reason, detail, service }: LocalFailure): Advice {
  const { candidate, inspection } = inspected;
  const { probe } = config;
  switch (reason) {
    case 'dns':
      return {
        what: 'its name cannot be looked up',
        fix: `correct it in candidates, or make ${candidate.host} known to this machine (DNS, /etc/hosts)`,
      };
    case 'refused':
      return {
        what: 'nothing listens there',
        fix: 'start the server, correct the port in candidates, or let it listen at this address (listen_addresses in its postgresql.conf)',
      };
    case 'unreachable':
      return {
        what: 'there is no way to it from here',
        fix: 'look at routes and firewalls between this machine and it (IPAddressAllow= of the service is one)',
      };
    case 'connect_timeout':
      return {
        what: `it has not let the probe in after ${String(probe.connectTimeoutMs)} ms`,
        fix: 'look for a firewall that drops packets, and for the load of the server; if it is only far away, raise probe.connect_timeout_ms (CONNECT_TIMEOUT_MS)',
      };
    case 'query_timeout':
      return {
        what: `it has not answered the probe after ${String(probe.queryTimeoutMs)} ms`,
        fix: 'look at the load of the server, or raise probe.query_timeout_ms (QUERY_TIMEOUT_MS)',
      };
    case 'tls':
      return tlsAdvice(config, inspected, inspection.errorCode, detail);
    case 'auth':
      return credentialAdvice(config, detail, service);
    case 'protocol':
      return {
        what: 'what answers there is no PostgreSQL server',
        fix: 'correct host and port in candidates: expected the server itself, and no web server or monitoring agent',
      };
    default:
      return {
        what: 'the connection did not hold',
        fix: "look into the server's log; something in between (a balancer, a firewall) may have closed it",
      };
  }
}

const CERTIFICATE_EXPIRED: ReadonlySet<string> = new Set(['CERT_HAS_EXPIRED', 'CERT_NOT_YET_VALID']);
const CHAIN_UNKNOWN =
  /^(?:UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|CERT_UNTRUSTED|CERT_SIGNATURE_FAILURE|INVALID_CA$|CERT_CHAIN)/;

function tlsAdvice({ probe }: LoadedConfig, { candidate }: Inspected, code = '', detail: string): Advice {
  if (CERTIFICATE_EXPIRED.has(code)) {
    return {
      what: 'its certificate is not valid at this time',
      fix: 'renew it (ssl_cert_file of the server), and see that the clocks of both machines are right',
    };
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return {
      what: `its certificate is not made out for ${candidate.host}`,
      fix: `name it in candidates as the certificate does, have ${candidate.host} put into the certificate (subjectAltName), or be content with probe.sslmode = "verify-ca"`,
    };
  }
  if (CHAIN_UNKNOWN.test(code)) {
    return {
      what: 'its certificate was signed by nobody who is trusted',
      fix: `put the root certificate that signed it into ${probe.tls.rootCert ?? 'a file'}, and name that file by probe.sslrootcert (PGSSLROOTCERT)`,
    };
  }
  if (detail.startsWith('the server does not encrypt')) {
    return {
      what: `it does not encrypt, and probe.sslmode is "${probe.tls.mode}"`,
      fix: 'let it encrypt (ssl = on and a certificate in its postgresql.conf), or set probe.sslmode = "prefer" (PGSSLMODE)',
    };
  }
  return {
    what: 'there is no TLS between this machine and it',
    fix: 'see that probe.sslrootcert, sslcert and sslkey are what they should be, and that the server speaks TLS 1.2 or later',
  };
}

/** The server asked for what there is not, or must not be used. */
function credentialAdvice(config: LoadedConfig, detail: string, service: InstalledService | undefined): Advice {
  const { user, password, passfile } = config.probe;
  if (user === undefined) return { what: 'there is no user to log in as', fix: 'set probe.user (PGUSER)' };
  if (password === undefined && passfile !== undefined && detail.startsWith(`password file ${passfile}`)) {
    return {
      what: `the password file ${passfile} must not be used, or cannot be read`,
      fix: `let it belong to the user that the gateway runs as, and be closed to all others: chmod 600 ${passfile}`,
    };
  }
  if (password === undefined) {
    return {
      what: 'it asks for a password, and there is none for it',
      fix:
        service === undefined
          ? 'put it into PGPASSWORD or into a password file (probe.passfile); the service has that of /etc/pg-gateway/pgpassword: to judge for it, ask as root'
          : `put it into ${service.passwordFile}, which ${service.unit} has it from; if a drop-in says otherwise (LoadCredential=), set PGPASSWORD for this check`,
    };
  }
  return {
    what: 'the server could not prove that it knows the password',
    fix: `see that the password (${passwordSource(config)}) is that of the role, and that this is the server that is meant`,
  };
}

/** An SQLSTATE ("Appendix A" in the PostgreSQL manual) and the routine of the server say which of its rules it was. */
function refusalAdvice(
  config: LoadedConfig,
  inspected: Inspected,
  reason: ProbeFailureReason,
  refusal: Refusal,
): Advice {
  const { probe } = config;
  const user = quotedInSql(probe.user ?? '');
  const database = quotedInSql(probe.database);
  switch (refusal.sqlState) {
    case '28P01':
      return {
        what: `it does not take the password of ${user}, or has no such role`,
        fix: `see that the password (${passwordSource(config)}) is that of the role, and set it anew if in doubt; where pg_hba.conf says scram-sha-256, one that was stored for md5 has to be set anew too:`,
        lines: ["SET password_encryption = 'scram-sha-256';", `\\password ${user}`],
      };
    case '28000':
      return admissionAdvice(inspected, config, refusal);
    case '3D000':
      return {
        what: `it has no database ${database}`,
        fix: 'name one that all servers have by probe.database (PGDATABASE): "postgres" as a rule',
      };
    case '42501':
      return refusal.toQuery
        ? {
            what: `${user} may not run what the probes ask`,
            fix: `let everybody or ${user} run it again, as PostgreSQL has it, in the database ${database}:`,
            lines: [`GRANT EXECUTE ON FUNCTION ${CONTROL_FUNCTIONS.join(', ')} TO ${user};`],
          }
        : {
            what: `${user} may not connect to the database ${database}`,
            fix: 'let it:',
            lines: [`GRANT CONNECT ON DATABASE ${database} TO ${user};`],
          };
    default:
      return stateAdvice(config, reason);
  }
}

/** Those of the probe that somebody may have taken away from PUBLIC. */
const CONTROL_FUNCTIONS = ['pg_control_system()', 'pg_control_checkpoint()', 'pg_control_recovery()'];

/** 28000 is said of three things, which only the routine tells apart: src/backend/libpq/auth.c, utils/init/miscinit.c. */
function admissionAdvice({ candidate, source }: Inspected, { probe }: LoadedConfig, { routine }: Refusal): Advice {
  const user = quotedInSql(probe.user ?? '');
  if (routine === 'InitializeSessionUserId') {
    return {
      what: `there is no role ${user} that may log in`,
      fix: 'make one on the primary (pg-gateway --print-hba has it with its password), or let it log in:',
      lines: [`CREATE ROLE ${user} LOGIN;`, `ALTER ROLE ${user} LOGIN;`],
    };
  }
  const line = hbaLine(probe, source);
  const place = `to pg_hba.conf of ${candidate.name}, above any that catches the same, then SELECT pg_reload_conf();`;
  if (routine === 'ClientAuthentication' || routine === undefined) {
    return { what: 'its pg_hba.conf does not let the probes in', fix: `add this line ${place}`, lines: [line] };
  }
  return {
    what: 'its pg_hba.conf has a line for the probes that asks for another kind of log-in than theirs',
    fix: `add this line ${place}`,
    lines: [line],
  };
}

function stateAdvice({ probe }: LoadedConfig, reason: ProbeFailureReason): Advice {
  switch (reason) {
    case 'starting':
      return { what: 'it is starting or stopping', fix: 'wait; if it lasts, its log says what it waits for' };
    case 'shutdown':
      return { what: 'it ended the connection', fix: 'try again; its log says who asked for that' };
    case 'too_many':
      return {
        what: 'it has as many connections as it takes',
        fix: 'raise its max_connections, or lower MAX_CONNECTIONS (sessions.max_connections) so far below it that the probes have a place',
      };
    case 'query_timeout':
      return {
        what: `it has not answered the probe after ${String(probe.queryTimeoutMs)} ms`,
        fix: 'look at the load of the server, or raise probe.query_timeout_ms (QUERY_TIMEOUT_MS)',
      };
    default:
      return { what: 'it answered with an error', fix: "look into the server's log for what it means" };
  }
}

function passwordSource({ settings, probe }: LoadedConfig): string {
  const of = (key: string): string => settings.find((setting) => setting.key === key)?.from ?? 'default';
  if (probe.password !== undefined) return of('probe.password');
  return probe.passfile ?? 'none is set';
}
