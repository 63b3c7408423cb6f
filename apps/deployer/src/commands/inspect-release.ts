import { resolve } from 'node:path';
import { openRelease } from '@microbosh/artifacts';
import { processFolder } from '@microbosh/host';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { textOption } from '../cli/context.ts';

export async function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const sha1 = textOption(options, 'sha1');
  const folder = await processFolder('inspect');
  try {
    const release = await openRelease(resolve(context.cwd, args[0] ?? ''), {
      workDir: folder.path,
      signal: context.signal,
      ...(sha1 === undefined ? {} : { sha1 }),
    });
    const { manifest } = release;
    const jobs = [...release.jobs.values()];
    if (context.global.json) {
      context.console.json({
        name: manifest.name,
        version: manifest.version,
        sha1: release.digest,
        commit_hash: manifest.commitHash ?? null,
        jobs: jobs.map(({ entry, manifest: job }) => ({
          name: entry.name,
          fingerprint: entry.fingerprint,
          packages: job.packages,
          templates: job.templates,
          properties: Object.keys(job.properties),
          consumes: job.consumes.map(({ name, type }) => ({ name, type })),
          provides: job.provides.map(({ name, type }) => ({ name, type })),
        })),
        packages: manifest.packages.map(describePackage),
        compiled_packages: manifest.compiledPackages.map(describePackage),
        license: manifest.license ?? null,
      });
      return 0;
    }
    const lines = [
      `Name          ${manifest.name}`,
      `Version       ${manifest.version}`,
      `Commit        ${manifest.commitHash ?? 'unknown'}${manifest.uncommittedChanges === true ? ' (with uncommitted changes)' : ''}`,
      `Digest        ${release.digest}`,
      '',
      ...jobs.map(
        ({ entry, manifest: job }) =>
          `Job           ${entry.name}/${entry.fingerprint}: ${job.packages.length === 0 ? 'no packages' : job.packages.join(', ')}`,
      ),
      ...manifest.packages.map((part) => `Package       ${part.name}/${part.fingerprint}`),
      ...manifest.compiledPackages.map(
        (part) =>
          `Compiled      ${part.name}/${part.fingerprint} for ${part.stemcell ?? 'an unknown stemcell'}`,
      ),
      ...(manifest.license === undefined ? [] : [`Licence       ${manifest.license.fingerprint}`]),
    ];
    context.console.block(`${lines.join('\n')}\n`);
    return 0;
  } finally {
    await folder.remove();
  }
}

function describePackage(part: {
  readonly name: string;
  readonly fingerprint: string;
  readonly sha1: string;
  readonly dependencies: readonly string[];
  readonly stemcell?: string;
}) {
  const { name, fingerprint, sha1, dependencies, stemcell } = part;
  return { name, fingerprint, sha1, dependencies, ...(stemcell === undefined ? {} : { stemcell }) };
}
