import { rm } from 'node:fs/promises';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { flagOption, textOption } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { NotConfirmed } from '../errors.ts';
import { EnvironmentLock, readLockHolder } from '../state/environment-lock.ts';
import { environmentPaths } from '../state/environment-paths.ts';

/** Forgets a lock that a machine left which no longer exists. A lock of a living process of this machine stays. */
export async function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const paths = environmentPaths(args[0] ?? '', textOption(options, 'state'), context.cwd);
  const holder = await readLockHolder(paths);
  if (holder === undefined) {
    context.console.block('The environment is not locked.\n');
    return exitCodes.done;
  }
  const who = `'${holder.command}' of ${holder.owner} on ${holder.host} (pid ${holder.pid}, since ${holder.since})`;
  if (!flagOption(options, 'force')) {
    throw new NotConfirmed(`The environment is locked by ${who}`, {
      details: { ...holder },
      advice: 'If that process is certainly gone: microbosh unlock MANIFEST --force',
    });
  }
  await rm(paths.lockHolder, { force: true });
  // Proves that no process of this machine holds it.
  const lock = await EnvironmentLock.acquire(paths, 'unlock');
  await lock.release();
  context.console.block(`The lock of ${who} is removed.\n`);
  return exitCodes.done;
}
