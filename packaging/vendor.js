#!/usr/bin/env node
// SPDX-License-Identifier: MIT
// The program as a distribution's package ships it:
//
//   packaging/vendor.js FOLDER            puts the bundle (bundle.js) into FOLDER/dist, what stays outside of it into
//                                         FOLDER/node_modules
//   packaging/vendor.js --check-copyright fails unless debian/copyright covers each npm package that has a part in it
//
// Of the packages that stay outside only what Node can load is shipped. Licences stand in debian/copyright.

import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { APART, bundle } from './bundle.js';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const COPYRIGHT = join(ROOT, 'debian/copyright');

const LOADABLE = /\.(?:[cm]?js|json|node)$/;
const NOT_SHIPPED = new Set([
  'node_modules', // of a package: is a package of its own
  ...['test', 'test.js', 'examples', 'example.js'],
  'obj.target', // what the linker makes before it is copied to build/Release
]);

/** A few functions of it, which hold the modules together, are in the bundle too. */
const BUNDLER = 'node_modules/esbuild';

/**
 * Folders of the package that is not bundled and of those that it needs, as in `node_modules/bindings`.
 * @param {string} name
 * @param {string} [from] folder of the package that needs it
 * @returns {string[]}
 */
function packagesApart(name, from = '.') {
  const own = join(from, 'node_modules', name);
  const folder = existsSync(join(ROOT, own)) ? own : join('node_modules', name);
  /** @type {{ dependencies?: Record<string, string> }} */
  const { dependencies = {} } = JSON.parse(readFileSync(join(ROOT, folder, 'package.json'), 'utf8'));
  return [folder, ...Object.keys(dependencies).flatMap((needed) => packagesApart(needed, folder))];
}

/**
 * Paths of the files to ship, relative to the package's folder.
 * @param {string} folder
 * @returns {string[]}
 */
function shippedFiles(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (NOT_SHIPPED.has(entry.name)) return [];
    if (entry.isDirectory()) return shippedFiles(join(folder, entry.name)).map((path) => join(entry.name, path));
    return entry.isFile() && LOADABLE.test(entry.name) ? [entry.name] : [];
  });
}

/** @param {string} destination */
async function vendor(destination) {
  const { files } = await bundle();
  mkdirSync(join(destination, 'dist'), { recursive: true });
  for (const { name, text } of files) writeFileSync(join(destination, 'dist', name), text);
  for (const folder of packagesApart(APART)) {
    for (const path of shippedFiles(join(ROOT, folder))) {
      const target = join(destination, folder, path);
      mkdirSync(dirname(target), { recursive: true });
      copyFileSync(join(ROOT, folder, path), target);
    }
  }
}

/**
 * The paragraphs of a machine-readable copyright file (DEP 5), as field -> value.
 * @param {string} text
 */
function paragraphs(text) {
  return text.split(/\n\s*\n/).map((paragraph) => {
    /** @type {Map<string, string>} */
    const fields = new Map();
    for (const [, name, value] of paragraph.matchAll(/^(\S+):((?:.*)(?:\n[ \t].*)*)/gm)) {
      if (name !== undefined) fields.set(name, value?.trim() ?? '');
    }
    return fields;
  });
}

/** Who holds the copyright, by the lines of the package's licence file that say so. @param {string} folder */
function holders(folder) {
  const file = readdirSync(folder).find((name) => /^(?:licen[cs]e|copying)/i.test(name));
  if (file === undefined) return [];
  const lines = readFileSync(join(folder, file), 'utf8').split('\n');
  return lines
    .filter((line) => /^\s*copyright (?:\(c\)|©|\d{4}|\S+ Foundation)/i.test(line) && !line.includes('[yyyy]'))
    .map((line) => plain(line));
}

/**
 * Words alone: signs, markup and spacing differ between a licence file and debian/copyright.
 * @param {string} text
 */
function plain(text) {
  return text
    .replace(/&lt;|&gt;/g, ' ')
    .replace(/\b(?:copyright|c|by|all rights reserved)\b/gi, ' ')
    .replace(/[^\p{L}\p{N}@.]+/gu, ' ')
    .replace(/\.(?=\s|$)/g, ' ')
    .replace(/\s+/g, ' ')
    .trim()
    .toLowerCase();
}

/**
 * @param {readonly string[]} packages folders of those that are shipped, in the bundle or beside it
 * @returns {string[]} one line for each fault
 */
function copyrightFaults(packages) {
  const stanzas = paragraphs(readFileSync(COPYRIGHT, 'utf8'));
  const texts = new Set(stanzas.filter((fields) => !fields.has('Files')).map((fields) => firstWord(fields, 'License')));
  const faults = [];
  const covered = new Set();
  for (const folder of packages) {
    const stanza = stanzas.find((fields) => fields.get('Files')?.split(/\s+/).includes(`${folder}/*`));
    if (stanza === undefined) {
      faults.push(`${folder}: no paragraph has it under Files`);
      continue;
    }
    covered.add(`${folder}/*`);
    /** @type {{ license: string }} */
    const { license } = JSON.parse(readFileSync(join(ROOT, folder, 'package.json'), 'utf8'));
    const stated = firstWord(stanza, 'License');
    if (stated !== LICENCE_NAMES.get(license)) faults.push(`${folder}: its licence is ${license}, not ${stated}`);
    if (!texts.has(stated)) faults.push(`${folder}: the text of the licence ${stated} is missing`);
    const copyright = plain(stanza.get('Copyright') ?? '');
    for (const holder of holders(join(ROOT, folder))) {
      if (!copyright.includes(holder)) faults.push(`${folder}: Copyright lacks "${holder}"`);
    }
  }
  const listed = stanzas.flatMap((fields) => fields.get('Files')?.split(/\s+/) ?? []);
  for (const pattern of listed) {
    if (pattern.startsWith('node_modules/') && !covered.has(pattern))
      faults.push(`${pattern}: no such package is shipped`);
  }
  return faults;
}

/** SPDX's names -> those of DEP 5. */
const LICENCE_NAMES = new Map([
  ['MIT', 'Expat'],
  ['ISC', 'ISC'],
  ['Apache-2.0', 'Apache-2.0'],
  ['BSD-3-Clause', 'BSD-3-clause'],
]);

/**
 * @param {Map<string, string>} fields
 * @param {string} name
 */
function firstWord(fields, name) {
  return fields.get(name)?.split(/\s/, 1)[0] ?? '';
}

const [argument, ...rest] = process.argv.slice(2);
if (argument === undefined || rest.length > 0) {
  process.stderr.write('usage: packaging/vendor.js FOLDER | --check-copyright\n');
  process.exitCode = 64;
} else if (argument === '--check-copyright') {
  const { packages } = await bundle();
  const faults = copyrightFaults([...packages, ...packagesApart(APART), BUNDLER]);
  for (const fault of faults) process.stderr.write(`debian/copyright: ${fault}\n`);
  process.exitCode = faults.length === 0 ? 0 : 1;
} else {
  await vendor(argument);
}
