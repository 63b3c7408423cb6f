import type { Json, JsonObject } from '@microbosh/errors';
import type { NetworksSpec } from './networks.ts';

/** How a disk is found on the VM: a plain string fills both `path` and `volume_id`. */
export type DiskHint =
  | string
  | {
      readonly path?: string;
      readonly volume_id?: string;
      readonly id?: string;
      readonly lun?: string;
      readonly host_device_id?: string;
      readonly iscsi_settings?: JsonObject;
    };

/** TLS material of the agent's endpoint, or of its NATS client. PEM. */
export interface MbusCertificate {
  readonly ca?: string;
  readonly certificate?: string;
  readonly private_key?: string;
}

/** The document that a CPI delivers to the agent (registry, user data, CD-ROM, file). */
export interface AgentSettings {
  readonly agent_id: string;
  readonly vm?: JsonObject;
  /** `https://user:password@host:port` or `nats://…`. */
  readonly mbus: string;
  readonly networks: NetworksSpec;
  readonly disks: {
    readonly system?: string;
    readonly ephemeral?: DiskHint | null;
    /** Disk CID → hint. */
    readonly persistent?: Readonly<Record<string, DiskHint>>;
    readonly raw_ephemeral?: readonly JsonObject[];
  };
  readonly ntp?: readonly string[];
  readonly blobstore?: { readonly provider?: string; readonly options?: JsonObject };
  /** The deployment's `env`; the agent reads `env.bosh.*` and `persistent_disk_*`. */
  readonly env?: Readonly<Record<string, Json>>;
  readonly iptables?: { readonly drop_output?: readonly string[] };
}

/** What a CPI puts where the VM finds it before it knows anything else. */
export interface UserData {
  readonly registry?: {
    /** Base URL; user-info carries the instance's read token; or a file path. */
    readonly endpoint: string;
    /** PEM. Trust anchor of an https endpoint. Ours; other agents ignore it. */
    readonly ca?: string;
  };
  readonly server?: { readonly name: string };
  readonly dns?: { readonly nameserver: readonly string[] };
  readonly networks?: NetworksSpec;
}
