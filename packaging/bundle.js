// SPDX-License-Identifier: MIT
// The compiled program in a few files: what the sessions of an earlier process wait for at a start, and the rest.
//
// Of the time until those sessions flow again, finding and reading some 150 modules was a third. Two passes of esbuild:
// the first puts the modules together and divides them where the program imports something late; the second makes
// CommonJS of the result, for Node starts that quicker (no module loader of its own, and no list of all that node:fs
// and the like export). Neither shortens a name: a stack trace says what it said before.

import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { build, transform } from 'esbuild';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

/** Compiled for one version of Node: it stays the package it is. */
export const APART = 'sd-notify';

/** File of pg-gatewayctl. */
export const CONTROL_PROGRAM = 'pg-gatewayctl.js';

/** What ES modules know of themselves. */
const MODULE_URL = "\nconst moduleUrl = require('node:url').pathToFileURL(__filename);";

// Debian 12's; nothing newer may be taken for granted.
const TARGET = 'node18';

/**
 * Bundles dist/main.js, and dist/ctl/main.js apart from it.
 * @returns {Promise<{ files: { name: string, text: string }[], packages: string[] }>} The files, which go into one
 *   folder with dataplane.node; and the folders of the npm packages that have a part in them, as in `node_modules/pg`.
 */
export async function bundle() {
  const { outputFiles, metafile } = await build({
    absWorkingDir: ROOT,
    entryPoints: ['dist/main.js'],
    outdir: 'dist',
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: TARGET,
    // pg has a second, native driver, which it loads only if it is asked for it.
    external: [APART, 'pg-native'],
    metafile: true,
    write: false,
    logLevel: 'warning',
  });
  const files = outputFiles.map(async ({ path, text }) => ({ name: basename(path), text: await toCommonJs(text) }));
  return {
    files: [...(await Promise.all(files)), await controlProgram()],
    packages: packagesOf(Object.values(metafile.outputs)),
  };
}

/**
 * pg-gatewayctl: one file of its own, without any of the daemon's, for it has to start quickly.
 * @returns {Promise<{ name: string, text: string }>}
 */
async function controlProgram() {
  const { outputFiles, metafile } = await build({
    absWorkingDir: ROOT,
    entryPoints: ['dist/ctl/main.js'],
    outdir: 'dist',
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: TARGET,
    metafile: true,
    write: false,
    logLevel: 'warning',
  });
  const packages = packagesOf(Object.values(metafile.outputs));
  const [file] = outputFiles;
  if (file === undefined || packages.length > 0) throw new Error(`pg-gatewayctl imports ${packages.join(' ')}`);
  return { name: CONTROL_PROGRAM, text: await toCommonJs(file.text) };
}

/**
 * @param {string} text
 * @returns {Promise<string>}
 */
async function toCommonJs(text) {
  const { code } = await transform(text, {
    format: 'cjs',
    platform: 'node',
    target: TARGET,
    supported: { 'dynamic-import': false },
    define: { 'import.meta.url': 'moduleUrl' },
    banner: `'use strict';${text.includes('import.meta.url') ? MODULE_URL : ''}`,
  });
  return code;
}

/**
 * @param {import('esbuild').Metafile['outputs'][string][]} outputs
 * @returns {string[]}
 */
function packagesOf(outputs) {
  const inputs = outputs.flatMap((output) => Object.keys(output.inputs));
  const folders = inputs.flatMap((path) => /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path) ?? []);
  return [...new Set(folders)].sort();
}
