import type { JsonObject } from '@microbosh/errors';
import type { LocateProperty } from './manifest/locate-property.ts';
import type { NetworksSpec } from './networks.ts';
import type { Position } from './yaml/source-file.ts';

/** Where an artifact comes from. `url` is absolute: `file:///…`, `http://…` or `https://…`. */
export interface ArtifactRef {
  readonly url: string;
  /** Digest string (see `parseDigest`); mandatory for http(s). */
  readonly sha1?: string;
}

export interface ReleaseRef extends ArtifactRef {
  readonly name: string;
}

export interface JobRef {
  readonly name: string;
  readonly release: string;
  /** The job's own properties: when present, group and global properties do not count for it. */
  readonly properties?: JsonObject;
  /** What the manifest says about the job's links; absent: nothing. */
  readonly links?: JobLinks;
}

export interface JobLinks {
  /** By the name that the job's spec gives. */
  readonly consumes: Readonly<Record<string, ConsumedLink>>;
  readonly provides: Readonly<Record<string, ProvidedLink>>;
  readonly custom: readonly CustomLink[];
}

export type ConsumedLink =
  /** From the job of the instance that provides its type. */
  | { readonly kind: 'implicit' }
  | { readonly kind: 'none' }
  /** From the link of that name. */
  | { readonly kind: 'from'; readonly from: string; readonly position: Position }
  | {
      readonly kind: 'manual';
      readonly instances: readonly JsonObject[];
      readonly properties: JsonObject;
      readonly address?: string;
    };

export type ProvidedLink = { readonly kind: 'none' } | { readonly kind: 'provided'; readonly as?: string };

export interface CustomLink {
  readonly name: string;
  readonly type: string;
  readonly properties: readonly string[];
}

export interface PersistentDiskModel {
  readonly sizeMiB: number;
  readonly cloudProperties: JsonObject;
}

export interface SshTunnel {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password?: string;
  /** PEM text. */
  readonly privateKey?: string;
}

interface CloudCommon {
  /** Properties of the CPI (job). For a built-in plug-in this is `cloud.properties` of cpi.json. */
  readonly properties: JsonObject;
  /** `https://user:password@host:port`; absent: generated per deployment. Host 0.0.0.0: the VM's address, once known. */
  readonly mbus?: string;
  /** PEM trust anchor for the agent's endpoint; absent: generated per deployment. */
  readonly mbusCa?: string;
  readonly sshTunnel?: SshTunnel;
}

/** `cloud_provider.plugin: local` (or micro's `cloud.plugin`): a CPI that ships with microbosh. */
export interface BuiltInCloud extends CloudCommon {
  readonly kind: 'built-in';
  readonly plugin: string;
  /** Micro's `cloud.provider.path`: this executable is the CPI, whatever the plug-in is. Absolute. */
  readonly executable?: string;
}

/** `cloud_provider.template(s)`: a CPI release that is compiled and rendered on this machine. */
export interface ReleaseCloud extends CloudCommon {
  readonly kind: 'release';
  readonly templates: readonly { readonly name: string; readonly release: string }[];
  /** The releases that `templates` names. */
  readonly releases: readonly ReleaseRef[];
  /** Where the manifest sets a property; for messages. */
  readonly locate?: LocateProperty;
}

/** HTTP(S) check of the service, made from this machine after the jobs run. Our key `readiness`. */
export interface ReadinessCheck {
  readonly url: string;
  /** PEM; absent: the system's roots. */
  readonly ca?: string;
  /** Default 200. */
  readonly expectStatus: number;
  /** Default 120 000. */
  readonly timeoutMs: number;
}

/** How long is waited for what, in milliseconds; absent: the deployer's default. Our key `limits`. */
export interface TimeLimits {
  /** For the agent of a new VM, and after a disk was attached. */
  readonly agentMs?: number;
  /** For the agent of a VM that has answered before. */
  readonly knownAgentMs?: number;
  /** For one call of the CPI. */
  readonly cpiMs?: number;
  /** For one task of the agent. */
  readonly taskMs?: number;
  readonly drainMs?: number;
  readonly compileMs?: number;
  /** For a migration of a disk, and for a blob on its way. */
  readonly copyMs?: number;
  /** How long a disk is kept whose content was moved to another. */
  readonly oldDiskMs?: number;
}

/**
 * Which VM goes first when a new one is needed: the old one, or the new one where address and disk allow it. Named as
 * in the manifests of a director.
 */
export type VmStrategy = 'create-swap-delete' | 'delete-create';

/** What becomes of a persistent disk that is to be larger: its data is copied to a new one, or it grows itself. */
export type DiskStrategy = 'copy' | 'resize';

/** What only the micro front end has: where the apply spec comes from is the one step that looks at it. */
export interface MicroModel {
  /** `aws`, `openstack`, `vcloud`, `vsphere`, … as the manifest names it. */
  readonly plugin: string;
  /** `apply_spec` of the manifest. */
  readonly applySpec: { readonly agent: JsonObject; readonly properties: JsonObject };
  /** `cloud.properties` after the defaults. */
  readonly cloudProperties: JsonObject;
  /** Where operators reach the VM: vip, else ip; absent when only the cloud knows it. */
  readonly clientServicesIp?: string;
  /** Where agents of other VMs reach it; absent when only the cloud knows it. */
  readonly agentServicesIp?: string;
  /** Image that exists in the cloud, used when no stemcell is given. */
  readonly imageId?: string;
}

/** What both front ends (create-env manifest, micro_bosh.yml) are translated to, and what the engine deploys. */
export interface DeploymentModel {
  readonly name: string;
  readonly source: 'create-env' | 'micro';
  readonly releases: readonly ReleaseRef[];
  readonly cloud: BuiltInCloud | ReleaseCloud;
  readonly stemcell: ArtifactRef;
  /** Networks of the one instance, as CPI and agent get them. */
  readonly networks: NetworksSpec;
  readonly vm: { readonly cloudProperties: JsonObject; readonly env: JsonObject };
  /** Absent: the deployment has no persistent disk. */
  readonly persistentDisk?: PersistentDiskModel;
  readonly group: {
    readonly name: string;
    readonly jobs: readonly JobRef[];
    readonly properties: JsonObject;
  };
  /** Lowest property layer. */
  readonly properties: JsonObject;
  readonly tags: Readonly<Record<string, string>>;
  readonly updateWatchTimeMs: { readonly min: number; readonly max: number };
  readonly readiness: readonly ReadinessCheck[];
  readonly limits?: TimeLimits;
  /** Absent: `create-swap-delete`. */
  readonly vmStrategy?: VmStrategy;
  /** Absent: `copy`. */
  readonly diskStrategy?: DiskStrategy;
  /** SHA-512 (hex) of the evaluated manifest in canonical form. */
  readonly manifestSha: string;
  /** Where the manifest sets a property; for messages. */
  readonly locate?: LocateProperty;
  /** Present exactly when `source` is `micro`. */
  readonly micro?: MicroModel;
}
