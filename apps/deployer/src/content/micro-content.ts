import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openJobArchive, packTarGz } from '@microbosh/artifacts';
import { isJsonObject } from '@microbosh/errors';
import type { Json, JsonObject } from '@microbosh/errors';
import { applySpecEvaluationContext } from '@microbosh/ruby-templates';
import type { RenderRequest } from '@microbosh/ruby-templates';
import { adaptMicroApplySpec, parseYaml, toJson } from '@microbosh/spec';
import type { ApplySpec, DeploymentModel, MicroModel } from '@microbosh/spec';
import { ManifestUnsupported, StemcellUnusable } from '../errors.ts';
import type { AgentSession } from '../ports/agent.ts';
import type { InstanceContent } from '../ports/instance-content.ts';
import { digestOf, plainJson } from '../state/state-document.ts';
import type { Templates } from './templates.ts';

export interface MicroContentOptions {
  readonly model: DeploymentModel;
  readonly micro: MicroModel;
  /** That the stemcell's tarball carries; of an image in the cloud it is asked for when its agent answers. */
  readonly applySpec: JsonObject | undefined;
  readonly stemcellDigest: string;
  readonly templates: Templates;
  readonly workDir: string;
}

interface BakedJob {
  readonly name: string;
  readonly blobstore_id: string;
  readonly sha1: string;
}

/** Jobs and packages that are on the stemcell already (reference micro-deployer §8). */
export function microContent(options: MicroContentOptions): InstanceContent {
  const { model, micro } = options;
  const agentServicesIp = micro.agentServicesIp ?? micro.clientServicesIp;
  if (agentServicesIp === undefined) {
    throw new ManifestUnsupported('The address of the VM is not known before it exists', {
      advice: 'Give network.ip, or network.vip for a dynamic network.',
    });
  }
  const adapt = (spec: JsonObject) => {
    const adapted = adaptMicroApplySpec(spec, { name: model.name, micro, agentServicesIp });
    // Our own clouds know nothing but the networks of the manifest.
    const isOwn = micro.plugin === 'local' || micro.plugin === 'qemu';
    return isOwn ? { ...adapted, networks: plainJson(model.networks) } : adapted;
  };
  const known = options.applySpec === undefined ? undefined : adapt(options.applySpec);
  return {
    packages: [],
    render: () => Promise.reject(new Error('what is on a stemcell is rendered with its agent')),
    baked: {
      digest: digestOf({ spec: known ?? micro.applySpec, stemcell: options.stemcellDigest }),
      prepare: async (agent, signal) => {
        const spec = known ?? adapt(await agent.releaseApplySpec(signal));
        const rendered = await renderJobs(spec, agent, options, signal);
        const archive = await agent.uploadBlob(rendered.path, signal);
        return {
          ...spec,
          rendered_templates_archive: archive,
          configuration_hash: rendered.configurationHash,
        } as unknown as ApplySpec;
      },
    },
  };
}

/** `apply_spec.yml` of a stemcell; JSON under a YAML name, or YAML. */
export function parseApplySpec(text: string | undefined, file: string): JsonObject {
  const spec = text === undefined ? undefined : toJson(parseYaml(text, { file, dialect: 'psych' }));
  if (spec !== undefined && isJsonObject(spec)) return spec;
  throw new StemcellUnusable(`The stemcell '${file}' has no apply_spec.yml: it is not a micro stemcell`, {
    details: { file },
    advice: 'Build one with: microbosh build-stemcell --iaas IAAS --micro RELEASE --job JOB',
  });
}

async function renderJobs(
  spec: JsonObject,
  agent: AgentSession,
  options: MicroContentOptions,
  signal: AbortSignal,
): Promise<{ readonly path: string; readonly configurationHash: string }> {
  const requests: RenderRequest[] = [];
  const targets: string[] = [];
  const hashed: { readonly name: string; readonly monit: number; readonly files: Map<string, number> }[] = [];
  for (const [index, job] of bakedJobs(spec).entries()) {
    const path = join(options.workDir, `baked-job-${index}.tgz`);
    await agent.downloadBlob(job, path, signal);
    const { manifest, templates, monit } = await openJobArchive(job.name, await readFile(path));
    const { locate } = options.model;
    const origin = { micro: options.micro, ...(locate === undefined ? {} : { locate }) };
    const context = applySpecEvaluationContext(job.name, spec, origin);
    const add = (template: string, source: string, target: string) => {
      requests.push({ context, template, path: `${job.name}/${source}` });
      return targets.push(`${job.name}/${target}`) - 1;
    };
    const files = new Map<string, number>();
    const monitIndex = add(monit ?? '', 'monit', 'monit');
    for (const [source, target] of Object.entries(manifest.templates)) {
      files.set(source, add(templates.get(source) ?? '', `templates/${source}`, target));
    }
    hashed.push({ name: job.name, monit: monitIndex, files });
  }
  const contents = await options.templates.render(requests, { signal });
  const at = (index: number) => contents[index] ?? Buffer.alloc(0);
  const hash = createHash('sha1');
  for (const job of hashed.toSorted((a, b) => compare(a.name, b.name))) {
    hash.update(at(job.monit)).update(job.name);
    for (const [source, index] of [...job.files].sort(([a], [b]) => compare(a, b))) {
      hash.update(at(index)).update(targets[index]?.slice(job.name.length + 1) ?? source);
    }
  }
  const entries = contents.map((content, index) => ({ path: targets[index] ?? '', content }));
  const { path } = await packTarGz(entries, join(options.workDir, 'rendered-micro.tgz'));
  return { path, configurationHash: hash.digest('hex') };
}

function bakedJobs(spec: JsonObject): BakedJob[] {
  const job = spec['job'];
  const templates: Json | undefined = isJsonObject(job) ? job['templates'] : undefined;
  const jobs = (Array.isArray(templates) ? (templates as readonly Json[]) : []).flatMap((template) => {
    if (!isJsonObject(template)) return [];
    const { name, blobstore_id, sha1 } = template;
    if (typeof name !== 'string' || typeof blobstore_id !== 'string' || typeof sha1 !== 'string') return [];
    return [{ name, blobstore_id, sha1 }];
  });
  if (jobs.length > 0) return jobs;
  throw new StemcellUnusable("The stemcell's apply spec names no job templates", {
    advice: 'Build the stemcell with at least one --job.',
  });
}

function compare(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
