// SPDX-License-Identifier: MIT
// Every error code of the product, in one place. A code is stable: scripts and
// runbooks may match on it. The text may be improved, the code never changes
// its meaning.

/** Code -> what it means, in the words of the manual. */
export const ERROR_CODES = {
  CONFIG_INVALID: 'The configuration has at least one error; each is named on a line of its own.',
  CONFIG_UNREADABLE: 'A configuration file could not be read.',
  USAGE: 'The command line was not understood.',
  LISTEN_FAILED: 'An address could not be bound, or an inherited socket cannot be used.',
  LISTEN_FDS_INVALID: 'The sockets handed over by the service manager cannot be used.',
  STATE_INVALID: 'What is remembered of the cluster is damaged, of an unknown version, or of another cluster.',
  STATE_UNREADABLE: 'What is remembered of the cluster could not be read.',
  STATE_IN_USE: 'Another gateway is running on the state directory.',
  STATE_WRITE_FAILED: 'What must be remembered of the cluster could not be written or deleted.',
  DATAPLANE_LOAD: 'The native data plane could not be loaded.',
  DATAPLANE_START: 'The native data plane could not be started.',
  DATAPLANE_ARGUMENT: 'A value handed to the data plane was out of its range.',
  RECOVERY_GIVEN_UP:
    'The sessions of an earlier process were ended: ten processes in a row crashed as they took them up.',
  CONTROL_REQUEST: 'A request on the control socket was not understood.',
  CONTROL_UNREACHABLE: 'The control socket could not be reached, or what answered there is no gateway.',
  CONTROL_BUSY: 'The gateway cannot answer now: try again.',
  SESSION_UNKNOWN: 'There is no session of that number any more.',
  INTERNAL: 'A fault of the gateway itself; please report it.',
} as const satisfies Record<string, string>;

export type ErrorCode = keyof typeof ERROR_CODES;

/** An error with a stable code. `message` is for people, `code` for programs. */
export class GatewayError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'GatewayError';
    this.code = code;
  }
}

/** Exit statuses (sysexits.h). systemd prints their names in `systemctl status`. */
export const EXIT = {
  OK: 0,
  FAILURE: 1,
  USAGE: 64,
  UNAVAILABLE: 69,
  SOFTWARE: 70,
  CONFIG: 78,
} as const;
