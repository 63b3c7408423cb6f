import type { JsonObject } from '@microbosh/errors';

/** `stemcell.MF`. */
export interface StemcellManifest {
  readonly name: string;
  readonly version: string;
  readonly operatingSystem?: string;
  /** 1 when the manifest has none. */
  readonly apiVersion: number;
  readonly stemcellFormats: readonly string[];
  /** Digest string of `image`. */
  readonly sha1?: string;
  /** null when the manifest has none: passed to create_stemcell as it is. */
  readonly cloudProperties: JsonObject | null;
}
