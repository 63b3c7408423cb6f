import { access, constants } from 'node:fs/promises';
import { CommandFailed, type CommandRunner } from '@microbosh/host';
import { QemuHostUnfit } from './qemu-errors.ts';

export const qemuProgram = 'qemu-system-x86_64';

/** Whether KVM works is found out by starting a machine with it: the device may be there and be of no use. */
export async function chooseAccelerator(
  runner: CommandRunner,
  wish: 'auto' | 'kvm' | 'tcg',
): Promise<'kvm' | 'tcg'> {
  if (wish === 'tcg') return 'tcg';
  const works = await kvmWorks(runner);
  if (works) return 'kvm';
  if (wish === 'auto') return 'tcg';
  throw new QemuHostUnfit('KVM does not work on this machine', {
    advice: "Leave out 'accelerator: kvm'; QEMU then emulates, ten times slower.",
  });
}

async function kvmWorks(runner: CommandRunner): Promise<boolean> {
  try {
    await access('/dev/kvm', constants.R_OK | constants.W_OK);
  } catch {
    return false;
  }
  try {
    await runner.run(
      [
        qemuProgram,
        '-nodefaults',
        '-display',
        'none',
        '-machine',
        'q35',
        '-accel',
        'kvm',
        '-S',
        '-qmp',
        'stdio',
      ],
      { stdin: '{"execute":"qmp_capabilities"}\n{"execute":"quit"}\n', timeoutMs: 10_000 },
    );
    return true;
  } catch (error) {
    if (error instanceof CommandFailed) return false;
    throw error;
  }
}
