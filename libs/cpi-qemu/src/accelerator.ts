import { access, constants } from 'node:fs/promises';
import { CommandFailed, type CommandRunner } from '@microbosh/host';
import { QemuHostUnfit } from './qemu-errors.ts';

export const qemuProgram = 'qemu-system-x86_64';

/** A firmware without a disk gives up after half a second, emulated, on a machine that has nothing else to do. */
const emulatedTimeoutMs = 30_000;
const leastTimeoutMs = 1000;

/**
 * Whether KVM works is found out by running a machine with it: the device may be there and refuse, or, where
 * virtualization is nested, be so much slower than emulation that no guest ever starts. Emulation is the measure.
 */
export async function chooseAccelerator(
  runner: CommandRunner,
  wish: 'auto' | 'kvm' | 'tcg',
): Promise<'kvm' | 'tcg'> {
  if (wish === 'tcg') return 'tcg';
  if ((await hasKvm()) && (await kvmKeepsUp(runner))) return 'kvm';
  if (wish === 'auto') return 'tcg';
  throw new QemuHostUnfit('KVM does not work on this machine', {
    advice: "Leave out 'accelerator: kvm'; QEMU then emulates, ten times slower.",
  });
}

async function kvmKeepsUp(runner: CommandRunner): Promise<boolean> {
  const started = performance.now();
  if (!(await runsFirmware(runner, 'tcg', emulatedTimeoutMs))) return false;
  const emulatedMs = performance.now() - started;
  return runsFirmware(runner, 'kvm', Math.max(leastTimeoutMs, 2 * emulatedMs));
}

async function hasKvm(): Promise<boolean> {
  try {
    await access('/dev/kvm', constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** Runs the firmware of a machine without disks until it gives up and resets, which ends QEMU here. */
export async function runsFirmware(
  runner: CommandRunner,
  accelerator: 'kvm' | 'tcg',
  timeoutMs: number,
): Promise<boolean> {
  const machine = ['-nodefaults', '-no-user-config', '-display', 'none', '-machine', 'q35', '-m', '64'];
  try {
    await runner.run(
      [qemuProgram, ...machine, '-accel', accelerator, '-boot', 'reboot-timeout=0', '-no-reboot'],
      { timeoutMs },
    );
    return true;
  } catch (error) {
    if (error instanceof CommandFailed) return false;
    throw error;
  }
}
