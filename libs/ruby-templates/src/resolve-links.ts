import type { Json, JsonObject } from '@microbosh/errors';
import type { DeploymentModel, LinkDeclaration } from '@microbosh/spec';
import { setAt, valueAt, type InstanceIdentity, type JobToRender } from './evaluation-context.ts';

export interface JobLinks {
  /** Link name → what `link(name)` shows. */
  readonly resolved: JsonObject;
  readonly unresolved: readonly string[];
}

interface LinkingJob extends JobToRender {
  /** Declared properties with their values. */
  readonly visible: JsonObject;
}

/**
 * Connects what jobs consume with what jobs of the same instance provide: by type, and by name where several provide
 * the type. A job may consume its own link. What stays open is no error here: only a template that asks for it fails.
 */
export function resolveLinks(
  model: Pick<DeploymentModel, 'name' | 'group'>,
  jobs: readonly LinkingJob[],
  instance: InstanceIdentity,
): JobLinks[] {
  const providers = jobs.flatMap((job) => job.manifest.provides.map((link) => ({ job, link })));
  return jobs.map((consumer) => {
    const resolved: Record<string, Json> = {};
    const unresolved: string[] = [];
    for (const wanted of consumer.manifest.consumes) {
      const ofType = providers.filter(({ link }) => link.type === wanted.type);
      const named = ofType.filter(({ link }) => link.name === wanted.name);
      const candidates = ofType.length > 1 ? named : ofType;
      const [provider] = candidates;
      if (provider !== undefined && candidates.length === 1)
        resolved[wanted.name] = describeLink(model, provider.job, provider.link, instance);
      else
        unresolved.push(
          explainOpenLink(
            consumer,
            wanted,
            ofType.map(({ job }) => job.ref.name),
          ),
        );
    }
    return { resolved, unresolved };
  });
}

function describeLink(
  model: Pick<DeploymentModel, 'name' | 'group'>,
  provider: LinkingJob,
  link: LinkDeclaration,
  instance: InstanceIdentity,
): JsonObject {
  const properties: Record<string, Json> = {};
  for (const name of link.properties ?? []) setAt(properties, name, valueAt(provider.visible, name) ?? null);
  return {
    deployment_name: model.name,
    instance_group: model.group.name,
    instances: [
      {
        name: model.group.name,
        index: 0,
        id: instance.id,
        az: 'unknown',
        bootstrap: true,
        address: instance.address ?? null,
        properties,
      },
    ],
    properties,
  };
}

function explainOpenLink(
  consumer: LinkingJob,
  wanted: LinkDeclaration,
  providers: readonly string[],
): string {
  const start = `Job '${consumer.ref.name}' consumes the link '${wanted.name}' of type '${wanted.type}'`;
  return providers.length === 0
    ? `${start}, and no job of the instance provides one.`
    : `${start}, and several jobs provide that type (${providers.join(', ')}), none under that name alone.`;
}
