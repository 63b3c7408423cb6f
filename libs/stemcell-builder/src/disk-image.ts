import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { CommandRunner } from '@microbosh/host';
import { CommandFailed } from '@microbosh/host';
import { StemcellImageTooSmall } from './errors.ts';

/** The same for every image: kernel command line, GRUB and fstab name the root file system by it. */
export const rootUuid = '6d6963d2-626f-4873-8000-000000000001';
const diskSignature = '0x6d62a001';
const grubDirectory = '/usr/lib/grub/i386-pc';

export const kernelArguments = [
  `root=UUID=${rootUuid}`,
  'ro',
  'rootfstype=ext4',
  'net.ifnames=0',
  'console=tty0',
  'console=ttyS0,115200n8',
  'consoleblank=0',
  'audit=0',
  'panic=60',
  'quiet',
].join(' ');

export function grubConfiguration(): string {
  return [
    'set timeout=0',
    'menuentry stemcell {',
    `  linux /boot/vmlinuz ${kernelArguments}`,
    '  initrd /boot/initrd.img',
    '}',
    '',
  ].join('\n');
}

export interface DiskImageRequest {
  /** Directory with the content of the root file system. */
  readonly directory: string;
  /** Existing directory for intermediate files. */
  readonly work: string;
  readonly sizeMiB: number;
  readonly sourceDateEpoch: number;
  /** Runs a command so that it sees files of the directory as owned by root. */
  readonly asOwner: (argv: readonly [string, ...string[]]) => readonly [string, ...string[]];
  readonly signal?: AbortSignal;
}

/**
 * Makes a bootable raw image: MBR, one ext4 partition at 1 MiB, GRUB for the BIOS. Neither a loop device nor a mount is
 * needed: the table goes into a plain file, mke2fs fills the file system from the directory, and grub-mkimage knows the
 * place of its own core at sector 1.
 */
export async function makeDiskImage(
  runner: CommandRunner,
  request: DiskImageRequest,
  target: string,
): Promise<void> {
  const { work, sizeMiB } = request;
  const options = { timeoutMs: 30 * 60_000, ...(request.signal && { signal: request.signal }) };
  await runner.run(['truncate', '-s', `${sizeMiB + 1}M`, target]);
  await runner.run(['sfdisk', '-q', target], {
    ...options,
    stdin: `label: dos\nlabel-id: ${diskSignature}\nstart=2048, type=83, bootable\n`,
  });

  const partition = join(work, 'root.ext4');
  try {
    await runner.run(
      request.asOwner([
        'mke2fs',
        '-q',
        '-t',
        'ext4',
        // GRUB 2.06 does not know these two.
        '-O',
        '^metadata_csum_seed,^orphan_file',
        '-E',
        `lazy_itable_init=1,nodiscard,hash_seed=${rootUuid}`,
        '-m',
        '1',
        '-L',
        'root',
        '-U',
        rootUuid,
        '-d',
        request.directory,
        partition,
        `${sizeMiB}M`,
      ]),
      { ...options, env: { ...plainEnvironment(), E2FSPROGS_FAKE_TIME: String(request.sourceDateEpoch) } },
    );
  } catch (error) {
    if (
      error instanceof CommandFailed &&
      /No space left|not enough space|Could not allocate/i.test(error.stderr)
    ) {
      throw new StemcellImageTooSmall(`The root file system does not fit into ${sizeMiB} MiB`, {
        cause: error,
        advice: 'Give a larger --disk.',
      });
    }
    throw error;
  }
  await runner.run(
    ['dd', `if=${partition}`, `of=${target}`, 'bs=1M', 'seek=1', 'conv=notrunc,sparse', 'status=none'],
    options,
  );
  await runner.run(['rm', '-f', partition]);

  const early = join(work, 'early.cfg');
  const core = join(work, 'core.img');
  await writeFile(early, 'set root=hd0,msdos1\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n');
  await runner.run([
    'grub-mkimage',
    '-O',
    'i386-pc',
    '-d',
    grubDirectory,
    '-p',
    '(hd0,msdos1)/boot/grub',
    '-c',
    early,
    '-o',
    core,
    'biosdisk',
    'part_msdos',
    'ext2',
    'linux',
    'normal',
    'configfile',
    'minicmd',
  ]);
  const notrunc = ['conv=notrunc', 'status=none'] as const;
  await runner.run(['dd', `if=${grubDirectory}/boot.img`, `of=${target}`, 'bs=440', 'count=1', ...notrunc]);
  await runner.run(['dd', `if=${core}`, `of=${target}`, 'bs=512', 'seek=1', ...notrunc]);
}

function plainEnvironment(): Record<string, string> {
  return { PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin' };
}
