import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { NodeCommandRunner } from '@microbosh/host';
import { ovfDescriptor } from '@microbosh/stemcell-builder';

/** A stemcell's `image`: the descriptor that `build-stemcell` writes, and something in place of the disk. */
export async function writeOvfImage(work: string): Promise<string> {
  const disk = Buffer.alloc(3 << 20, 'KDMV');
  await writeFile(join(work, 'image-disk1.vmdk'), disk);
  const described = { file: 'image-disk1.vmdk', fileSizeBytes: disk.length, capacityBytes: 3 * 2 ** 30 };
  await writeFile(join(work, 'image.ovf'), ovfDescriptor('stemcell', described));
  const path = join(work, 'image');
  await new NodeCommandRunner().run(['tar', '-czf', path, '-C', work, 'image.ovf', 'image-disk1.vmdk']);
  return path;
}
