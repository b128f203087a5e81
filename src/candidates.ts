// SPDX-License-Identifier: MIT
// The candidate list: `host:port` items, parsed and named.

/** One server of the cluster, as the configuration names it. */
export interface Candidate {
  /** Host name or literal address, without brackets. */
  readonly host: string;
  /** 1..65535 */
  readonly port: number;
  /** Unique, as shown in logs and metrics: `host:port`, or `[v6]:port`. */
  readonly name: string;
}
