import type { CommandRunner } from '@microbosh/host';
import { access } from 'node:fs/promises';

/** True on a machine that systemd brought up. */
export async function isSystemdRunning(): Promise<boolean> {
  return access('/run/systemd/system').then(
    () => true,
    () => false,
  );
}

/** True when systemd knows a unit of this name. */
export async function hasUnit(runner: CommandRunner, unit: string, signal?: AbortSignal): Promise<boolean> {
  const answer = await runner.run(['systemctl', 'show', '--property=LoadState', '--value', unit], {
    timeoutMs: 10_000,
    ...(signal ? { signal } : {}),
  });
  return answer.stdout.trim() === 'loaded';
}
