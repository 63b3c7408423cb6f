import type { BootstrapReport } from '@microbosh/agent-protocol';
import type { JsonObject } from '@microbosh/errors';
import type { AgentSettings, DiskHint } from '@microbosh/spec';

/** Settings as the agent sees them now: last good load, with `update_settings` merged in. */
export interface SettingsService {
  /** Loaded by the bootstrap; throws before the first load. */
  current(): AgentSettings;
  /** Asks the source again; falls back to the cached copy when the source is away. */
  refresh(signal?: AbortSignal): Promise<AgentSettings>;
  /** Merges and stores the argument of `update_settings`; tells whether the agent has to restart itself. */
  update(update: JsonObject): Promise<{ readonly restart: boolean }>;
  /** Names attached disks; everything else that `update_settings` left stays as it is. */
  associateDisks(associations: readonly { readonly name: string; readonly cid: string }[]): Promise<void>;
}

/** Persistent disks, by the CID that the CPI gave them. */
export interface PersistentDisks {
  /** CIDs of the known disks that are mounted; a disk whose device is not there is not. */
  list(): Promise<readonly string[]>;
  addHint(cid: string, hint: DiskHint): Promise<void>;
  removeHint(cid: string): Promise<void>;
  /** Partitions and formats only a disk that is proven empty; mounts it on `store`, or on `store_migration_target` when `store` holds another disk. */
  mount(cid: string, signal?: AbortSignal): Promise<void>;
  /** True when it was mounted. */
  unmount(cid: string, signal?: AbortSignal): Promise<boolean>;
  /** Copies `store` to `store_migration_target`, verifies the copy, and swaps the mounts. '' for a CID: the one that is mounted there. */
  migrate(fromCid: string, toCid: string, signal?: AbortSignal): Promise<void>;
  /** Links `data/dynamic_disks/<cid>` to the device that the hint means. */
  addDynamic(cid: string, hint: DiskHint, signal?: AbortSignal): Promise<void>;
  removeDynamic(cid: string): Promise<void>;
}

export interface HostRecord {
  readonly ip: string;
  readonly name: string;
}

/** What else actions change on the machine: users, names, neighbours, power. */
export interface Machine {
  /** A user for one session, below `bosh_ssh`; answers the public key that the machine's SSH server shows. */
  addSshUser(user: string, publicKey: string): Promise<{ readonly hostPublicKey: string }>;
  /** Removes those users of `addSshUser` whose name matches. */
  removeSshUsers(pattern: string): Promise<void>;
  /** Replaces the names of other machines in `/etc/hosts`. */
  writeHosts(records: readonly HostRecord[]): Promise<void>;
  flushNeighbour(ip: string): Promise<void>;
  /** Looks up the addresses in the rules of the firewall again; nothing changes when they are the same. */
  refreshFirewall(): Promise<void>;
  /** What ties this machine to its present networks: names of interfaces, cached settings. */
  forgetNetworkIdentity(): Promise<void>;
  /** Gives a file to a user of this machine. */
  giveFile(path: string, user: string): Promise<void>;
  powerOff(): Promise<void>;
}

/** Makes the machine ready, in the order of the original agents; every step may run again at any time. */
export interface Bootstrap {
  run(signal?: AbortSignal): Promise<BootstrapReport>;
}

/** Everything that touches the machine, as `createHost` of `../host.ts` builds it. */
export interface AgentHost {
  readonly settings: SettingsService;
  readonly disks: PersistentDisks;
  readonly machine: Machine;
  readonly bootstrap: Bootstrap;
}
