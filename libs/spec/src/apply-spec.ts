import type { JsonObject } from '@microbosh/errors';
import type { NetworksSpec } from './networks.ts';

/** A blob on the VM's blobstore. `sha1` is a digest string (`sha256:…`, plain hex = SHA-1, several joined by `;`). */
export interface BlobRef {
  readonly blobstore_id: string;
  readonly sha1: string;
}

export interface PackageRef extends BlobRef {
  readonly name: string;
  readonly version: string;
}

export interface JobTemplateRef {
  readonly name: string;
  readonly version: string;
  readonly sha1?: string;
  readonly blobstore_id?: string;
}

/** Argument of the agent's `apply`; keys as create-env sends them. */
export interface ApplySpec {
  readonly deployment: string;
  readonly name?: string;
  readonly index?: number;
  readonly id?: string;
  readonly az?: string;
  readonly networks: NetworksSpec;
  readonly job?: { readonly name: string; readonly templates?: readonly JobTemplateRef[] } & JsonObject;
  readonly packages?: Readonly<Record<string, PackageRef>>;
  readonly rendered_templates_archive?: BlobRef;
  readonly configuration_hash?: string;
  readonly properties?: JsonObject;
}
