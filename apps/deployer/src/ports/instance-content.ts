import type { JsonObject } from '@microbosh/errors';
import type { ApplySpec, JobTemplateRef } from '@microbosh/spec';
import type { AgentSession } from './agent.ts';

/** A package of the instance, in an order in which dependencies come first. */
export interface InstancePackage {
  readonly name: string;
  readonly fingerprint: string;
  /** Key in the compiled-package cache: package, its dependencies and the stemcell it is compiled on. */
  readonly key: string;
  /** The archive is the installed tree already. */
  readonly isCompiled: boolean;
  /** Direct dependencies, by name. */
  readonly dependencies: readonly string[];
  /** File of the archive, with the digest string that the release states for it. */
  archive(): Promise<{ readonly path: string; readonly sha1: string }>;
}

export interface RenderedTemplates {
  /** tar.gz of all jobs: `./<job>/<target>`, `./<job>/monit`. */
  readonly archivePath: string;
  /** Same for the same content. */
  readonly digest: string;
  readonly jobs: readonly JobTemplateRef[];
}

/** What is put onto the VM: from releases, or (micro) from the spec that the stemcell brings along. */
export interface InstanceContent {
  readonly packages: readonly InstancePackage[];
  /** Renders for the address of the VM. Rendered once; asking again is free. */
  render(address: string): Promise<RenderedTemplates>;
  /** Micro: jobs and packages are on the stemcell; what is rendered is known only when its agent answers. */
  readonly baked?: BakedContent;
}

export interface BakedContent {
  /** Same for the same spec and the same changes of it. */
  readonly digest: string;
  /** Fetches the templates from the VM, renders them, stores the result there: the spec to apply. */
  prepare(agent: AgentSession, signal: AbortSignal): Promise<ApplySpec>;
}

/** Packages compiled on earlier VMs. */
export interface CompiledPackages {
  find(key: string): Promise<{ readonly path: string; readonly sha1: string } | undefined>;
  /** `fill` writes the archive to the path it is given; then it is kept under the key. */
  keep(key: string, sha1: string, fill: (path: string) => Promise<void>): Promise<void>;
}

export interface OpenedStemcell {
  readonly name: string;
  readonly version: string;
  readonly apiVersion: number;
  /** sha256 of the tarball. */
  readonly digest: string;
  readonly cloudProperties: JsonObject | null;
  /** CID of an image that is in the cloud already; it is used and never deleted. */
  readonly existing?: string;
  /** The unpacked `image`. */
  imagePath(): Promise<string>;
}
