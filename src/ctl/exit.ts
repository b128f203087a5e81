// SPDX-License-Identifier: MIT
// How pg-gatewayctl ends. 0 to 3 are those of a monitoring check (Nagios, "Plugin API").

export const CTL_OK = 0;
export const CTL_WARNING = 1;
export const CTL_CRITICAL = 2;
export const CTL_UNKNOWN = 3;
export const CTL_USAGE = 64;

/** Status -> what it means, in the words of the manual. */
export const CTL_EXIT: readonly (readonly [number, string])[] = [
  [CTL_OK, 'Done; status: all is well.'],
  [CTL_WARNING, 'Not, or not wholly, done; status: there is a primary, and something to look at.'],
  [CTL_CRITICAL, 'status: there is no primary.'],
  [CTL_UNKNOWN, 'The gateway could not be asked.'],
  [CTL_USAGE, 'The command line was not understood, here or by the gateway.'],
];
