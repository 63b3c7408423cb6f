import { mkdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { parseStemcellManifest, type StemcellManifest } from '@microbosh/spec';
import { algorithmsOf, Digester } from './digester.ts';
import { ArtifactIncomplete } from './errors.ts';
import { readText, type OpenOptions } from './open-release.ts';
import { archiveFile, readArchive } from './read-archive.ts';
import { writeSparse } from './unpack-archive.ts';

export interface OpenedStemcell {
  readonly manifest: StemcellManifest;
  /** `sha256:<hex>` of the tarball. */
  readonly digest: string;
  /** The unpacked `image`; holes where it is zero. */
  readonly imagePath: string;
  readonly imageBytes: number;
  /** `apply_spec.yml` of a micro stemcell. */
  readonly applySpec?: string;
}

/**
 * Reads a stemcell tarball in one pass, verifying it and its image against the digests that are stated.
 * Throws DigestMismatch, ArtifactIncomplete, ArtifactManifestInvalid, and the errors of `readArchive`.
 */
export async function openStemcell(path: string, options: OpenOptions): Promise<OpenedStemcell> {
  const file = basename(path);
  await mkdir(options.workDir, { recursive: true, mode: 0o700 });
  const whole = Digester.for(options.sha1);
  const imagePath = join(options.workDir, 'image');
  let manifest: StemcellManifest | undefined;
  let image: Digester | undefined;
  let applySpec: string | undefined;
  for await (const entry of readArchive(archiveFile(path), {
    ...options,
    onPackedChunk: (chunk) => whole.update(chunk),
  })) {
    if (entry.kind !== 'file') continue;
    switch (entry.path) {
      case 'stemcell.MF':
        manifest = parseStemcellManifest(await readText(entry), `${file}/stemcell.MF`);
        break;
      case 'apply_spec.yml':
        applySpec = await readText(entry);
        break;
      case 'image': {
        const digester = new Digester(
          manifest === undefined ? ['sha1', 'sha256'] : algorithmsOf(manifest.sha1),
        );
        await writeSparse(entry.content, imagePath, (chunk) => digester.update(chunk));
        image = digester;
        break;
      }
    }
  }
  if (options.sha1 !== undefined && options.sha1 !== '')
    whole.verify(
      options.sha1,
      `Stemcell ${file}`,
      'The file is damaged or not the one that was meant: download it again, or correct the digest in the manifest.',
    );
  if (manifest === undefined) throw missing(file, 'stemcell.MF');
  if (image === undefined) throw missing(file, 'image');
  if (manifest.sha1 !== undefined)
    image.verify(
      manifest.sha1,
      `${file}, entry 'image'`,
      'The stemcell is damaged; download or build it again.',
    );
  return {
    manifest,
    digest: whole.sha256,
    imagePath,
    imageBytes: image.sizeBytes,
    ...(applySpec === undefined ? {} : { applySpec }),
  };
}

function missing(file: string, entry: string): ArtifactIncomplete {
  return new ArtifactIncomplete(`${file} holds no '${entry}': it is not a stemcell.`, {
    advice: 'Give the tarball of a stemcell.',
  });
}
