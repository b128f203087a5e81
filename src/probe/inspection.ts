// SPDX-License-Identifier: MIT
// One look at one candidate, for a check of the configuration: the connection and the
// question of a probe, once, and then more than a probe would ask. Never rejects.

import { isIP } from 'node:net';

import type { Timers } from '../timers.js';
import { openConnection } from './connection.js';
import type { ConnectionTarget, ProbeConnection, Progress } from './connection.js';
import { startDeadline } from './deadline.js';
import { faultOf, ProbeFault } from './failure.js';
import type { Observation } from './observation.js';
import { lateAnswer, lateConnection } from './prober.js';
import type { ServerDetails } from './server-details.js';
import type { Encryption } from './tls.js';

export interface Inspection {
  /** What the probe saw, as the monitor would have it. */
  readonly observation: Observation;
  /** Where the probe failed by what the server said; undefined: it did not, or said nothing. */
  readonly refusal?: Refusal;
  /** Of the error of this machine that made it fail, as in ECONNREFUSED or CERT_HAS_EXPIRED; undefined: there was none. */
  readonly errorCode?: string;
  /** Undefined: there was no log-in. */
  readonly session?: Session;
}

/** An ErrorResponse ("55.8. Error and Notice Message Fields" in the PostgreSQL manual). */
export interface Refusal {
  readonly sqlState: string;
  /** The function of the server that said it, in no language: what tells a missing line of pg_hba.conf from a role. */
  readonly routine: string | undefined;
  /** It came instead of an answer to a query, not to the log-in. */
  readonly toQuery: boolean;
  /** Where the server says that the connection came from. */
  readonly clientAddress: string | undefined;
}

export interface Session {
  /** How long look-up, connection and log-in took, milliseconds. */
  readonly connectMs: number;
  /** How long the answer to the probe took, milliseconds; undefined: there was none. */
  readonly answerMs?: number;
  readonly encryption: Encryption | undefined;
  /** Undefined: `detailsProblem` says why. */
  readonly details?: ServerDetails | undefined;
  /** The server's clock less this machine's, milliseconds. */
  readonly clockAheadMs?: number;
  /** How far off that may be, milliseconds. */
  readonly clockUncertaintyMs?: number;
  readonly detailsProblem?: string;
}

/**
 * @param wallClock this machine's, milliseconds since 1970
 * @returns after CONNECT_TIMEOUT_MS and twice QUERY_TIMEOUT_MS at most
 */
export async function inspect(target: ConnectionTarget, wallClock: () => number): Promise<Inspection> {
  const { candidate, probe, timers } = target;
  const begun = timers.now();
  const timed = (): { candidate: typeof candidate; at: number; tookMs: number } => {
    const at = timers.now();
    return { candidate, at, tookMs: at - begun };
  };
  let connection: ProbeConnection | undefined;
  let session: Session | undefined;
  try {
    connection = await connect(target);
    const { encryption, address } = connection;
    session = { connectMs: timers.now() - begun, encryption };
    const state = await within(timers, probe.queryTimeoutMs, (signal) => connection?.ask(signal));
    const answerMs = timers.now() - begun - session.connectMs;
    const observation: Observation = { ...timed(), kind: 'answered', address, state };
    session = { ...session, answerMs, ...(await askDetails(connection, target, wallClock)) };
    return { observation, session };
  } catch (error) {
    const fault = faultOf(error, 'query');
    const observation: Observation = { ...timed(), kind: 'failed', reason: fault.reason, detail: fault.message };
    const refusal = refusalOf(fault, session !== undefined);
    const errorCode = refusal === undefined ? codeOf(fault) : undefined;
    return {
      observation,
      ...(refusal === undefined ? {} : { refusal }),
      ...(errorCode === undefined ? {} : { errorCode }),
      ...(session === undefined ? {} : { session }),
    };
  } finally {
    await connection?.close();
  }
}

async function connect(target: ConnectionTarget): Promise<ProbeConnection> {
  const { probe, timers } = target;
  const progress: Progress = { stage: 'lookup' };
  const outer = new AbortController().signal;
  const late = (): ProbeFault => lateConnection(progress, probe.connectTimeoutMs);
  const deadline = startDeadline(timers, probe.connectTimeoutMs, outer, late);
  try {
    return await openConnection(target, deadline.signal, progress);
  } finally {
    deadline.close();
  }
}

type Details = Pick<Session, 'details' | 'clockAheadMs' | 'clockUncertaintyMs' | 'detailsProblem'>;

/** What a probe does not need must not make one of a server that answers fail. */
async function askDetails(
  connection: ProbeConnection,
  { probe, timers }: ConnectionTarget,
  wallClock: () => number,
): Promise<Details> {
  const asked = timers.now();
  const before = wallClock();
  try {
    const details = await within(timers, probe.queryTimeoutMs, (signal) => connection.askDetails(signal));
    const tookMs = timers.now() - asked;
    return { details, clockAheadMs: details.clock - (before + tookMs / 2), clockUncertaintyMs: tookMs / 2 };
  } catch (error) {
    return { detailsProblem: faultOf(error, 'query').message };
  }
}

async function within<T>(
  timers: Timers,
  ms: number,
  work: (signal: AbortSignal) => Promise<T> | undefined,
): Promise<T> {
  const deadline = startDeadline(timers, ms, new AbortController().signal, () => lateAnswer(ms));
  try {
    const result = await work(deadline.signal);
    if (result === undefined) throw new ProbeFault('broken', 'there is no connection');
    return result;
  } finally {
    deadline.close();
  }
}

/** The last thing that the server said. (Without TLS, where "prefer" has tried both.) */
export function refusalOf(fault: ProbeFault, toQuery: boolean): Refusal | undefined {
  const { sqlState } = fault;
  if (sqlState === undefined) return undefined;
  return { sqlState, routine: causeField(fault, 'routine'), toQuery, clientAddress: addressIn(fault.message) };
}

function codeOf(fault: ProbeFault): string | undefined {
  return causeField(fault, 'code');
}

/** The first text of this name in the error or in what caused it. */
function causeField(fault: ProbeFault, name: 'routine' | 'code'): string | undefined {
  for (let error: unknown = fault; error instanceof Error; error = error.cause) {
    const value: unknown = Reflect.get(error, name);
    if (typeof value === 'string') return value;
  }
  return undefined;
}

/** The messages about pg_hba.conf name it, in quotes of whatever language. */
function addressIn(message: string): string | undefined {
  return message.split(/[^0-9a-fA-F.:]+/).find((word) => isIP(word) !== 0 && word.length > 2);
}
