import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createLocalCpi } from '../local-cpi.ts';

const context = { directorUuid: 'd', requestId: 'r', stemcellApiVersion: 3 };

/** Removes every environment whose root directory lies in `directory`, as a failed test leaves it, and the directory. */
export async function removeEnvironments(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    const root = join(directory, name);
    const vms = await readdir(join(root, 'vms')).catch(() => []);
    const disks = await readdir(join(root, 'disks')).catch(() => []);
    if (vms.length + disks.length === 0) continue;
    const cpi = createLocalCpi({ cloud: { plugin: 'local', properties: { local: { root_dir: root } } } });
    for (const vm of vms) await cpi.deleteVm(context, vm);
    for (const disk of disks) await cpi.deleteDisk(context, disk);
  }
  await rm(directory, { recursive: true, force: true });
}
