import type { Json } from '@microbosh/errors';

/** A package as `release.MF` lists it. */
export interface ReleasePackage {
  readonly name: string;
  readonly version: string;
  readonly fingerprint: string;
  /** Digest string of the archive. */
  readonly sha1: string;
  /** Package names, same release. */
  readonly dependencies: readonly string[];
  /** Present for compiled packages: `<os>/<version>`. */
  readonly stemcell?: string;
}

/** A job as `release.MF` lists it. */
export interface ReleaseJobEntry {
  readonly name: string;
  readonly version: string;
  readonly fingerprint: string;
  readonly sha1: string;
}

/** `release.MF`. */
export interface ReleaseManifest {
  readonly name: string;
  readonly version: string;
  readonly commitHash?: string;
  readonly uncommittedChanges?: boolean;
  readonly jobs: readonly ReleaseJobEntry[];
  readonly packages: readonly ReleasePackage[];
  readonly compiledPackages: readonly ReleasePackage[];
  /** The archive `license.tgz`. */
  readonly license?: { readonly fingerprint: string; readonly sha1: string };
}

/** `job.MF`. */
export interface JobManifest {
  readonly name: string;
  /** Source below `templates/` → target below the job's directory. */
  readonly templates: Readonly<Record<string, string>>;
  readonly packages: readonly string[];
  /** Dotted property name → declaration; only `default` matters for rendering. */
  readonly properties: Readonly<Record<string, { readonly description?: string; readonly default?: Json }>>;
  readonly consumes: readonly LinkDeclaration[];
  readonly provides: readonly LinkDeclaration[];
}

export interface LinkDeclaration {
  readonly name: string;
  readonly type: string;
  readonly optional?: boolean;
  /** Properties that a provider shares. */
  readonly properties?: readonly string[];
}

/** A job of an opened release: its manifest and its files on disk. */
export interface ReleaseJob {
  readonly entry: ReleaseJobEntry;
  readonly manifest: JobManifest;
  /** Content of `monit` (a template), absent when the archive has none. */
  readonly monit?: string;
  /** Source path below `templates/` → content. */
  readonly templates: ReadonlyMap<string, string>;
}
