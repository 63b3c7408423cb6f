import { stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { createRelease } from '@microbosh/artifacts';
import { NodeCommandRunner } from '@microbosh/host';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { textOption } from '../cli/context.ts';

export async function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const directory = resolve(context.cwd, args[0] ?? '.');
  const name = textOption(options, 'name');
  const version = textOption(options, 'releaseVersion');
  const tarball = resolve(context.cwd, textOption(options, 'tarball') ?? 'release.tgz');
  const release = await createRelease(directory, tarball, {
    ...(name === undefined ? {} : { name }),
    ...(version === undefined ? {} : { version }),
    ...(await commitOf(directory, context.signal)),
    cacheDir: join(context.env.HOME ?? homedir(), '.microbosh', 'cache', 'downloads'),
    signal: context.signal,
  });
  if (context.global.json) {
    context.console.json({
      name: release.name,
      version: release.version,
      path: release.path,
      sha1: release.digest,
      jobs: release.jobs.map(({ name: job, fingerprint }) => ({ name: job, fingerprint })),
      packages: release.packages.map(({ name: part, fingerprint }) => ({ name: part, fingerprint })),
    });
    return 0;
  }
  for (const part of release.packages)
    context.console.line(`Added package '${part.name}/${part.fingerprint}'`);
  for (const job of release.jobs) context.console.line(`Added job '${job.name}/${job.fingerprint}'`);
  context.console.block(`${release.path}\nsha1: ${release.digest}\n`);
  return 0;
}

/** What git knows about the sources; nothing when they are not under git, or git is not there. */
async function commitOf(
  directory: string,
  signal: AbortSignal,
): Promise<{ commitHash?: string; uncommittedChanges?: boolean }> {
  if ((await stat(join(directory, '.git')).catch(() => undefined)) === undefined) return {};
  const git = async (...command: string[]) =>
    (await new NodeCommandRunner().run(['git', '-C', directory, ...command], { signal })).stdout.trim();
  try {
    return {
      commitHash: await git('rev-parse', '--short', 'HEAD'),
      uncommittedChanges: (await git('status', '--porcelain')) !== '',
    };
  } catch {
    signal.throwIfAborted();
    return {};
  }
}
