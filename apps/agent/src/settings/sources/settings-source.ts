import type { JsonObject } from '@microbosh/errors';

/** What a machine learns about itself from the place where its cloud leaves data. */
export interface MachineData {
  /** Settings, or user data that points to a registry. */
  readonly document: JsonObject;
  /** The key of the registry when the user data names none. */
  readonly instanceId?: string;
}

export interface ReadOptions {
  readonly signal?: AbortSignal;
  /** With a cached copy at hand a dead source must not hold up the start. */
  readonly patient: boolean;
}

/** One place where a cloud leaves data. All throw SettingsUnavailable when there is nothing to be read. */
export interface SettingsSource {
  /** Type and place, for logs and errors. */
  readonly name: string;
  /** Reached over the network: an address is needed first. */
  readonly needsNetwork: boolean;
  read(options: ReadOptions): Promise<MachineData>;
  /** The key that the cloud lets log in as vcap; undefined when it gives none. */
  readPublicKey(options: ReadOptions): Promise<string | undefined>;
}
