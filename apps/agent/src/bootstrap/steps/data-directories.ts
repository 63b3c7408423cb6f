import { isJsonObject } from '@microbosh/errors';
import { join } from 'node:path';
import { groupId } from '../../platform/accounts.ts';
import { readJsonObjectIfPresent } from '../../platform/files.ts';
import { MountTable } from '../../platform/mount-table.ts';
import { wantTmpfs } from '../../platform/mounts.ts';
import { wantDirectory, wantLink } from '../../platform/wanted-files.ts';
import { objectOf, stringOf, valueOf } from '../../settings/json-keys.ts';
import { converge, type BootstrapStep } from '../step.ts';

/** Directories of jobs, packages, logs and run files below `data`, and those of the jobs that were applied before. */
export const dataDirectories: BootstrapStep = {
  name: 'data directories',
  timeoutMs: 30_000,
  async run(context) {
    const { paths, runner } = context;
    const gid = await groupId('vcap');
    const { env } = context.settings.current();
    const bosh = objectOf(isJsonObject(env) ? env : {}, 'bosh') ?? {};
    const jobDir = objectOf(bosh, 'job_dir');
    const run = join(paths.data, 'sys', 'run');
    const onTmpfs = [
      { target: run, size: stringOf(objectOf(bosh, 'run_dir'), 'tmpfs_size') ?? '16m', mode: 0o771, gid },
      ...(jobDir !== undefined && valueOf(jobDir, 'tmpfs') === true
        ? [
            { directory: 'jobs', mode: 0o750 },
            { directory: 'sensitive_blobs', mode: 0o700 },
          ].map(({ directory, mode }) => ({
            target: join(paths.data, directory),
            size: stringOf(jobDir, 'tmpfs_size') ?? '100m',
            mode,
            gid,
          }))
        : []),
    ];
    const jobs = await appliedJobs(paths.spec);

    return converge(context, async () => {
      const want = (path: string, mode: number) => wantDirectory(join(paths.data, path), { mode, gid });
      const first = [
        ...(await want('sys', 0o750)),
        ...(await want('sys/log', 0o750)),
        ...(await want('jobs', 0o750)),
        ...(await want('packages', 0o755)),
        ...(await want('sensitive_blobs', 0o700)),
        ...(await want('blobs', 0o700)),
        ...(await want('dynamic_disks', 0o700)),
        ...(await wantLink(paths.sys, join(paths.data, 'sys'))),
      ];
      const table = await MountTable.read();
      const mounts = onTmpfs.flatMap((each) => wantTmpfs(runner, table, each));
      if (first.length + mounts.length > 0) return [...first, ...mounts];
      const perJob = jobs.flatMap((job) => [`sys/log/${job}`, `sys/run/${job}`, job]);
      return (await Promise.all(perJob.map((path) => want(path, 0o770)))).flat();
    });
  },
};

async function appliedJobs(specPath: string): Promise<readonly string[]> {
  const templates = objectOf(await readJsonObjectIfPresent(specPath), 'job')?.['templates'];
  if (!Array.isArray(templates)) return [];
  return templates.flatMap((template: unknown) => {
    const name = isJsonObject(template) ? stringOf(template, 'name') : undefined;
    return name !== undefined && /^[\w.-]+$/.test(name) && !name.startsWith('.') ? [name] : [];
  });
}
