#!/usr/bin/env node
// SPDX-License-Identifier: MIT
// pg-gatewayctl: asks a running gateway, and has it do things. It must start quickly, and
// imports neither the daemon nor what that needs.

import { GatewayError } from '../errors.js';
import { safe } from '../readable.js';
import { version } from '../version.js';
import { ctlHelp, parseCtlArguments } from './arguments.js';
import { connectTo } from './client.js';
import { runCommand } from './commands.js';
import { CTL_OK, CTL_UNKNOWN, CTL_USAGE } from './exit.js';
import { coloured, plain, wantsColour } from './text.js';

function print(lines: readonly string[]): void {
  process.stdout.write(`${lines.join('\n')}\n`);
}

function complain(line: string): void {
  process.stderr.write(`pg-gatewayctl: ${line}\n`);
}

function fail(error: unknown, json: boolean): number {
  if (!(error instanceof GatewayError)) throw error;
  const { code, message } = error;
  if (json) print([JSON.stringify({ error: { code, message } }, null, 2)]);
  complain(`${code}: ${safe(message)}`);
  return code === 'USAGE' || code === 'CONTROL_REQUEST' ? CTL_USAGE : CTL_UNKNOWN;
}

async function main(): Promise<number> {
  const argv = process.argv.slice(2);
  try {
    const asked = parseCtlArguments(argv, process.env);
    if (asked.kind === 'help') {
      process.stdout.write(ctlHelp());
      return CTL_OK;
    }
    if (asked.kind === 'program-version') {
      print([`pg-gatewayctl ${version()}`]);
      return CTL_OK;
    }
    const paint = wantsColour(process.stdout.isTTY, process.env) ? coloured : plain;
    const terminal = { print, complain, paint, json: asked.json, version: version() };
    return await runCommand(asked.command, connectTo(asked.socket), terminal);
  } catch (error) {
    return fail(error, argv.includes('--json'));
  }
}

// Somebody who has seen enough (`| head`) is no fault.
process.stdout.on('error', () => {
  process.exit(CTL_OK);
});
void main().then((status) => {
  process.exitCode = status;
});
