import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { NodeCommandRunner } from '@microbosh/host';

const runner = new NodeCommandRunner();
const timeoutMs = 30 * 60_000;

/** The disk of a stemcell as a qcow2 that QEMU can write over, whatever wrapping its IaaS asks for. */
export async function imageOf(stemcell: string, work: string): Promise<string> {
  const target = join(work, 'image.qcow2');
  const unpacked = join(work, 'unpacked');
  await rm(unpacked, { recursive: true, force: true });
  await mkdir(unpacked, { recursive: true });
  await runner.run(['tar', '-C', unpacked, '-xzf', stemcell, 'image'], { timeoutMs });
  const image = join(unpacked, 'image');
  const { stdout: kind } = await runner.run(['file', '--brief', image]);
  let disk = image;
  if (kind.startsWith('gzip')) {
    await runner.run(['tar', '-C', unpacked, '-xzf', image], { timeoutMs });
    await rm(image);
    const names = await readdir(unpacked);
    disk = join(unpacked, names.find((name) => /^(root\.img|.*\.vmdk)$/.test(name)) ?? 'root.img');
  }
  await runner.run(['qemu-img', 'convert', '-O', 'qcow2', disk, target], { timeoutMs });
  await rm(unpacked, { recursive: true });
  return target;
}
