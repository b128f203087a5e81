// SPDX-License-Identifier: MIT
// Which of the versions in a registry is the newest of each major version. Pure.

/** `10.23.0-beta.6`: a release of PostgreSQL and a build of the package. */
const VERSION = /^(\d+)\.(\d+)\.(\d+)(?:-([a-z]+)\.(\d+))?$/;
/** A version without any of these comes after all that have one. */
const STAGES = ['alpha', 'beta', 'rc'];

/** Major version -> newest version. What is no version of this kind is left out. */
export function newestOfEachMajor(versions: readonly string[]): ReadonlyMap<number, string> {
  const newest = new Map<number, { readonly version: string; readonly rank: readonly number[] }>();
  for (const version of versions) {
    const rank = rankOf(version);
    const [major] = rank;
    if (major === undefined) continue;
    const best = newest.get(major);
    if (best === undefined || compare(rank, best.rank) > 0) newest.set(major, { version, rank });
  }
  return new Map([...newest].map(([major, { version }]) => [major, version]));
}

/** Empty: it is no version. */
function rankOf(version: string): readonly number[] {
  const match = VERSION.exec(version);
  if (match === null) return [];
  const [, major, minor, patch, stage, build] = match;
  const stageRank = stage === undefined ? STAGES.length : STAGES.indexOf(stage);
  return [Number(major), Number(minor), Number(patch), stageRank, Number(build ?? 0)];
}

function compare(one: readonly number[], other: readonly number[]): number {
  const place = one.findIndex((number, index) => number !== other[index]);
  return place < 0 ? 0 : (one[place] ?? 0) - (other[place] ?? 0);
}
