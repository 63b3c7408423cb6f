import type { StageScope } from '../events/event-bus.ts';
import type { DeployRun } from './deploy-run.ts';
import type { Step } from './plan.ts';
import {
  attachDisk,
  createDisk,
  deleteDisk,
  detachDisk,
  migrateDisk,
  promoteDisk,
  resizeDisk,
} from './steps/disk-steps.ts';
import {
  checkReadiness,
  deleteStemcell,
  postDeploy,
  postStart,
  prepareInstance,
  recordDeployment,
  updateInstance,
  waitUntilRunning,
} from './steps/instance-steps.ts';
import { releasePreviousVm } from './steps/previous-vm-steps.ts';
import {
  createStemcell,
  createVm,
  deleteVm,
  setVmMetadata,
  stopInstance,
  unmountDisks,
  waitForVm,
} from './steps/vm-steps.ts';

/**
 * Carries out a plan of a deploy, or its beginning when `run.mustCopy` came out. Stemcells are handled outside of the
 * stage, as the original shows it.
 */
export async function executeDeploy(run: DeployRun, steps: readonly Step[], deployed: string): Promise<void> {
  const { name, version, existing } = run.inputs.stemcell;
  const title =
    existing === undefined
      ? `Uploading stemcell '${name}/${version}'`
      : `Using existing stemcell '${existing}'`;
  await run.events.step(title, async (step) => {
    if (steps.some((candidate) => candidate.kind === 'create-stemcell')) await createStemcell(run, step);
    else step.skip(existing === undefined ? 'Stemcell already uploaded' : 'Already on record');
  });
  const inStage = steps.filter((step) => step.kind !== 'create-stemcell' && step.kind !== 'delete-stemcell');
  // From here on a run that fails must not count as deployed; mere cleaning up does not touch what is deployed.
  if (steps.some((step) => step.kind === 'record-deployment')) {
    run.rememberDeployment();
    await run.store.update({
      current_manifest_sha: '',
      releases: [],
      current_release_ids: [],
      own: { deployed: undefined },
    });
  }
  if (inStage.length > 0) {
    await run.events.stage('deploying', async (stage) => {
      for (const [index, step] of inStage.entries()) {
        run.effects.throwIfCancelled();
        stage.progress({ done: index, total: inStage.length, unit: 'items' });
        await executeStep(run, step, stage, deployed);
        if (run.mustCopy) return;
      }
    });
  }
  if (run.mustCopy) return;
  for (const step of steps) {
    if (step.kind === 'delete-stemcell') {
      await deleteStemcell(run, step.stemcellCid, 'unused stemcell', run.events);
    }
  }
}

/** Carries out a plan of delete-env. */
export async function executeDelete(run: DeployRun, steps: readonly Step[]): Promise<void> {
  await run.events.stage('deleting deployment', async (stage) => {
    for (const [index, step] of steps.entries()) {
      run.effects.throwIfCancelled();
      stage.progress({ done: index, total: steps.length, unit: 'items' });
      await executeStep(run, step, stage, '');
    }
  });
}

async function executeStep(run: DeployRun, step: Step, stage: StageScope, deployed: string): Promise<void> {
  switch (step.kind) {
    case 'create-stemcell':
      return stage.step('Uploading stemcell', (scope) => createStemcell(run, scope));
    case 'delete-leftover-vm':
    case 'delete-vm':
      return stage.step(`Deleting VM '${step.vmCid}'`, (scope) => deleteVm(run, step.vmCid, scope));
    case 'stop-instance':
      return stopInstance(run, stage);
    case 'unmount-disks':
      return unmountDisks(run, stage);
    case 'create-vm':
      return createVm(run, stage, step.besides !== undefined);
    case 'set-vm-metadata':
      return setVmMetadata(run);
    case 'release-previous-vm':
      return releasePreviousVm(run, stage);
    case 'delete-previous-vm':
      return stage.step(`Deleting VM '${step.vmCid}'`, (scope) => deleteVm(run, step.vmCid, scope));
    case 'wait-for-agent':
      return waitForVm(run, stage);
    case 'create-disk':
      return createDisk(run, stage);
    case 'attach-disk':
      return attachDisk(run, step.disk, stage);
    case 'resize-disk':
      return resizeDisk(run, step, stage);
    case 'migrate-disk':
      return migrateDisk(run, step.from, step.to, stage);
    case 'promote-disk':
      return promoteDisk(run, step.disk);
    case 'detach-disk':
      return detachDisk(run, step.diskCid, stage);
    case 'prepare-instance':
      return prepareInstance(run, step.initialApply, stage);
    case 'update-instance':
      return updateInstance(run, stage);
    case 'wait-until-running':
      return waitUntilRunning(run, stage);
    case 'post-start':
      return postStart(run, stage);
    case 'post-deploy':
      return postDeploy(run, stage);
    case 'check-readiness':
      return checkReadiness(run, step.url, stage);
    case 'record-deployment':
      return recordDeployment(run, deployed);
    case 'delete-disk':
      return deleteDisk(run, step.diskCid, step.inUse ? 'disk' : 'unused disk', stage);
    case 'delete-stemcell':
      return deleteStemcell(run, step.stemcellCid, 'stemcell', stage);
    default:
      return step satisfies never;
  }
}
