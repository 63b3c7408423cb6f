import type { JsonObject } from '@microbosh/errors';
import { isJsonObject } from '@microbosh/errors';
import { DiskTooSmall } from '../errors.ts';
import type { DeployRun } from './deploy-run.ts';
import type { Planned } from './deploy.ts';

/**
 * What a file system counts as used without holding data: its reserve. The new one has a reserve and tables of its own, so
 * what is more than its whole size does not fit, however the percentage was rounded.
 */
const reservePercent = 5;
const askMs = 10_000;

/**
 * Refuses a persistent disk on which the data of the old one certainly does not fit, before anything is stopped. Where
 * the agent cannot be asked, or the difference is within the margin, the agent decides when it is about to copy.
 */
export async function refuseSmallDisk(run: DeployRun, sizeMiB: number, planned: Planned): Promise<void> {
  const move = planned.steps.find((step) => step.kind === 'migrate-disk');
  if (move === undefined || planned.observed.agent !== 'answers') return;
  const old = run.diskRecord(move.from);
  // Of another disk, or of none, the vitals say nothing.
  if (old.size <= sizeMiB || run.state.own.vm?.mounted_disk !== old.cid) return;
  const agent = await run.agent();
  const answer = await agent
    .getState(AbortSignal.any([run.signal, AbortSignal.timeout(askMs)]), 'full')
    .catch(() => undefined);
  run.effects.throwIfCancelled();
  const percent = answer === undefined ? undefined : persistentPercent(answer.raw);
  if (percent === undefined) return;
  const usedMiB = usedOf(old.size, percent);
  if (usedMiB <= sizeMiB) return;
  const enoughMiB = Math.ceil((old.size * Math.min(100, percent + reservePercent)) / 100);
  throw new DiskTooSmall(
    `The persistent disk is to have ${sizeMiB} MiB, and about ${usedMiB} MiB of the present one, '${old.cid}', are in use (${percent} % of ${old.size} MiB with the reserve of the file system)`,
    {
      details: { disk: old.cid, sizeMiB: old.size, usedPercent: percent, usedMiB, wantedMiB: sizeMiB },
      advice: `Nothing was changed. Ask for at least ${enoughMiB} MiB in the manifest, or delete data on the VM first (microbosh ssh MANIFEST).`,
    },
  );
}

export function usedOf(sizeMiB: number, usedPercent: number): number {
  return Math.floor((sizeMiB * Math.max(0, usedPercent - reservePercent)) / 100);
}

/** From the vitals of `get_state full`; undefined: no persistent disk is mounted, or the agent does not tell. */
export function persistentPercent(state: JsonObject): number | undefined {
  const inside = (value: unknown, key: string) => (isJsonObject(value) ? value[key] : undefined);
  const text = inside(inside(inside(state['vitals'], 'disk'), 'persistent'), 'percent');
  return typeof text === 'string' && /^\d{1,3}(\.\d+)?$/.test(text) ? Number(text) : undefined;
}
