import { isJsonObject } from '@microbosh/errors';
import type { JsonObject } from '@microbosh/errors';
import type { DiskRecord, DiskStrategy, StemcellRecord, VmStrategy } from '@microbosh/spec';
import { canonicalJson } from '../state/state-document.ts';
import { currentDisk, currentStemcell } from '../state/environment-state.ts';
import type { EnvironmentState, VmRecord } from '../state/environment-state.ts';

/** What a deploy wants to be true at its end; digests stand for content. */
export interface DesiredEnvironment {
  readonly group: string;
  readonly stemcell: { readonly name: string; readonly version: string; readonly digest: string };
  /** See `VmRecord.fingerprint`. */
  readonly vmFingerprint: string;
  readonly metadata: string;
  readonly disk: { readonly sizeMiB: number; readonly cloudProperties: JsonObject } | undefined;
  /** Digest of what the agent has to apply and start. */
  readonly applied: string;
  /** Digest of the whole deployment. */
  readonly deployed: string;
  readonly readiness: readonly string[];
  readonly recreate: boolean;
  readonly recreateDisk: boolean;
  /** Addresses that the manifest gives the VM; empty: the cloud chooses. */
  readonly addresses: readonly string[];
  /** Where the manifest says that the agent answers; undefined: at the VM's address, which the cloud chooses. */
  readonly agentHost: string | undefined;
  readonly vmStrategy: VmStrategy;
  readonly diskStrategy: DiskStrategy;
  /** How long a disk is kept whose content was moved to another. */
  readonly oldDiskMs: number;
  /** RFC 3339. */
  readonly now: string;
}

/** What the cloud and the agent say now. */
export interface Observation {
  /** The VM on record. */
  readonly vm: 'none' | 'present' | 'absent' | 'unknown';
  /** Of that VM. */
  readonly agent: 'answers' | 'silent' | 'not-asked';
  /** Why it is silent. */
  readonly agentTrouble?: string;
  /** The VM that served before it, when there is one on record. */
  readonly previous?: 'present' | 'absent' | 'unknown';
  /** Of the disks on record, by CID. */
  readonly disks: Readonly<Record<string, 'present' | 'absent' | 'unknown'>>;
}

/** A disk on record, or the one that the step `create-disk` of the same plan makes. */
export type DiskReference = { readonly cid: string } | 'new';

export type Step =
  | { readonly kind: 'delete-leftover-vm'; readonly vmCid: string }
  | { readonly kind: 'create-stemcell'; readonly name: string; readonly version: string }
  | { readonly kind: 'stop-instance'; readonly vmCid: string }
  | { readonly kind: 'unmount-disks'; readonly vmCid: string }
  | { readonly kind: 'delete-vm'; readonly vmCid: string; readonly reason: string }
  | {
      readonly kind: 'create-vm';
      readonly reason: string;
      /** The VM that serves goes on serving meanwhile. */
      readonly besides?: string;
    }
  | { readonly kind: 'release-previous-vm'; readonly vmCid: string }
  | { readonly kind: 'delete-previous-vm'; readonly vmCid: string }
  | { readonly kind: 'set-vm-metadata' }
  | { readonly kind: 'wait-for-agent' }
  | { readonly kind: 'create-disk'; readonly sizeMiB: number; readonly reason: string }
  | { readonly kind: 'attach-disk'; readonly disk: DiskReference }
  | {
      readonly kind: 'resize-disk';
      readonly diskCid: string;
      readonly sizeMiB: number;
      /** From here it is detached first. */
      readonly vmCid?: string;
    }
  | { readonly kind: 'migrate-disk'; readonly from: string; readonly to: DiskReference }
  | { readonly kind: 'promote-disk'; readonly disk: DiskReference }
  | { readonly kind: 'detach-disk'; readonly diskCid: string }
  | { readonly kind: 'prepare-instance'; readonly initialApply: boolean }
  | { readonly kind: 'update-instance' }
  | { readonly kind: 'wait-until-running' }
  | { readonly kind: 'post-start' }
  | { readonly kind: 'post-deploy' }
  | { readonly kind: 'check-readiness'; readonly url: string }
  | { readonly kind: 'record-deployment' }
  | {
      readonly kind: 'delete-disk';
      readonly diskCid: string;
      readonly reason: string;
      /** It served until this plan. */
      readonly inUse: boolean;
    }
  | { readonly kind: 'delete-stemcell'; readonly stemcellCid: string };

