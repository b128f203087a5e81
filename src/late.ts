// SPDX-License-Identifier: MIT
// All that main.ts imports when it is needed, as one module: what is shipped is then
// main.js, one file for this, and one for what the two share. With several, the sessions
// of an earlier process would wait for a shared file of each combination.

export { checkConfig, printHba } from './check/commands.js';
export { startDaemon } from './daemon.js';
export { sampleConfig } from './sample-config.js';
