// SPDX-License-Identifier: MIT
// The report of a check: comments, so that all that `--check-config` prints is one
// file of TOML that would give the same configuration. Pure.
//
// Lines are as long as they are: who reads one by a program finds it whole.

import { formatHostPort } from '../candidates.js';
import { oneLine } from '../config-problems.js';
import type { Verdict } from '../election.js';
import type { Session } from '../probe/inspection.js';
import type { Observation, ServerState } from '../probe/observation.js';
import type { Inspected, ProbeFacts } from './facts.js';
import type { Finding } from './finding.js';
import type { Entry } from './plan.js';

export function planText(entries: readonly Entry[]): string {
  return section('What the gateway does with it:', entriesLines(entries));
}

/** What the servers say, and what follows. */
export function probeText({ inspected, verdict }: ProbeFacts): string {
  const entries = inspected.map((one): Entry => [one.candidate.name, serverLines(one)]);
  return section('What the servers say:', entriesLines([...entries, ['verdict', [verdictText(verdict)]]]));
}

export function findingsText(findings: readonly Finding[]): string {
  const of = (level: Finding['level']): readonly Finding[] => findings.filter((finding) => finding.level === level);
  const warnings = of('warning');
  const notes = of('note');
  if (findings.length === 0) return section('Nothing speaks against it.', []);
  const title = [counted(warnings.length, 'warning'), counted(notes.length, 'note')]
    .filter((text) => text !== '')
    .join(', ');
  return section(`${title}:`, [...warnings, ...notes].flatMap(findingLines));
}

function findingLines({ level, about, what, fix, lines = [] }: Finding): readonly string[] {
  const subject = about === '' ? '' : `${about}: `;
  const end = /[:;]$/.test(fix) ? fix : `${fix}.`;
  return [`${level}: ${subject}${what}.`, `    Remedy: ${end}`, ...lines.map((line) => `        ${line}`)];
}

function serverLines({ inspection: { observation, session } }: Inspected): readonly string[] {
  if (observation.kind === 'failed') {
    const { reason, detail, tookMs } = observation;
    return [`no answer after ${milliseconds(tookMs)} (${reason}): ${detail}`];
  }
  return [stateText(observation), ...(session === undefined ? [] : [sessionText(session)])];
}

function stateText({ state, address }: Extract<Observation, { kind: 'answered' }>): string {
  const where = formatHostPort(address.address, address.port);
  return `${roleOf(state)}, timeline ${String(state.timeline)}, system identifier ${state.systemId}, at ${where}`;
}

function roleOf({ inRecovery, readOnly, streaming }: ServerState): string {
  if (!inRecovery) return readOnly ? 'out of recovery, but read-only' : 'primary';
  return streaming === true ? 'standby, streaming' : 'standby';
}

function sessionText({ connectMs, answerMs = 0, encryption, details }: Session): string {
  const version = details === undefined ? '' : `PostgreSQL ${details.version}, `;
  const chain = encryption?.chainVerified === true ? 'verified' : 'not verified';
  const until =
    encryption?.validUntil === undefined ? '' : ` until ${new Date(encryption.validUntil).toISOString().slice(0, 10)}`;
  const tls = encryption === undefined ? 'not encrypted' : `${encryption.protocol}, certificate${until} ${chain}`;
  return `${version}logged in after ${milliseconds(connectMs)}, answered in ${milliseconds(answerMs)}, ${tls}`;
}

function verdictText(verdict: Verdict): string {
  return verdict.kind === 'primary' ? verdict.detail : `no primary (${verdict.reason}): ${verdict.detail}`;
}

function milliseconds(ms: number): string {
  return `${ms.toFixed(1)} ms`;
}

function counted(count: number, what: string): string {
  if (count === 0) return '';
  return `${String(count)} ${what}${count === 1 ? '' : 's'}`;
}

/** The terms in one column, what is said of them in another. */
function entriesLines(entries: readonly Entry[]): readonly string[] {
  const width = Math.max(...entries.map(([term]) => term.length)) + 2;
  return entries.flatMap(([term, lines]) =>
    lines.map((line, index) => `${(index === 0 ? term : '').padEnd(width)}${line}`),
  );
}

function section(title: string, lines: readonly string[]): string {
  const all = ['', title, ...lines.map((line) => `  ${line}`)].map((line) => (line === '' ? '' : `# ${oneLine(line)}`));
  return `${all.join('\n')}\n`;
}
