import type { JsonObject } from '@microbosh/errors';

/**
 * One entry of the networks map that create_vm, the agent's settings and the apply spec share.
 * Source of the contract: CPI API v1/v2 `create_vm`, agent settings `networks`.
 */
export interface NetworkSpec {
  readonly type: 'manual' | 'dynamic' | 'vip';
  readonly ip?: string;
  /** Dotted for IPv4, eight groups for IPv6. */
  readonly netmask?: string;
  readonly gateway?: string;
  readonly dns?: readonly string[];
  readonly default?: readonly ('dns' | 'gateway')[];
  readonly cloud_properties?: JsonObject;
  readonly mac?: string;
  readonly use_dhcp?: boolean;
  readonly resolved?: boolean;
  readonly preconfigured?: boolean;
  readonly alias?: string;
  readonly prefix?: string;
  readonly routes?: readonly {
    readonly destination: string;
    readonly gateway: string;
    readonly netmask: string;
  }[];
}

export type NetworksSpec = Readonly<Record<string, NetworkSpec>>;
