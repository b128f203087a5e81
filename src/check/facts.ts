// SPDX-License-Identifier: MIT
// What a check of the configuration knows before it judges. Data only: gathered by
// gather.ts, read by what makes the words.

import type { Candidate } from '../candidates.js';
import type { LoadedConfig } from '../config.js';
import type { Verdict } from '../election.js';
import type { InstalledService } from '../installed-service.js';
import type { RememberedCluster } from '../memory.js';
import type { Inspection } from '../probe/inspection.js';

/** What a look-up said. */
export type NameFacts =
  | { readonly kind: 'found'; readonly addresses: readonly string[] }
  /** `why` is one line. */
  | { readonly kind: 'failed'; readonly why: string };

/** A file of certificates that the configuration names. */
export interface CertificateFacts {
  /** `client certificate` */
  readonly what: string;
  readonly path: string;
  /** The latest end of validity in it, milliseconds since 1970; undefined: it could not be read as certificates. */
  readonly validUntil: number | undefined;
}

/** What can be known without asking a server. */
export interface LocalFacts {
  readonly config: LoadedConfig;
  /** Of each host that is named and no address. */
  readonly names: ReadonlyMap<string, NameFacts>;
  /** Those to watch: of a name with several addresses each. */
  readonly candidates: readonly Candidate[];
  /** How many addresses of which configured candidates are not watched. */
  readonly leftOut: readonly { readonly name: string; readonly addresses: number }[];
  /** The limit of open files of this process; undefined: none. */
  readonly openFiles: number | undefined;
  /** So many clients fit under it. */
  readonly clientsThatFit: number;
  readonly certificates: readonly CertificateFacts[];
  /** It is judged for this service; undefined: for who asks. */
  readonly service: InstalledService | undefined;
  /** Files in the home directory of who asks, which that service does not have: by the settings they would stand for. */
  readonly ownFiles: ReadonlyMap<string, string>;
  /** Files that settings name and that service cannot read. */
  readonly hiddenFiles: ReadonlyMap<string, string>;
  /** Those of the configuration itself that it cannot read. */
  readonly hiddenSources: readonly string[];
  /** Every user can read the file with the password of that service. */
  readonly passwordIsExposed: boolean;
  /** This machine's clock, milliseconds since 1970. */
  readonly now: number;
}

/** Where this machine's connections to a server come from, and by whom that is known. */
export interface Source {
  /** Literal, without brackets. */
  readonly address: string;
  /** `server`: it said so. `route`: the kernel would choose it; something in between may put another in its place. */
  readonly toldBy: 'server' | 'route';
}

export interface Inspected {
  readonly candidate: Candidate;
  readonly inspection: Inspection;
  /** Undefined: not known. */
  readonly source: Source | undefined;
}

/** What the servers said, and what would follow. */
export interface ProbeFacts {
  readonly inspected: readonly Inspected[];
  /** What is remembered from earlier; null: nothing, as at the first start. */
  readonly remembered: RememberedCluster | null;
  /** Why it is not known what is remembered: one line. */
  readonly memoryProblem: string | undefined;
  readonly verdict: Verdict;
}
