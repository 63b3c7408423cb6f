import { createWriteStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { archiveFile, readArchive } from '@microbosh/artifacts';
import { messageOf } from '@microbosh/errors';
import { processFolder } from '@microbosh/host';
import { CloudError } from './errors.ts';

export interface UnpackedFile {
  /** As the archive names it. */
  readonly name: string;
  readonly path: string;
  readonly sizeBytes: number;
}

export interface UnpackedImage {
  readonly files: readonly UnpackedFile[];
  readonly remove: () => Promise<void>;
}

/**
 * Unpacks what is wanted of a stemcell's `image` (a packed tar) beside the temporary files; as a stream, not in memory.
 */
export async function unpackImage(
  imagePath: string,
  isWanted: (name: string) => boolean,
  signal: AbortSignal | undefined,
): Promise<UnpackedImage> {
  const { path: directory, remove } = await processFolder('image');
  const files: UnpackedFile[] = [];
  try {
    for await (const entry of readArchive(archiveFile(imagePath), signal === undefined ? {} : { signal })) {
      if (entry.kind !== 'file' || !isWanted(entry.path)) continue;
      const path = join(directory, `${files.length}-${basename(entry.path)}`);
      await pipeline(entry.content, createWriteStream(path, { mode: 0o600 }));
      files.push({ name: entry.path, path, sizeBytes: (await stat(path)).size });
    }
    return { files, remove };
  } catch (error) {
    await remove();
    signal?.throwIfAborted();
    throw new CloudError(`The stemcell image cannot be unpacked: ${messageOf(error)}`, { cause: error });
  }
}

export interface RootImage {
  readonly path: string;
  readonly sizeBytes: number;
  readonly remove: () => Promise<void>;
}

/** `root.img` of a stemcell's `image`. */
export async function unpackRootImage(
  imagePath: string,
  signal: AbortSignal | undefined,
): Promise<RootImage> {
  const { files, remove } = await unpackImage(imagePath, (name) => name === 'root.img', signal);
  const [root] = files;
  if (root !== undefined) return { path: root.path, sizeBytes: root.sizeBytes, remove };
  await remove();
  throw new CloudError('Root image is missing from stemcell archive');
}