export type StepKind = Step['kind'];

/** Why the plan cannot be made. */
export interface PlanObstacle {
  readonly obstacle: 'disk-lost';
  readonly diskCid: string;
}

/** (what is wanted, what is on record, what is there) → steps. Pure: the same three always give the same plan. */
export function planDeploy(
  desired: DesiredEnvironment,
  recorded: EnvironmentState,
  observed: Observation,
): readonly Step[] | PlanObstacle {
  const disk = currentDisk(recorded);
  if (desired.disk !== undefined && disk !== undefined && observed.disks[disk.cid] === 'absent') {
    return { obstacle: 'disk-lost', diskCid: disk.cid };
  }
  const replace = reasonForNewVm(desired, recorded, observed);
  const diskPlan = planDisk(desired, recorded, disk, replace !== undefined);
  const update = replace !== undefined || diskPlan.touchesData || recorded.own.applied !== desired.applied;
  const cleanUp = planCleanUp(desired, recorded, disk, diskPlan);
  const unfinished = recorded.own.deployed !== desired.deployed || recorded.current_manifest_sha === '';

  const steps: Step[] = [];
  if (findStemcell(desired, recorded) === undefined) {
    const { name, version } = desired.stemcell;
    steps.push({ kind: 'create-stemcell', name, version });
  }
  for (const vmCid of recorded.own.leftover_vms) steps.push({ kind: 'delete-leftover-vm', vmCid });
  // The VM that is gone back to when the new one fails.
  let previous = observed.previous === 'absent' ? undefined : recorded.own.previous;
  const release = (from: string): Step => ({ kind: 'release-previous-vm', vmCid: from });
  if (replace !== undefined && canKeepOldVm(desired, recorded, observed)) {
    const old = recorded.current_vm_cid;
    steps.push(
      { kind: 'create-vm', reason: replace, besides: old },
      { kind: 'set-vm-metadata' },
      { kind: 'wait-for-agent' },
    );
    // All that takes time is done while the old one serves.
    steps.push(...diskPlan.before, { kind: 'prepare-instance', initialApply: true });
    steps.push(release(old), ...diskPlan.data, { kind: 'update-instance' });
    steps.push(...planProof(desired, true), { kind: 'delete-previous-vm', vmCid: old });
    return [...steps, ...cleanUp];
  }
  if (replace !== undefined) {
    steps.push(...planRemoval(recorded, observed, replace));
    if (previous !== undefined && sharesAddress(desired, previous.vm, previous.endpoint?.mbus)) {
      steps.push(release(previous.vm.cid), { kind: 'delete-previous-vm', vmCid: previous.vm.cid });
      previous = undefined;
    }
    steps.push(
      { kind: 'create-vm', reason: replace },
      { kind: 'set-vm-metadata' },
      { kind: 'wait-for-agent' },
    );
    const fill: Step = { kind: 'prepare-instance', initialApply: true };
    if (previous === undefined) steps.push(...diskPlan.before, ...diskPlan.data, fill);
    else steps.push(...diskPlan.before, fill, release(previous.vm.cid), ...diskPlan.data);
    steps.push({ kind: 'update-instance' });
  } else {
    if (recorded.own.vm?.metadata !== desired.metadata) steps.push({ kind: 'set-vm-metadata' });
    if (observed.agent !== 'answers' || recorded.own.vm?.ready === false)
      steps.push({ kind: 'wait-for-agent' });
    // What can be done while the service runs comes before it is stopped.
    steps.push(...diskPlan.before);
    if (update) {
      steps.push({ kind: 'prepare-instance', initialApply: false });
      steps.push({ kind: 'stop-instance', vmCid: recorded.current_vm_cid });
      if (previous !== undefined) steps.push(release(previous.vm.cid));
      steps.push(...diskPlan.data, { kind: 'update-instance' });
    }
  }
  // A deploy that was interrupted after the start owes the scripts their run.
  if (update || unfinished) steps.push(...planProof(desired, update || recorded.own.deployed === undefined));
  const vmCid = recorded.own.previous?.vm.cid;
  const isPlanned = steps.some((step) => step.kind === 'delete-previous-vm');
  if (vmCid !== undefined && !isPlanned) steps.push({ kind: 'delete-previous-vm', vmCid });
  return [...steps, ...cleanUp];
}

