import { renameSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { ovfDescriptor } from '../../libs/stemcell-builder/src/index.ts';
import { plainTar } from './cloud-bench.ts';

/** The `image` of a stemcell for vSphere and vCloud. The disk is given back under its own name. */
export async function ovfImage(folder: string, disk: string, sizeBytes: number): Promise<string> {
  const file = 'image-disk1.vmdk';
  const described = { file, fileSizeBytes: sizeBytes, capacityBytes: 8 * 2 ** 30 };
  writeFileSync(join(folder, 'image.ovf'), ovfDescriptor('bench', described));
  renameSync(disk, join(folder, file));
  try {
    return await plainTar(folder, `image-of-${basename(disk)}`, ['image.ovf', file]);
  } finally {
    renameSync(join(folder, file), disk);
  }
}
