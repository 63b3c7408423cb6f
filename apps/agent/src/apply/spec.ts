import type { MethodArguments } from '@microbosh/agent-protocol';
import { createHash } from 'node:crypto';

/** The apply spec as a request brings it. */
export type SentSpec = MethodArguments<'apply'>[0];

export interface JobToInstall {
  readonly name: string;
  readonly version: string;
}

export interface PackageToInstall {
  readonly name: string;
  readonly version: string;
  readonly digest: string;
  readonly blobId: string;
  readonly signedUrl?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** What a spec asks to be on the machine. */
export interface WantedBundles {
  readonly jobs: readonly JobToInstall[];
  readonly archive?: { readonly blobId: string; readonly digest: string };
  readonly packages: readonly PackageToInstall[];
}

const none: WantedBundles = { jobs: [], packages: [] };

/** Nothing without a configuration hash; no jobs without an archive of rendered templates. */
export function wantedBundles(spec: SentSpec): WantedBundles {
  if (!hasConfiguration(spec)) return none;
  const archive = spec.rendered_templates_archive;
  const packages = Object.entries(spec.packages ?? {}).map(([key, sent]) => ({
    name: sent.name === '' ? key : sent.name,
    version: sent.version,
    digest: sent.sha1,
    blobId: sent.blobstore_id ?? '',
    ...(sent.signed_url === undefined || sent.signed_url === '' ? {} : { signedUrl: sent.signed_url }),
    ...(sent.blobstore_headers ? { headers: sent.blobstore_headers } : {}),
  }));
  if (!archive) return { jobs: [], packages };
  const jobs = (spec.job?.templates ?? []).map(({ name, version }) => ({ name, version }));
  return { jobs, archive: { blobId: archive.blobstore_id ?? '', digest: archive.sha1 ?? '' }, packages };
}

export function hasConfiguration(spec: SentSpec): boolean {
  return typeof spec.configuration_hash === 'string' && spec.configuration_hash !== '';
}

/** Directory name of an installed bundle: `sha1("<version>-<digest>")`. */
export function bundleDirectory(version: string, digest: string): string {
  return createHash('sha1').update(`${version}-${digest}`).digest('hex');
}

/** Names become path segments. */
export function isBundleName(name: string): boolean {
  return /^[A-Za-z0-9_][A-Za-z0-9_.+-]*$/.test(name) && name.length <= 200;
}