/** That the service runs, and the record of it. */
function planProof(desired: DesiredEnvironment, scripts: boolean): Step[] {
  return [
    { kind: 'wait-until-running' },
    ...(scripts ? [{ kind: 'post-start' } as const] : []),
    ...desired.readiness.map((url): Step => ({ kind: 'check-readiness', url })),
    ...(scripts ? [{ kind: 'post-deploy' } as const] : []),
    { kind: 'record-deployment' },
  ];
}

/** The new VM can be made while the old one serves: it answers, and neither needs what the other has. */
function canKeepOldVm(
  desired: DesiredEnvironment,
  recorded: EnvironmentState,
  observed: Observation,
): boolean {
  const { vm, previous, endpoint } = recorded.own;
  return (
    desired.vmStrategy === 'create-swap-delete' &&
    observed.agent === 'answers' &&
    previous === undefined &&
    vm !== undefined &&
    vm.cid === recorded.current_vm_cid &&
    !sharesAddress(desired, vm, endpoint?.mbus)
  );
}

function sharesAddress(desired: DesiredEnvironment, vm: VmRecord, mbus: string | undefined): boolean {
  const networks: readonly unknown[] = Object.values(vm.networks);
  const taken = networks.map((network) => (isJsonObject(network) ? network['ip'] : undefined));
  const host = mbus === undefined ? undefined : new URL(mbus).hostname;
  return (
    desired.addresses.some((address) => taken.includes(address)) ||
    (desired.agentHost !== undefined && desired.agentHost === host)
  );
}

/** The stemcell in the cloud that was made from the wanted one. Records of create-env tell no digest. */
export function findStemcell(
  desired: Pick<DesiredEnvironment, 'stemcell'>,
  recorded: EnvironmentState,
): StemcellRecord | undefined {
  const { name, version, digest } = desired.stemcell;
  return recorded.stemcells?.find(
    (known) =>
      known.name === name &&
      known.version === version &&
      (recorded.own.stemcell_digests[known.cid] ?? digest) === digest,
  );
}

function reasonForNewVm(
  desired: DesiredEnvironment,
  recorded: EnvironmentState,
  observed: Observation,
): string | undefined {
  const vm = recorded.own.vm;
  if (recorded.current_vm_cid === '') return 'there is none';
  if (observed.vm === 'absent') return `VM '${recorded.current_vm_cid}' no longer exists`;
  if (vm?.cid !== recorded.current_vm_cid) return 'what the VM was made from is not on record';
  if (desired.recreate) return 'a new VM was asked for';
  if (vm.fingerprint !== desired.vmFingerprint) {
    return 'stemcell, networks, cloud properties or environment of the VM changed';
  }
  if (vm.gave_up) return 'its agent never answered';
  if (vm.ready && observed.agent === 'silent') {
    return `its agent no longer answers${observed.agentTrouble === undefined ? '' : ` (${observed.agentTrouble})`}`;
  }
  return undefined;
}

