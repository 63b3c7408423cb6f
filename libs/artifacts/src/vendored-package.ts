import { lstat, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode } from '@microbosh/errors';
import { childOf, parseYaml, toJson, type YamlNode } from '@microbosh/spec';
import { Digester } from './digester.ts';
import { ReleaseSourceInvalid } from './errors.ts';
import { fetchArtifact } from './fetch-artifact.ts';

/** A package of another release that was vendored into this one: its `spec.lock`, and where its archive is. */
export interface VendoredPackage {
  readonly name: string;
  readonly fingerprint: string;
  readonly dependencies: readonly string[];
  readonly path: string;
  /** Digest string of the archive. */
  readonly digest: string;
  readonly sizeBytes: number;
}

/** Undefined when the package has no `spec.lock`. */
export async function readVendoredPackage(
  directory: string,
  name: string,
  options: { readonly cacheDir: string; readonly signal?: AbortSignal },
): Promise<VendoredPackage | undefined> {
  const shown = `packages/${name}/spec.lock`;
  const text = await optionalText(join(directory, shown));
  if (text === undefined) return undefined;
  const lock = parseYaml(text, { file: shown });
  const fingerprint = textAt(lock, 'fingerprint');
  if (textAt(lock, 'name') !== name)
    throw invalid(
      `${shown} is that of the package '${textAt(lock, 'name')}'.`,
      'Make the name and the directory the same.',
    );
  if (fingerprint === '') throw invalid(`${shown} has no fingerprint.`, 'Vendor the package again.');

  const indexFile = `.final_builds/packages/${name}/index.yml`;
  const index = await optionalText(join(directory, indexFile));
  const build = childOf(childOf(parseYaml(index ?? '', { file: indexFile }), 'builds'), fingerprint);
  const blob = textAt(build, 'blobstore_id');
  const digest = textAt(build, 'sha1');
  if (blob === '' || digest === '')
    throw invalid(
      `The package '${name}' is vendored with the fingerprint ${fingerprint}, and ${indexFile} does not list it.`,
      'Bring .final_builds of the release, or vendor the package again.',
    );
  const fetched = await fetchArtifact(
    { url: await blobUrl(directory, blob, name), sha1: digest },
    { cacheDir: options.cacheDir, ...(options.signal === undefined ? {} : { signal: options.signal }) },
  );
  const digester = Digester.for(digest);
  digester.update(await readFile(fetched.path));
  digester.verify(
    digest,
    `The archive of the vendored package '${name}'`,
    'The blobstore of the release holds something else; vendor the package again.',
  );
  return {
    name,
    fingerprint,
    dependencies: textsAt(lock, 'dependencies', shown),
    path: fetched.path,
    digest,
    sizeBytes: digester.sizeBytes,
  };
}

/** Where the release's own blobstore (`config/final.yml`) has a blob; only what anybody may read. */
async function blobUrl(directory: string, blob: string, name: string): Promise<string> {
  const file = 'config/final.yml';
  const text = await optionalText(join(directory, file));
  const blobstore = childOf(parseYaml(text ?? '', { file }), 'blobstore');
  const options = childOf(blobstore, 'options');
  const provider = textAt(blobstore, 'provider');
  const folder = textAt(options, 'folder_name');
  const key = folder === '' ? blob : `${folder}/${blob}`;
  const bucket = textAt(options, 'bucket_name');
  switch (provider) {
    case 'local': {
      const path = textAt(options, 'blobstore_path');
      return `file://${join(path.startsWith('/') ? path : join(directory, path), blob)}`;
    }
    case 's3': {
      const region = textAt(options, 'region');
      const host = textAt(options, 'host') || `s3${region === '' ? '' : `.${region}`}.amazonaws.com`;
      const port = textAt(options, 'port');
      const scheme = textAt(options, 'use_ssl') === 'false' ? 'http' : 'https';
      return `${scheme}://${host}${port === '' ? '' : `:${port}`}/${bucket}/${key}`;
    }
    case 'gcs':
      return `https://storage.googleapis.com/${bucket}/${key}`;
    default:
      throw invalid(
        `The package '${name}' is vendored, and its archive is in a blobstore of the kind '${provider}', which cannot be read here.`,
        `Kinds in ${file} that can: local, s3, gcs.`,
      );
  }
}

async function optionalText(path: string): Promise<string | undefined> {
  if ((await lstat(path).catch(() => undefined)) === undefined) return undefined;
  return readFile(path, 'utf8').catch((error: unknown) => {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  });
}

function textAt(node: YamlNode | undefined, key: string): string {
  const field = childOf(node, key);
  return field?.kind === 'scalar' && field.value !== null ? (field.text ?? String(field.value)) : '';
}

function textsAt(node: YamlNode, key: string, shown: string): string[] {
  const field = childOf(node, key);
  const value = field === undefined ? null : toJson(field);
  if (value === null) return [];
  if (!Array.isArray(value)) throw invalid(`${shown}: '${key}' must be a list.`, `Correct ${shown}.`);
  return value.map(String);
}

function invalid(message: string, advice: string): ReleaseSourceInvalid {
  return new ReleaseSourceInvalid(message, { advice });
}
