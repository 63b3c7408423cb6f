import type { CommandRunner } from '@microbosh/host';
import { StemcellToolMissing } from './errors.ts';
import type { Flavour } from './flavour.ts';

const packageOf: Readonly<Record<string, string>> = {
  mmdebstrap: 'mmdebstrap',
  dpkg: 'dpkg',
  'apt-config': 'apt',
  fakeroot: 'fakeroot',
  newuidmap: 'uidmap',
  sfdisk: 'fdisk',
  mke2fs: 'e2fsprogs',
  'grub-mkimage': 'grub-common',
  'qemu-img': 'qemu-utils',
};

/** Says at the start, in one sentence, everything that has to be installed. */
export async function requireTools(runner: CommandRunner, flavour: Flavour): Promise<void> {
  const wanted = ['mmdebstrap', 'dpkg', 'apt-config'];
  if (process.getuid?.() !== 0) wanted.push('fakeroot', 'newuidmap');
  if (flavour.kernelPackage !== undefined) wanted.push('sfdisk', 'mke2fs', 'grub-mkimage', 'qemu-img');
  const missing: string[] = [];
  for (const tool of wanted) {
    const found = await runner.run(['sh', '-c', 'command -v -- "$1"', 'sh', tool], {
      okExitCodes: [0, 1, 127],
    });
    if (found.exitCode !== 0) missing.push(packageOf[tool] ?? tool);
  }
  if (flavour.kernelPackage !== undefined) {
    const grub = await runner.run(['test', '-r', '/usr/lib/grub/i386-pc/boot.img'], { okExitCodes: [0, 1] });
    if (grub.exitCode !== 0) missing.push('grub-pc-bin');
  }
  if (missing.length === 0) return;
  throw new StemcellToolMissing(`Programs of these packages are missing: ${missing.join(', ')}`, {
    advice: `apt-get install --no-install-recommends ${missing.join(' ')}`,
    details: { packages: missing },
  });
}
