// SPDX-License-Identifier: MIT
// The commands of pg-gatewayctl: each asks, prints, and tells the exit status.

import type {
  DrainDocument,
  FailoversDocument,
  Health,
  HoldDocument,
  KillDocument,
  LogLevelDocument,
  ReloadDocument,
  SessionsDocument,
  StatusDocument,
  VersionDocument,
} from '../control/documents.js';
import { GatewayError } from '../errors.js';
import type { ErrorCode } from '../errors.js';
import { moment, plural, safe } from '../readable.js';
import type { CtlCommand } from './arguments.js';
import type { Client } from './client.js';
import { drainLine, waitForDrain } from './drain.js';
import { CTL_CRITICAL, CTL_OK, CTL_WARNING } from './exit.js';
import { failoversLines, sessionsLines, statusLines } from './render.js';
import type { Paint } from './text.js';

export interface Terminal {
  /** Lines for standard output. */
  readonly print: (lines: readonly string[]) => void;
  /** For standard error: what went on, or wrong. */
  readonly complain: (line: string) => void;
  readonly paint: Paint;
  /** Print documents instead of words. */
  readonly json: boolean;
  readonly version: string;
}

const STATUS_EXIT: Readonly<Record<Health, number>> = { ok: CTL_OK, warning: CTL_WARNING, critical: CTL_CRITICAL };

/** The exit status. Rejects with a GatewayError if it cannot ask, or was not understood. */
export async function runCommand(command: CtlCommand, client: Client, terminal: Terminal): Promise<number> {
  const show = (document: object, lines: () => readonly string[]): void => {
    terminal.print(terminal.json ? [JSON.stringify(document, null, 2)] : lines());
  };
  const style = { paint: terminal.paint, nowMs: new Date().getTime() };
  switch (command.name) {
    case 'status': {
      const status = await client.get<StatusDocument>('/v1/status');
      show(status, () => statusLines(status, style));
      return STATUS_EXIT[status.health];
    }
    case 'sessions': {
      const sessions = await client.get<SessionsDocument>(`/v1/sessions${command.query}`);
      show(sessions, () => sessionsLines(sessions, style));
      return CTL_OK;
    }
    case 'failovers': {
      const failovers = await client.get<FailoversDocument>('/v1/failovers');
      show(failovers, () => failoversLines(failovers));
      return CTL_OK;
    }
    case 'version': {
      const gateway = await client.get<VersionDocument>('/v1/version');
      const document = { gateway, pg_gatewayctl: terminal.version };
      show(document, () => [
        `pg-gateway ${safe(gateway.version)}, process ${gateway.pid}, node ${safe(gateway.node)}`,
        `pg-gatewayctl ${terminal.version}`,
      ]);
      return CTL_OK;
    }
    case 'kill':
      return kill(await client.post<KillDocument>('/v1/kill', { ids: command.ids }), terminal, show);
    case 'hold': {
      const hold = await client.post<HoldDocument>('/v1/hold', { seconds: command.seconds });
      show(hold, () => [`New clients wait until "release", or until ${moment(hold.until)}. Sessions go on.`]);
      return CTL_OK;
    }
    case 'release': {
      const answer = await client.post<{ readonly released: boolean }>('/v1/release', {});
      show(answer, () => [answer.released ? 'Clients are no longer held.' : 'There was no hold.']);
      return CTL_OK;
    }
    case 'drain': {
      const { seconds, exit } = command;
      const drain = await client.post<DrainDocument>('/v1/drain', { seconds, exit });
      if (!terminal.json) terminal.complain(`No new clients are accepted. Waiting until ${moment(drain.until)}.`);
      const result = await waitForDrain(client, seconds, exit, (left) => {
        if (!terminal.json) terminal.complain(plural(left, 'session'));
      });
      show(result, () => [drainLine(result)]);
      return result.drained ? CTL_OK : CTL_WARNING;
    }
    case 'reload': {
      const reload = await client.post<ReloadDocument>('/v1/reload', {});
      show(reload, () => reloadLines(reload));
      return reload.result === 'ok' ? CTL_OK : CTL_WARNING;
    }
    case 'log-level': {
      const answer = await client.post<LogLevelDocument>('/v1/log-level', { level: command.level });
      show(answer, () => [`The log level is ${answer.level} until the next reload; it was ${answer.before}.`]);
      return CTL_OK;
    }
    case 'top': {
      if (terminal.json) throw new GatewayError('USAGE', '--json: not with top');
      // Nobody else should wait for it to load.
      const { runTop } = await import('./top.js');
      return runTop({ client, everyMs: command.everyMs, paint: terminal.paint });
    }
  }
}

function kill(
  document: KillDocument,
  terminal: Terminal,
  show: (document: object, lines: () => readonly string[]) => void,
): number {
  const { killed, unknown } = document;
  show(document, () => [`${plural(killed.length, 'session')} ended.`]);
  if (unknown.length === 0) return CTL_OK;
  const code: ErrorCode = 'SESSION_UNKNOWN';
  terminal.complain(`${code}: there is no session ${unknown.join(', ')}`);
  return CTL_WARNING;
}

function reloadLines({ result, changed, waiting_for_restart: waiting, problems }: ReloadDocument): readonly string[] {
  if (result === 'rejected') {
    return ['The new configuration was rejected, the old one goes on:', ...problems.map((line) => `  ${safe(line)}`)];
  }
  return [
    `The configuration was read again. Changed: ${changed.join(' ') || 'nothing'}.`,
    ...(waiting.length === 0 ? [] : [`These settings change only by a restart: ${waiting.join(' ')}.`]),
  ];
}
