import { createReadStream, createWriteStream } from 'node:fs';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { CloudError } from '@microbosh/cpi';
import { messageOf } from '@microbosh/errors';
import { extract } from 'tar-stream';

export interface RootImage {
  readonly path: string;
  readonly sizeBytes: number;
  remove(): Promise<void>;
}

/** Unpacks `root.img` of a stemcell's `image` (a gzipped tar) beside the temporary files; as a stream, not in memory. */
export async function unpackRootImage(
  imagePath: string,
  signal: AbortSignal | undefined,
): Promise<RootImage> {
  const directory = await mkdtemp(join(tmpdir(), 'microbosh-openstack-'));
  const remove = () => rm(directory, { recursive: true, force: true });
  const target = join(directory, 'root.img');
  try {
    const archive = extract();
    const reading = pipeline(createReadStream(imagePath), createGunzip(), archive, signal ? { signal } : {});
    reading.catch(() => undefined);
    let found = false;
    for await (const entry of archive) {
      if (entry.header.type === 'file' && entry.header.name.replace(/^\.\//, '') === 'root.img') {
        found = true;
        await pipeline(entry, createWriteStream(target, { mode: 0o600 }));
      } else {
        entry.resume();
      }
    }
    await reading;
    if (!found) throw new CloudError('Root image is missing from stemcell archive');
    return { path: target, sizeBytes: (await stat(target)).size, remove };
  } catch (error) {
    await remove();
    signal?.throwIfAborted();
    if (error instanceof CloudError) throw error;
    throw new CloudError(`Extracting stemcell root image failed. ${messageOf(error)}`, { cause: error });
  }
}
