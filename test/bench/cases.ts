// SPDX-License-Identifier: MIT
// How the cases are called, for those who measure them and those who look for them.

export const ALONE = 'alone';
export const BESIDE = 'beside a COPY';
export const STARTED = 'started';
export const AT_REST = 'at rest';

export function clientsText(clients: number): string {
  return counted(clients, 'client');
}

export function workersText(count: number): string {
  return counted(count, 'worker');
}

export function sessionsText(count: number): string {
  return counted(count, 'session');
}

export function churnText(count: number): string {
  return `${sessionsText(count)} opened and closed`;
}

export function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}
