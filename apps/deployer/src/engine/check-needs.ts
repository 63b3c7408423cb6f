import type { DeploymentModel } from '@microbosh/spec';
import { CloudUnfit } from '../errors.ts';
import type { Effects } from './effects.ts';
import type { Step } from './plan.ts';

/**
 * Asks the CPI, where it can tell, whether the cloud has what the steps are going to ask for: before the first of them, so
 * that a full disk or an exhausted quota costs no running VM.
 */
export async function checkNeeds(
  effects: Effects,
  model: DeploymentModel,
  steps: readonly Step[],
): Promise<void> {
  const makesVm = steps.some(({ kind }) => kind === 'create-vm');
  const makesDisk = steps.some(({ kind }) => kind === 'create-disk');
  if (!makesVm && !makesDisk) return;
  const checks = await effects.cloud.checkNeeds?.(effects.context(), {
    vmCloudProperties: makesVm ? model.vm.cloudProperties : {},
    networks: model.networks,
    disk: makesDisk ? (model.persistentDisk ?? null) : null,
  });
  const failed = checks?.filter(({ status }) => status === 'failed') ?? [];
  if (failed.length === 0) return;
  throw new CloudUnfit(failed.map(({ name, message }) => `${name}: ${message}`).join('\n'), {
    advice: failed.flatMap(({ advice }) => (advice === undefined ? [] : [advice])).join('\n'),
  });
}