function planRemoval(recorded: EnvironmentState, observed: Observation, reason: string): Step[] {
  const vmCid = recorded.current_vm_cid;
  if (vmCid === '') return [];
  if (observed.agent !== 'answers') return [{ kind: 'delete-vm', vmCid, reason }];
  return [
    { kind: 'stop-instance', vmCid },
    { kind: 'unmount-disks', vmCid },
    { kind: 'delete-vm', vmCid, reason },
  ];
}

interface DiskPlan {
  /** While the jobs may still run. */
  readonly before: readonly Step[];
  /** With the jobs stopped. */
  readonly data: readonly Step[];
  /** The jobs have to be stopped and started for it. */
  readonly touchesData: boolean;
  /** The disk on record that will serve after this plan. */
  readonly kept: string | undefined;
  /** Its content will have moved away. */
  readonly movedFrom: string | undefined;
}

function planDisk(
  desired: DesiredEnvironment,
  recorded: EnvironmentState,
  current: DiskRecord | undefined,
  newVm: boolean,
): DiskPlan {
  const wanted = desired.disk;
  const none: DiskPlan = {
    before: [],
    data: [],
    touchesData: false,
    kept: current?.cid,
    movedFrom: undefined,
  };
  if (wanted === undefined) return none;
  const candidate = recorded.disks?.find(
    (disk) => recorded.own.disk_roles[disk.cid] === 'candidate' && isAsWanted(disk, wanted),
  );
  const target: DiskReference = candidate === undefined ? 'new' : { cid: candidate.cid };
  const create = (reason: string): Step[] =>
    candidate === undefined ? [{ kind: 'create-disk', sizeMiB: wanted.sizeMiB, reason }] : [];

  if (current === undefined) {
    return {
      ...none,
      before: create('there is none'),
      data: [
        { kind: 'attach-disk', disk: target },
        { kind: 'promote-disk', disk: target },
      ],
      touchesData: true,
      kept: candidate?.cid,
    };
  }
  const mounted = !newVm && recorded.own.vm?.mounted_disk === current.cid;
  // What is mounted where is not known after an interrupted mount or migration: begin with nothing mounted.
  const attach: Step[] = [
    ...(newVm ? [] : [{ kind: 'unmount-disks', vmCid: recorded.current_vm_cid } as const]),
    { kind: 'attach-disk', disk: { cid: current.cid } },
  ];
  if (isAsWanted(current, wanted) && !desired.recreateDisk) {
    return { ...none, data: mounted ? [] : attach, touchesData: !mounted };
  }
  // A copy that an earlier run began is brought to its end.
  if (candidate === undefined && growsInPlace(current, desired)) {
    return { ...none, data: growth(recorded, current, wanted.sizeMiB, newVm), touchesData: true };
  }
  const reason = reasonForNewDisk(current, wanted);
  const attachTarget: Step = { kind: 'attach-disk', disk: target };
  return {
    before: mounted ? [...create(reason), attachTarget] : create(reason),
    data: [
      ...(mounted ? [] : [...attach, attachTarget]),
      { kind: 'migrate-disk', from: current.cid, to: target },
      { kind: 'promote-disk', disk: target },
      { kind: 'detach-disk', diskCid: current.cid },
    ],
    touchesData: true,
    kept: candidate?.cid,
    movedFrom: current.cid,
  };
}

/** Nothing but the size changes, and upwards. That of a disk which micro made is not on record. */
function growsInPlace(current: DiskRecord, desired: DesiredEnvironment): boolean {
  const { disk: wanted, diskStrategy, recreateDisk } = desired;
  return (
    diskStrategy === 'resize' &&
    !recreateDisk &&
    wanted !== undefined &&
    current.size > 0 &&
    wanted.sizeMiB > current.size &&
    isAsWanted({ ...current, size: wanted.sizeMiB }, wanted)
  );
}

