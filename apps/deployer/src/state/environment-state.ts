import { Type } from 'typebox';
import type { Static } from 'typebox';
import type { DeploymentState, DiskRecord, StemcellRecord } from '@microbosh/spec';

const text = Type.String();
const count = Type.Integer({ minimum: 0 });
const json = Type.Record(Type.String(), Type.Unknown());

/** A package that lies in the blobstore of the current VM. */
const installedPackage = Type.Object({ blobstore_id: text, sha1: text });

const vmRecord = Type.Object({
  cid: text,
  agent_id: text,
  /** Digest of everything that a VM takes from its creation: two VMs with the same one are interchangeable. */
  fingerprint: text,
  /** Where the agent answers. */
  address: text,
  /** The agent answered at least once. */
  ready: Type.Boolean(),
  /** The agent did not answer in all the time it was given: the VM is replaced. */
  gave_up: Type.Boolean(),
  /** Digest of the metadata that was set. */
  metadata: text,
  /** The networks as the VM has them. */
  networks: json,
  /** Compiled packages on the VM, by the key of the compiled-package cache. */
  packages: Type.Record(Type.String(), installedPackage),
  /** Disk that the agent has mounted as its store. */
  mounted_disk: text,
  /** Key with which its SSH server proved itself first: `ssh-ed25519 AAAA…`. */
  ssh_host_key: Type.Optional(text),
});

const endpoint = Type.Object({
  /** `https://user:password@host:port`. Host `0.0.0.0`: the cloud chooses the address when it makes the VM. */
  mbus: text,
  /** PEM trust anchor; empty: the system's roots. */
  ca: text,
  /** Name in the certificate when it is not the host of `mbus`. */
  server_name: Type.Optional(text),
});

/** The VM that served before the current one was made, until that one is healthy. */
const previousVm = Type.Object({
  vm: vmRecord,
  endpoint: Type.Optional(endpoint),
  stemcell_id: text,
  /** Its jobs are stopped and its persistent disk is detached. */
  released: Type.Boolean(),
});

const diskRole = Type.Union([
  /** Made for this deployment, holds nothing yet or an unfinished copy. */
  Type.Literal('candidate'),
  /** Its content was moved to another disk and verified there. */
  Type.Literal('retired'),
]);

const artifactRecord = Type.Object({
  url: text,
  /** The digest that the manifest demands; empty when it demands none. */
  sha1: text,
  /** File that was read. */
  path: text,
  size: count,
  /** Nanoseconds since the epoch, as text. */
  modified_ns: text,
  inode: text,
  /** sha256 of the content. */
  digest: text,
});

/** Flags of the last deploy: status and delete-env need not repeat them. Paths are absolute. */
export const rememberedInputs = Type.Object({
  var: Type.Array(text),
  varFile: Type.Array(text),
  varsFile: Type.Array(text),
  varsEnv: Type.Array(text),
  varsStore: Type.Optional(text),
  opsFile: Type.Array(text),
  /** Of a micro deployment, where the manifest does not name it: a URL, or `image:` and an id. */
  stemcell: Type.Optional(text),
  stemcellSha1: Type.Optional(text),
});

/** Where an environment of the micro plug-in came from. */
const importedDeployment = Type.Object({
  file: text,
  name: text,
  uuid: text,
  vm_cid: text,
  disk_cid: text,
});

/** What this program keeps beside the keys of create-env, which drops them when it saves: all of it can be rebuilt or is absent-safe. */
export const ownStateSchema = Type.Object({
  schema_version: Type.Literal(1),
  /** Counts saves. */
  serial: count,
  /** sha256 of the document without this key. */
  checksum: text,
  deployment: Type.Optional(text),
  group: Type.Optional(text),
  /** `spec.id` of the instance; stays the same for life. */
  instance_id: text,
  inputs: Type.Optional(rememberedInputs),
  /** TLS and credentials of the agent's endpoint, generated when the manifest gives none. */
  agent: Type.Optional(
    Type.Object({
      user: text,
      password: text,
      port: count,
      ca: text,
      certificate: text,
      private_key: text,
      /** Names and addresses in the certificate. */
      names: Type.Array(text),
      expires_at: text,
    }),
  ),
  /** Where the agent answered last: still right for the old VM when the manifest changes it. */
  endpoint: Type.Optional(endpoint),
  /** The registry in process: its address must stay, VMs have it in their user data. */
  registry: Type.Optional(
    Type.Object({
      port: count,
      user: text,
      password: text,
      ca: text,
      ca_key: text,
      /** For which `certificate` is. */
      address: text,
      certificate: text,
      private_key: text,
    }),
  ),
  /** The `cloud_provider` part of the last deploy. */
  cloud: Type.Optional(json),
  vm: Type.Optional(vmRecord),
  previous: Type.Optional(previousVm),
  /** VMs that no longer serve and have to be deleted. */
  leftover_vms: Type.Array(text),
  /** Digest of the tarball that a stemcell in the cloud was made from, by CID. */
  stemcell_digests: Type.Record(Type.String(), text),
  /** CIDs of images that were there before: used, never deleted. */
  adopted_stemcells: Type.Optional(Type.Array(text)),
  disk_roles: Type.Record(Type.String(), diskRole),
  /** Until when a retired disk is kept: RFC 3339, by CID. */
  kept_until: Type.Optional(Type.Record(Type.String(), text)),
  artifacts: Type.Array(artifactRecord),
  /** Digest of stemcell, releases and manifest of the last deploy that went through. */
  deployed: Type.Optional(text),
  /** Digests of all that the manifest of that deploy set, by path: `plan` names what changed. */
  properties: Type.Optional(Type.Record(text, text)),
  /** Digest of what the agent applied and started last; absent while an update runs. */
  applied: Type.Optional(text),
  /** Set by stop-env: the operator wants it to stay stopped. */
  stopped: Type.Boolean(),
  deployed_at: Type.Optional(text),
  imported: Type.Optional(importedDeployment),
});

export type OwnState = Static<typeof ownStateSchema>;
export type VmRecord = Static<typeof vmRecord>;
export type DiskRole = Static<typeof diskRole>;
export type ArtifactRecord = Static<typeof artifactRecord>;
export type RememberedInputs = Static<typeof rememberedInputs>;
export type ImportedDeployment = Static<typeof importedDeployment>;
export type PreviousVm = Static<typeof previousVm>;
export type AgentEndpoint = Static<typeof endpoint>;

/** The state of one environment in memory: create-env's keys, and ours apart. */
export interface EnvironmentState extends DeploymentState {
  readonly own: OwnState;
}

export function currentDisk(state: EnvironmentState): DiskRecord | undefined {
  return state.current_disk_id === ''
    ? undefined
    : state.disks?.find((disk) => disk.id === state.current_disk_id);
}

export function currentStemcell(state: EnvironmentState): StemcellRecord | undefined {
  return state.current_stemcell_id === ''
    ? undefined
    : state.stemcells?.find((stemcell) => stemcell.id === state.current_stemcell_id);
}
