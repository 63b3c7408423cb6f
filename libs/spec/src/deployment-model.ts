import type { JsonObject } from '@microbosh/errors';
import type { NetworksSpec } from './networks.ts';

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
  /** `https://user:password@host:port`; absent: generated per deployment. */
  readonly mbus?: string;
  /** PEM trust anchor for the agent's endpoint; absent: generated per deployment. */
  readonly mbusCa?: string;
  readonly sshTunnel?: SshTunnel;
}

/** `cloud_provider.plugin: local` (or micro's `cloud.plugin`): a CPI that ships with microbosh. */
export interface BuiltInCloud extends CloudCommon {
  readonly kind: 'built-in';
  readonly plugin: string;
}

/** `cloud_provider.template(s)`: a CPI release that is compiled and rendered on this machine. */
export interface ReleaseCloud extends CloudCommon {
  readonly kind: 'release';
  readonly templates: readonly { readonly name: string; readonly release: string }[];
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
  /** SHA-512 (hex) of the evaluated manifest in canonical form. */
  readonly manifestSha: string;
}
