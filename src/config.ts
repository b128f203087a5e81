// SPDX-License-Identifier: MIT
export type { Config, HostPort, ProbeConfig, ProbeTls, SslMode } from './config-types.js';
