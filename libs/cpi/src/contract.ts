import type { Json, JsonObject } from '@microbosh/errors';
import type { NetworksSpec } from '@microbosh/spec';

/** `info`. */
export interface CpiInfo {
  readonly stemcell_formats: readonly string[];
  /** 1 when absent. */
  readonly api_version: number;
}

/**
 * Context of a call. `token` is the idempotency token of a create_* call (ours: sent as `context.microbosh.token`, only
 * to our own CPIs): a second call with the same token returns the resource that the first one made.
 */
export interface CallContext {
  readonly directorUuid: string;
  readonly requestId: string;
  /** api_version of the stemcell of the VM concerned; 1 when unknown. */
  readonly stemcellApiVersion: number;
  readonly token?: string;
  readonly signal?: AbortSignal;
}

/** v1 answers with a bare cid, v2 with cid and networks; both arrive in this shape. */
export interface CreatedVm {
  readonly cid: string;
  readonly networks?: NetworksSpec;
}

/**
 * A cloud provider interface, API v2 (https://bosh.io/docs/cpi-api-v2). Sizes are MiB, cids are non-empty strings.
 * Every method may throw a CpiError; deletes of absent resources succeed or throw the matching NotFound.
 * Built-in CPIs implement this in process; `ProcessCpi` speaks it to any CPI executable.
 */
export interface Cpi {
  info(context: CallContext): Promise<CpiInfo>;
  createStemcell(
    context: CallContext,
    imagePath: string,
    cloudProperties: JsonObject | null,
  ): Promise<string>;
  deleteStemcell(context: CallContext, stemcellCid: string): Promise<void>;
  createVm(
    context: CallContext,
    agentId: string,
    stemcellCid: string,
    cloudProperties: JsonObject,
    networks: NetworksSpec,
    diskCids: readonly string[],
    env: JsonObject,
  ): Promise<CreatedVm>;
  deleteVm(context: CallContext, vmCid: string): Promise<void>;
  hasVm(context: CallContext, vmCid: string): Promise<boolean>;
  rebootVm(context: CallContext, vmCid: string): Promise<void>;
  setVmMetadata(
    context: CallContext,
    vmCid: string,
    metadata: Readonly<Record<string, string>>,
  ): Promise<void>;
  createDisk(
    context: CallContext,
    sizeMiB: number,
    cloudProperties: JsonObject,
    vmCid: string | null,
  ): Promise<string>;
  deleteDisk(context: CallContext, diskCid: string): Promise<void>;
  hasDisk(context: CallContext, diskCid: string): Promise<boolean>;
  /** The disk hint for the agent's add_persistent_disk; null from a CPI of API v1. */
  attachDisk(context: CallContext, vmCid: string, diskCid: string): Promise<Json>;
  detachDisk(context: CallContext, vmCid: string, diskCid: string): Promise<void>;
  getDisks(context: CallContext, vmCid: string): Promise<readonly string[]>;
  setDiskMetadata(
    context: CallContext,
    diskCid: string,
    metadata: Readonly<Record<string, string>>,
  ): Promise<void>;
  resizeDisk(context: CallContext, diskCid: string, newSizeMiB: number): Promise<void>;
  snapshotDisk(
    context: CallContext,
    diskCid: string,
    metadata: Readonly<Record<string, string>>,
  ): Promise<string>;
  deleteSnapshot(context: CallContext, snapshotCid: string): Promise<void>;
  calculateVmCloudProperties(
    context: CallContext,
    requirements: { readonly cpu: number; readonly ram: number; readonly ephemeral_disk_size: number },
  ): Promise<JsonObject>;
}

/** What a deploy is going to ask of the infrastructure. */
export interface DeployNeeds {
  readonly vmCloudProperties: JsonObject;
  readonly networks: NetworksSpec;
  /** Null: the deployment has no persistent disk. */
  readonly disk: { readonly sizeMiB: number; readonly cloudProperties: JsonObject } | null;
}

/** One thing that was looked at before a deploy. */
export interface CloudCheck {
  /** 'credentials', 'flavor', 'network', … */
  readonly name: string;
  /** `warning`: the deploy may go through; `failed`: it will not. */
  readonly status: 'ok' | 'warning' | 'failed';
  /** What was found, in one sentence. */
  readonly message: string;
  readonly advice?: string;
}

/** Something that a deployment has in the cloud. */
export interface FoundResource {
  readonly kind: 'vm' | 'disk' | 'stemcell';
  readonly cid: string;
  /** Of a disk, where the cloud tells. */
  readonly sizeMiB?: number;
  readonly cloudProperties?: JsonObject;
}

/**
 * What our own CPIs can do beyond the contract when they run in process.
 */
export interface CpiExtensions {
  /**
   * The address of this machine at which a VM on these networks reaches it, made ready if need be (the local CPI
   * creates its bridge). Undefined: the VM cannot reach this machine directly.
   */
  hostAddress?(context: CallContext, networks: NetworksSpec): Promise<string | undefined>;
  /**
   * The resource that an earlier create_* call with this token made and that still exists: how a deployer that lost the
   * answer finds out what is there.
   */
  findByToken?(
    context: CallContext,
    kind: 'stemcell' | 'vm' | 'disk',
    token: string,
  ): Promise<string | undefined>;
  /**
   * What exists with all of these values in its metadata, and the stemcells of those VMs: how a deployer that lost its
   * state finds what it made. Ephemeral disks belong to their VM and are not named.
   */
  findByMetadata?(
    context: CallContext,
    metadata: Readonly<Record<string, string>>,
  ): Promise<readonly FoundResource[]>;
  /**
   * Looks whether a deploy can go through: credentials, sizes, networks, keys, quota. Changes nothing, and throws only
   * for a defect of the program: what cannot be found out is a failed check.
   */
  checkNeeds?(context: CallContext, needs: DeployNeeds): Promise<readonly CloudCheck[]>;
  /** Last part of the VM's console output, for error messages and support bundles. */
  consoleLog?(context: CallContext, vmCid: string): Promise<string | undefined>;
  /** Ends the use of this object: gives back what `hostAddress` made ready and no VM uses. */
  dispose?(): Promise<void>;
}

/** Configuration of a CPI: the document `cpi.json` (`cloud.plugin`, `cloud.properties`). */
export interface CpiConfig {
  readonly cloud: {
    readonly plugin: string;
    readonly properties: {
      /** Merged verbatim into every VM's settings: mbus, ntp, blobstore. */
      readonly agent?: JsonObject;
      readonly registry?: {
        /** Base URL without credentials. */
        readonly endpoint: string;
        readonly user: string;
        readonly password: string;
        /** PEM trust anchor of an https endpoint. */
        readonly ca?: string;
      };
    } & JsonObject;
  };
}

/** Constructor of a built-in CPI: `export const createLocalCpi: CpiFactory`. */
export type CpiFactory = (config: CpiConfig) => Cpi & CpiExtensions;
