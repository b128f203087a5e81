// SPDX-License-Identifier: MIT
// `--check-config`, with or without `--probe`, and `--print-hba`: gather, judge, print.

import { describeConfig } from '../config.js';
import type { LoadedConfig } from '../config.js';
import { EXIT } from '../errors.js';
import type { InstalledService } from '../installed-service.js';
import { answerFindings } from './answer-findings.js';
import { clusterFindings } from './cluster-findings.js';
import type { LocalFacts, ProbeFacts } from './facts.js';
import { failureFinding } from './failure-advice.js';
import type { Finding } from './finding.js';
import { gatherLocal, inspectAll, judge, recollect } from './gather.js';
import { hbaText } from './hba.js';
import { planEntries, planFindings } from './plan.js';
import { findingsText, planText, probeText } from './report.js';

type Write = (text: string) => void;

export interface CheckOptions {
  readonly config: LoadedConfig;
  /** Connect to the candidates too. */
  readonly probes: boolean;
  /** It is judged for this service; undefined: for who asks. */
  readonly service: InstalledService | undefined;
  /** Of the service whose configuration it is, whoever asks. */
  readonly stateDirectory: string | undefined;
  readonly write: Write;
}

/**
 * Prints the configuration and what follows from it.
 * @returns the exit status: without probes 0; with them 69 if there would be no primary, 1 if there are warnings
 * @throws GatewayError STATE_INVALID
 */
export async function checkConfig(options: CheckOptions): Promise<number> {
  const { config, probes, service, stateDirectory, write } = options;
  const recollection = probes ? recollect(config, stateDirectory) : undefined;
  const local = await gatherLocal(config, service);
  write(describeConfig(config) + planText(planEntries(local)));
  if (recollection === undefined) {
    write(findingsText(planFindings(local)));
    return EXIT.OK;
  }
  const facts = judge(await inspectAll(local), recollection);
  const findings = [...planFindings(local), ...probeFindings(local, facts)];
  write(probeText(facts) + findingsText(findings));
  if (facts.verdict.kind === 'none') return EXIT.UNAVAILABLE;
  const warned = config.warnings.length > 0 || findings.some(({ level }) => level === 'warning');
  return warned ? EXIT.FAILURE : EXIT.OK;
}

/** In the order of the candidates. A name that cannot be looked up is told of by the plan. */
function probeFindings(local: LocalFacts, facts: ProbeFacts): readonly Finding[] {
  const ofCandidates = facts.inspected.flatMap((one) => {
    const { observation } = one.inspection;
    const known = local.names.get(one.candidate.host)?.kind === 'failed';
    if (observation.kind === 'failed' && observation.reason === 'dns' && known) return [];
    const failure = failureFinding(local.config, one, local.service);
    return failure === undefined ? answerFindings(local, one) : [failure];
  });
  return [...ofCandidates, ...clusterFindings(facts)];
}

/** Prints what the servers need for the probes, and asks them where this machine's connections come from. */
export async function printHba(
  config: LoadedConfig,
  service: InstalledService | undefined,
  write: Write,
): Promise<number> {
  write(hbaText(config.probe, await inspectAll(await gatherLocal(config, service)), service));
  return EXIT.OK;
}
