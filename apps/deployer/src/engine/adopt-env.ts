import { randomUUID } from 'node:crypto';
import type { FoundResource } from '@microbosh/cpi';
import type { DeploymentModel, DiskRecord } from '@microbosh/spec';
import type { CommandContext } from '../cli/context.ts';
import { Environment } from '../environment.ts';
import { AdoptRefused, NotConfirmed } from '../errors.ts';
import type { DeployerDependencies } from '../ports/deployer-dependencies.ts';
import type { EnvironmentPaths } from '../state/environment-paths.ts';
import type { RememberedInputs } from '../state/environment-state.ts';
import { plainJson } from '../state/state-document.ts';
import { isGone, isNotImplemented, type Cloud } from './effects.ts';
import { settingsOf } from './deploy.ts';

export interface AdoptRequest {
  readonly context: CommandContext;
  readonly manifest: string;
  readonly model: DeploymentModel;
  readonly paths: EnvironmentPaths;
  readonly inputs: RememberedInputs;
  /** Named by the operator; otherwise what the cloud finds by the deployment's name. */
  readonly vmCid: string | undefined;
  readonly diskCids: readonly string[];
  readonly dependencies: DeployerDependencies;
}

/**
 * Begins a state with what is in the cloud already. The next deploy keeps the disk; the VM's credentials are lost with
 * the old state, so it is made anew. Nothing is changed in the cloud.
 */
export async function adoptEnv(request: AdoptRequest): Promise<readonly FoundResource[]> {
  const { context, model, dependencies } = request;
  const environment = await Environment.open(request.paths, 'adopt', context);
  try {
    const { current } = environment.store;
    if (current.current_vm_cid !== '' || (current.disks?.length ?? 0) > 0) {
      throw new AdoptRefused(`The state file '${request.paths.shownState}' records a VM or a disk`, {
        advice: 'adopt is for a state that is lost. microbosh drift MANIFEST says what no longer fits.',
      });
    }
    const access = { agent: settingsOf(model.cloud, ''), registry: undefined };
    const cloud = await dependencies.openCloud(model.cloud, access, environment.store, context);
    try {
      const found = await find(request, cloud, current.director_id);
      const vm = theOnly(found, 'vm', request.vmCid);
      const disks = found.filter(({ kind }) => kind === 'disk');
      const attached =
        vm === undefined ? [] : await attachedDisks(cloud, current.director_id, vm.cid, context);
      // Disks that the data was moved from are kept for a while: the one that the VM has is the current one.
      const currentCid = attached.length === 1 ? attached[0] : undefined;
      const disk = theOnly(found, 'disk', request.diskCids[0] ?? currentCid);
      if (vm === undefined && disk === undefined) {
        throw new AdoptRefused(`The cloud has no VM and no disk of deployment '${model.name}'`, {
          advice: 'Name what you know of: microbosh adopt MANIFEST --vm CID --disk CID',
        });
      }
      await confirm(context, found);
      const records = disks.map(diskRecord);
      const stemcells = found
        .filter(({ kind }) => kind === 'stemcell')
        .map(({ cid }) => ({ id: randomUUID(), name: '', version: '', api_version: 0, cid, unknown: {} }));
      await environment.store.update({
        current_vm_cid: vm?.cid ?? '',
        disks: records,
        current_disk_id: records.find(({ cid }) => cid === disk?.cid)?.id ?? '',
        stemcells,
        own: {
          inputs: request.inputs,
          cloud: plainJson(model.cloud),
          deployment: model.name,
          group: model.group.name,
        },
      });
      return found;
    } finally {
      await cloud.dispose?.();
    }
  } finally {
    await environment.close();
  }
}

async function attachedDisks(
  cloud: Cloud,
  directorUuid: string,
  vmCid: string,
  context: AdoptRequest['context'],
): Promise<readonly string[]> {
  const requestId = `cpi-${randomUUID().slice(0, 8)}`;
  try {
    return await cloud.getDisks(
      { directorUuid, requestId, stemcellApiVersion: 1, signal: context.signal },
      vmCid,
    );
  } catch (error) {
    if (isGone(error) || isNotImplemented(error)) return [];
    throw error;
  }
}

async function find(
  request: AdoptRequest,
  cloud: Cloud,
  directorUuid: string,
): Promise<readonly FoundResource[]> {
  const { vmCid, diskCids, model, context } = request;
  const call = {
    directorUuid,
    requestId: `cpi-${randomUUID().slice(0, 8)}`,
    stemcellApiVersion: 1,
    signal: context.signal,
  };
  if (vmCid === undefined && diskCids.length === 0) {
    if (cloud.findByMetadata === undefined) {
      throw new AdoptRefused('This CPI cannot search for what a deployment has', {
        advice: 'Look it up in the cloud, then: microbosh adopt MANIFEST --vm CID --disk CID',
      });
    }
    return cloud.findByMetadata(call, { deployment: model.name });
  }
  // What is named must exist: a wrong CID in the state would be deleted later.
  if (vmCid !== undefined && !(await cloud.hasVm(call, vmCid))) throw absent('VM', vmCid);
  for (const cid of diskCids) if (!(await cloud.hasDisk(call, cid))) throw absent('disk', cid);
  const disk = model.persistentDisk;
  return [
    ...(vmCid === undefined ? [] : [{ kind: 'vm' as const, cid: vmCid }]),
    ...diskCids.map((cid) => ({
      kind: 'disk' as const,
      cid,
      ...(disk === undefined ? {} : { sizeMiB: disk.sizeMiB }),
    })),
  ];
}

function absent(what: string, cid: string): AdoptRefused {
  return new AdoptRefused(`The cloud has no ${what} '${cid}'`, {
    details: { cid },
    advice: 'Check the CID.',
  });
}

/** Several of a kind cannot be told apart by a program. */
function theOnly(
  found: readonly FoundResource[],
  kind: 'vm' | 'disk',
  named: string | undefined,
): FoundResource | undefined {
  const candidates = found.filter((resource) => resource.kind === kind);
  if (named !== undefined) return candidates.find(({ cid }) => cid === named);
  if (candidates.length <= 1) return candidates[0];
  const cids = candidates.map(({ cid }) => `'${cid}'`).join(', ');
  throw new AdoptRefused(`The cloud has several of this deployment: ${cids}`, {
    details: { kind },
    advice: `Name the right one: --${kind} CID`,
  });
}

function diskRecord({ cid, sizeMiB, cloudProperties }: FoundResource): DiskRecord {
  // Of unknown size it is moved to a disk of known size.
  return { id: randomUUID(), cid, size: sizeMiB ?? 0, cloud_properties: cloudProperties ?? {}, unknown: {} };
}

async function confirm(context: CommandContext, found: readonly FoundResource[]): Promise<void> {
  if (!context.interactive) return;
  const list = found.map(({ kind, cid }) => `  ${kind} '${cid}'`).join('\n');
  const answer = await context.ask(
    `These become part of the environment; a later deploy or delete-env may delete them:\n${list}\nType 'yes' to continue: `,
  );
  if (answer.trim() !== 'yes') {
    throw new NotConfirmed('Nothing was adopted', { advice: "Answer 'yes', or use --non-interactive." });
  }
}
