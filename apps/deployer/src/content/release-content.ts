import { join } from 'node:path';
import { packTarGz } from '@microbosh/artifacts';
import type { OpenedRelease, PackageArchive } from '@microbosh/artifacts';
import { evaluationContexts } from '@microbosh/ruby-templates';
import type { RenderRequest } from '@microbosh/ruby-templates';
import { planCompilation } from '@microbosh/spec';
import type { CompilePlan, DeploymentModel, PlannedPackage, ReleaseJob } from '@microbosh/spec';
import { ReleaseUnusable } from '../errors.ts';
import type { InstanceContent, InstancePackage, RenderedTemplates } from '../ports/instance-content.ts';
import { digestOf } from '../state/state-document.ts';
import type { Templates } from './templates.ts';

export interface ReleaseContentOptions {
  readonly model: DeploymentModel;
  /** By the name in the manifest. */
  readonly releases: ReadonlyMap<string, OpenedRelease>;
  readonly instanceId: string;
  readonly templates: Templates;
  readonly workDir: string;
  readonly stemcell: { readonly name: string | undefined; readonly digest: string };
  readonly signal: AbortSignal;
}

interface InstanceJob {
  readonly release: string;
  readonly job: ReleaseJob;
}

/** Jobs and packages of the instance from the releases. Throws when a job or a package is missing. */
export function releaseContent(options: ReleaseContentOptions): InstanceContent {
  const { model, releases } = options;
  const jobs = model.group.jobs.map((ref, index): InstanceJob => {
    const job = releases.get(ref.release)?.jobs.get(ref.name);
    if (job === undefined) {
      throw new ReleaseUnusable(
        `jobs[0].templates[${index}] must refer to a job in '${ref.release}', but there is no job named '${ref.name}'`,
        {
          details: { job: ref.name, release: ref.release },
          advice: `Jobs of '${ref.release}': ${[...(releases.get(ref.release)?.jobs.keys() ?? [])].join(', ')}.`,
        },
      );
    }
    return { release: ref.release, job };
  });
  const plan = planCompilation({
    releases: [...releases.values()].map(({ manifest }) => manifest),
    jobs: jobs.map(({ job, release }) => ({
      name: job.manifest.name,
      release,
      packages: job.manifest.packages,
    })),
    ...(options.stemcell.name === undefined ? {} : { stemcell: options.stemcell.name }),
  });
  const renders = new Map<string, Promise<RenderedTemplates>>();
  return {
    packages: packagesOf(plan, options),
    render: (address) => {
      const known = renders.get(address) ?? render(address, jobs, options);
      renders.set(address, known);
      return known;
    },
  };
}

function packagesOf(plan: CompilePlan, options: ReleaseContentOptions): InstancePackage[] {
  return plan.levels.flat().map((key) => {
    const planned = packageOf(plan, key);
    const archives = options.releases.get(planned.release);
    const archive = (planned.compiled ? archives?.compiledPackages : archives?.packages)?.get(planned.name);
    return {
      name: planned.name,
      fingerprint: planned.fingerprint,
      key: digestOf([planned.key, options.stemcell.digest]),
      isCompiled: planned.compiled,
      dependencies: planned.dependencies.map((dependency) => packageOf(plan, dependency).name),
      archive: async () => archiveOf(archive, planned),
    };
  });
}

function packageOf(plan: CompilePlan, key: string): PlannedPackage {
  const planned = plan.packages.get(key);
  if (planned === undefined) throw new Error(`package ${key} is not in the plan`);
  return planned;
}

function archiveOf(archive: PackageArchive | undefined, planned: PlannedPackage) {
  if (archive === undefined) throw new Error(`no archive of package '${planned.name}'`);
  return { path: archive.path, sha1: archive.digest };
}

/** All templates and monit files of all jobs, as one archive. */
async function render(
  address: string,
  jobs: readonly InstanceJob[],
  options: ReleaseContentOptions,
): Promise<RenderedTemplates> {
  const contexts = evaluationContexts(
    options.model,
    jobs.map(({ job }, index) => ({ ref: refOf(options.model, index), manifest: job.manifest })),
    { id: options.instanceId, address },
  );
  const targets: string[] = [];
  const requests: RenderRequest[] = [];
  for (const [index, { job }] of jobs.entries()) {
    const context = contexts[index];
    if (context === undefined) throw new Error('a job without context');
    const { name } = job.manifest;
    const add = (template: string, path: string, target: string) => {
      requests.push({ context, template, path: `${name}/${path}` });
      targets.push(`${name}/${target}`);
    };
    for (const [source, target] of Object.entries(job.manifest.templates)) {
      add(job.templates.get(source) ?? '', `templates/${source}`, target);
    }
    if (job.monit === undefined) {
      throw new ReleaseUnusable(`Job '${name}' has no monit file`, {
        details: { job: name },
        advice: 'The release was not built correctly: a job without processes has an empty one.',
      });
    }
    add(job.monit, 'monit', 'monit');
  }
  const contents = await options.templates.render(requests, { signal: options.signal });
  const entries = contents.map((content, index) => ({ path: targets[index] ?? '', content }));
  const archive = await packTarGz(entries, join(options.workDir, `rendered-${digestOf(address)}.tgz`));
  return {
    archivePath: archive.path,
    digest: archive.digest,
    jobs: jobs.map(({ job }) => ({ name: job.manifest.name, version: job.entry.fingerprint })),
  };
}

function refOf(model: DeploymentModel, index: number) {
  const ref = model.group.jobs[index];
  if (ref === undefined) throw new Error('more jobs than the manifest has');
  return ref;
}
