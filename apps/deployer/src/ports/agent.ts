import type { JsonObject } from '@microbosh/errors';
import type { ApplySpec, BlobRef, DiskHint } from '@microbosh/spec';

export interface CompiledPackageRef extends BlobRef {
  readonly name: string;
  readonly version: string;
}

export interface InstanceState {
  readonly jobState: string;
  /** The whole answer of `get_state`. */
  readonly raw: JsonObject;
}

/** One request that the agent could not be brought to answer, and why. */
export interface AgentTrouble {
  /** `no-route`, `refused`, `timeout`, `tls-name`, `tls-untrusted`, `tls-expired`, `credentials`, `http`, … */
  readonly kind: string;
  /** A sentence for the operator. */
  readonly text: string;
  /** Waiting longer cannot help. */
  readonly hopeless: boolean;
}

/** Told again and again while a blob is on its way. */
export type ByteProgress = (done: number, total: number | undefined) => void;

/**
 * The agent of one VM. Long operations are followed to their end. Every method rejects with an operational error;
 * methods that old agents lack (`run_script`, `add_persistent_disk`, `remove_persistent_disk`) succeed silently there.
 */
export interface AgentSession {
  ping(signal: AbortSignal): Promise<void>;
  /** Why a request failed. */
  explain(error: unknown): AgentTrouble;
  /** `full`: with the vitals. */
  getState(signal: AbortSignal, filter?: 'full'): Promise<InstanceState>;
  apply(spec: ApplySpec, signal: AbortSignal): Promise<void>;
  /** The spec baked into a micro stemcell. */
  releaseApplySpec(signal: AbortSignal): Promise<JsonObject>;
  runScript(name: string, signal: AbortSignal): Promise<void>;
  drain(signal: AbortSignal): Promise<void>;
  start(signal: AbortSignal): Promise<void>;
  stop(signal: AbortSignal): Promise<void>;
  listDisk(signal: AbortSignal): Promise<readonly string[]>;
  addPersistentDisk(diskCid: string, hint: DiskHint, signal: AbortSignal): Promise<void>;
  removePersistentDisk(diskCid: string, signal: AbortSignal): Promise<void>;
  mountDisk(diskCid: string, signal: AbortSignal): Promise<void>;
  unmountDisk(diskCid: string, signal: AbortSignal): Promise<void>;
  migrateDisk(fromCid: string, toCid: string, signal: AbortSignal): Promise<void>;
  compilePackage(
    source: { readonly name: string; readonly version: string; readonly blob: BlobRef },
    dependencies: Readonly<Record<string, CompiledPackageRef>>,
    signal: AbortSignal,
  ): Promise<BlobRef>;
  /** Stores a file in the VM's blobstore. */
  uploadBlob(path: string, signal: AbortSignal, onProgress?: ByteProgress): Promise<BlobRef>;
  /** Fetches a blob into a new file and verifies its digest. */
  downloadBlob(blob: BlobRef, path: string, signal: AbortSignal, onProgress?: ByteProgress): Promise<void>;
  /** Ends its connections. */
  close(): Promise<void>;
}

/** Opens a session; no request is made yet. `ca` empty: the system's roots; undefined: no verification. */
export type AgentConnector = (options: {
  readonly mbus: string;
  readonly ca: string | undefined;
  /** Name in the certificate when it is not the host of `mbus`. */
  readonly serverName?: string;
  readonly directorUuid: string;
}) => Promise<AgentSession>;
