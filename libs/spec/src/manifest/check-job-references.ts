import type { DeploymentModel } from '../deployment-model.ts';
import { suggest } from './suggest.ts';

/**
 * What can only be checked once the releases are open: that every job of the group is in its release. Gives the
 * original's texts (reference create-env §5.4).
 */
export function checkJobReferences(
  model: DeploymentModel,
  releases: readonly { readonly name: string; readonly jobs: readonly { readonly name: string }[] }[],
): string[] {
  return model.group.jobs.flatMap((job, index) => {
    const names = releases.find(({ name }) => name === job.release)?.jobs.map(({ name }) => name) ?? [];
    if (names.includes(job.name)) return [];
    const meant = suggest(job.name, names);
    return [
      `jobs[0].templates[${index}] must refer to a job in '${job.release}', but there is no job named '${job.name}'` +
        (meant === undefined ? '' : `, did you mean '${meant}'?`),
    ];
  });
}