/** The agent grows partition and file system when it mounts the disk. */
function growth(recorded: EnvironmentState, disk: DiskRecord, sizeMiB: number, newVm: boolean): Step[] {
  const resize = { kind: 'resize-disk', diskCid: disk.cid, sizeMiB } as const;
  const attach: Step = { kind: 'attach-disk', disk: { cid: disk.cid } };
  if (newVm) return [resize, attach];
  const vmCid = recorded.current_vm_cid;
  return [{ kind: 'unmount-disks', vmCid }, { ...resize, vmCid }, attach];
}

function isAsWanted(
  disk: DiskRecord,
  wanted: { readonly sizeMiB: number; readonly cloudProperties: JsonObject },
): boolean {
  return (
    disk.size === wanted.sizeMiB &&
    canonicalJson(disk.cloud_properties) === canonicalJson(wanted.cloudProperties)
  );
}

function reasonForNewDisk(current: DiskRecord, wanted: { readonly sizeMiB: number }): string {
  if (current.size !== wanted.sizeMiB)
    return `its size changes from ${current.size} to ${wanted.sizeMiB} MiB`;
  return 'its cloud properties changed, or a new one was asked for';
}

/** Last of all, when the new deployment is proven: nothing is deleted that a failed one would have needed. */
function planCleanUp(
  desired: DesiredEnvironment,
  recorded: EnvironmentState,
  current: DiskRecord | undefined,
  diskPlan: DiskPlan,
): Step[] {
  const steps: Step[] = [];
  for (const disk of recorded.disks ?? []) {
    if (disk.cid === diskPlan.kept || (disk.cid === current?.cid && disk.cid !== diskPlan.movedFrom))
      continue;
    const inUse = disk.cid === diskPlan.movedFrom;
    // Kept for a while: the copy is verified, but only use proves that nothing is missing.
    if (inUse ? desired.oldDiskMs > 0 : (recorded.own.kept_until?.[disk.cid] ?? '') > desired.now) continue;
    const reason = inUse ? 'its content was moved' : 'it is not in use';
    steps.push({ kind: 'delete-disk', diskCid: disk.cid, reason, inUse });
  }
  const kept = findStemcell(desired, recorded);
  for (const stemcell of recorded.stemcells ?? []) {
    if (stemcell.id !== kept?.id) steps.push({ kind: 'delete-stemcell', stemcellCid: stemcell.cid });
  }
  return steps;
}

/** Steps that take the environment away, each of them harmless when its object is gone. */
export function planDelete(
  recorded: EnvironmentState,
  observed: Observation,
  keepDisk: boolean,
): readonly Step[] {
  const steps: Step[] = recorded.own.leftover_vms.map((vmCid) => ({ kind: 'delete-leftover-vm', vmCid }));
  const previous = recorded.own.previous?.vm.cid;
  if (previous !== undefined) {
    if (observed.previous !== 'absent') steps.push({ kind: 'release-previous-vm', vmCid: previous });
    steps.push({ kind: 'delete-previous-vm', vmCid: previous });
  }
  steps.push(...planRemoval(recorded, observed, 'the environment is deleted'));
  const disk = currentDisk(recorded);
  const others = (recorded.disks ?? []).filter((other) => other.cid !== disk?.cid);
  if (!keepDisk && disk !== undefined) {
    steps.push({
      kind: 'delete-disk',
      diskCid: disk.cid,
      reason: 'the environment is deleted',
      inUse: true,
    });
  }
  const stemcell = currentStemcell(recorded);
  if (stemcell !== undefined) steps.push({ kind: 'delete-stemcell', stemcellCid: stemcell.cid });
  for (const other of others) {
    steps.push({ kind: 'delete-disk', diskCid: other.cid, reason: 'it is not in use', inUse: false });
  }
  for (const other of recorded.stemcells ?? []) {
    if (other.id !== stemcell?.id) steps.push({ kind: 'delete-stemcell', stemcellCid: other.cid });
  }
  return steps;
}
