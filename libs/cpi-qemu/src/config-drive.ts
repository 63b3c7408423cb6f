import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { CommandRunner } from '@microbosh/host';

export interface ConfigDriveContent {
  readonly instanceId: string;
  /** JSON text: names the registry, or is the settings themselves. */
  readonly userData: string;
  /** OpenSSH form, for the user vcap. */
  readonly publicKey?: string;
}

/** Files of the drive, by path: what OpenStack's config drive has for both of its readers. */
export function configDriveFiles(content: ConfigDriveContent): ReadonlyMap<string, string> {
  const ec2: Record<string, unknown> = { 'instance-id': content.instanceId };
  const openstack: Record<string, unknown> = { uuid: content.instanceId, name: content.instanceId };
  if (content.publicKey !== undefined) {
    ec2['public-keys'] = { '0': { 'openssh-key': content.publicKey } };
    openstack['public_keys'] = { default: content.publicKey };
  }
  return new Map([
    ['ec2/latest/meta-data.json', JSON.stringify(ec2)],
    ['ec2/latest/user-data', content.userData],
    ['openstack/latest/meta_data.json', JSON.stringify(openstack)],
    ['openstack/latest/user_data', content.userData],
  ]);
}

/** Writes an ISO 9660 image labelled `config-2`, readable by its owner only: it holds credentials. */
export async function writeConfigDrive(
  runner: CommandRunner,
  target: string,
  content: ConfigDriveContent,
  signal?: AbortSignal,
): Promise<void> {
  const work = await mkdtemp(join(dirname(target), '.config-'));
  try {
    const tree = join(work, 'tree');
    for (const [path, text] of configDriveFiles(content)) {
      await mkdir(dirname(join(tree, path)), { recursive: true });
      await writeFile(join(tree, path), text, { mode: 0o600 });
    }
    const image = join(work, 'image.iso');
    await writeFile(image, '', { mode: 0o600 });
    await runner.run(
      ['xorriso', ...['-as', 'mkisofs', '-quiet', '-V', 'config-2', '-J', '-R', '-o', image, tree]],
      { ...(signal && { signal }) },
    );
    await rename(image, target);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
