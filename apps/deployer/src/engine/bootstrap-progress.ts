import { isJsonObject } from '@microbosh/errors';
import type { JsonObject } from '@microbosh/errors';

/** How far the agent is with making its machine ready, as its log on the console says. */
export interface BootstrapProgress {
  /** A sentence for the operator; undefined: the console does not say, or the agent serves. */
  readonly text: string | undefined;
  readonly failed: boolean;
  /** `step: outcome`, oldest first. */
  readonly steps: readonly string[];
}

/** The level at which the agent logs why it ends. */
const fatal = 60;

/** Reads the log lines of the agent out of a console, whatever init or kernel write in front of them. */
export function readBootstrap(console: string): BootstrapProgress {
  let text: string | undefined;
  let failed = false;
  const steps: string[] = [];
  for (const line of console.split('\n')) {
    const entry = entryOf(line);
    if (entry === undefined) continue;
    const { level, step, number, of, outcome, msg } = entry;
    if (typeof step === 'string' && typeof outcome === 'string') {
      steps.push(`${step}: ${outcome}`);
      text = `still bootstrapping, after step '${step}'`;
      failed = false;
    } else if (typeof step === 'string' && typeof number === 'number' && typeof of === 'number') {
      text = `still bootstrapping at step ${number} of ${of}: ${step}`;
      failed = false;
    } else if (level === fatal && typeof msg === 'string') {
      steps.push(`failed: ${msg}`);
      text = `it ended: ${msg}`;
      failed = true;
    } else if (msg === 'serving') {
      text = undefined;
      failed = false;
    }
  }
  return { text, failed, steps };
}

function entryOf(line: string): JsonObject | undefined {
  const begin = line.indexOf('{');
  if (begin === -1) return undefined;
  try {
    const entry: unknown = JSON.parse(line.slice(begin).trimEnd());
    return isJsonObject(entry) ? entry : undefined;
  } catch {
    return undefined;
  }
}
