import { OperationalError, type Json, type JsonObject } from '@microbosh/errors';
import { formatPosition, type DeploymentModel, type LinkDeclaration } from '@microbosh/spec';
import { setAt, valueAt, type InstanceIdentity, type JobToRender } from './evaluation-context.ts';

/** The manifest names links that are not there. */
export class LinksUnresolved extends OperationalError {
  readonly code = 'E_LINK_UNRESOLVED';
}

export interface ResolvedLinks {
  /** Link name → what `link(name)` shows. */
  readonly resolved: JsonObject;
  readonly unresolved: readonly string[];
}

interface LinkingJob extends JobToRender {
  /** Declared properties with their values. */
  readonly visible: JsonObject;
}

interface Provider {
  readonly job: LinkingJob;
  readonly link: LinkDeclaration;
  /** Name under which `from` finds it. */
  readonly name: string;
}

/**
 * Connects what jobs consume with what jobs of the same instance provide. The manifest decides where it says something
 * (`from`, by hand, `nil`); else the type does, and the name where several provide the type. A job may consume its own
 * link. What stays open then is no error here: only a template that asks for it fails. Throws LinksUnresolved for what
 * the manifest names and nothing provides.
 */
export function resolveLinks(
  model: Pick<DeploymentModel, 'name' | 'group'>,
  jobs: readonly LinkingJob[],
  instance: InstanceIdentity,
): ResolvedLinks[] {
  const providers = jobs.flatMap(providersOf);
  const problems: string[] = [];
  const links = jobs.map((consumer) => {
    const resolved: Record<string, Json> = {};
    const unresolved: string[] = [];
    const chosen = consumer.ref.links?.consumes ?? {};
    problems.push(...namesUnknown(consumer));
    for (const wanted of consumer.manifest.consumes) {
      const choice = chosen[wanted.name] ?? { kind: 'implicit' };
      const start = `Job '${consumer.ref.name}' consumes the link '${wanted.name}' of type '${wanted.type}'`;
      switch (choice.kind) {
        case 'none':
          unresolved.push(`${start}, and the manifest takes it away (nil).`);
          break;
        case 'manual':
          resolved[wanted.name] = {
            instances: choice.instances,
            properties: choice.properties,
            ...(choice.address === undefined ? {} : { address: choice.address }),
          };
          break;
        case 'from': {
          const named = providers.filter(({ name }) => name === choice.from);
          const fitting = named.filter(({ link }) => link.type === wanted.type);
          const [provider] = fitting;
          if (provider !== undefined && fitting.length === 1)
            resolved[wanted.name] = describeLink(model, provider, instance);
          else
            problems.push(
              `${formatPosition(choice.position)}: ${start} from '${choice.from}', ${explainNamed(named, fitting, wanted, providers)}`,
            );
          break;
        }
        case 'implicit': {
          const ofType = providers.filter(({ link }) => link.type === wanted.type);
          const named = ofType.filter(({ link }) => link.name === wanted.name);
          const candidates = ofType.length > 1 ? named : ofType;
          const [provider] = candidates;
          if (provider !== undefined && candidates.length === 1)
            resolved[wanted.name] = describeLink(model, provider, instance);
          else unresolved.push(`${start}, ${explainImplicit(ofType)}`);
          break;
        }
      }
    }
    return { resolved, unresolved };
  });
  if (problems.length > 0)
    throw new LinksUnresolved(problems.join('\n'), {
      details: { problems },
      advice: "Correct 'consumes' and 'provides' of the jobs in the manifest.",
    });
  return links;
}

function providersOf(job: LinkingJob): Provider[] {
  const said = job.ref.links?.provides ?? {};
  return [...job.manifest.provides, ...(job.ref.links?.custom ?? [])].flatMap((link): Provider[] => {
    const choice = said[link.name];
    if (choice?.kind === 'none') return [];
    return [{ job, link, name: choice?.as ?? link.name }];
  });
}

/** Links that the manifest speaks of and the job does not have: a slip that would else change nothing, silently. */
function namesUnknown({ ref, manifest }: LinkingJob): string[] {
  const check = (said: object, known: readonly string[], verb: string) =>
    Object.keys(said)
      .filter((name) => !known.includes(name))
      .map(
        (name) =>
          `The manifest says what link '${name}' of job '${ref.name}' ${verb}, and the job has none of that name${known.length === 0 ? '' : ` (it has ${known.map((one) => `'${one}'`).join(', ')})`}.`,
      );
  const names = (links: readonly { readonly name: string }[]) => links.map(({ name }) => name);
  return [
    ...check(ref.links?.consumes ?? {}, names(manifest.consumes), 'consumes'),
    ...check(
      ref.links?.provides ?? {},
      names([...manifest.provides, ...(ref.links?.custom ?? [])]),
      'provides',
    ),
  ];
}

function describeLink(
  model: Pick<DeploymentModel, 'name' | 'group'>,
  { job, link }: Provider,
  instance: InstanceIdentity,
): JsonObject {
  const properties: Record<string, Json> = {};
  for (const name of link.properties ?? []) setAt(properties, name, valueAt(job.visible, name) ?? null);
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

function explainNamed(
  named: readonly Provider[],
  fitting: readonly Provider[],
  wanted: LinkDeclaration,
  all: readonly Provider[],
): string {
  if (fitting.length > 1) return `and several jobs provide it (${jobNames(fitting)}).`;
  if (named.length > 0)
    return `and that link has the type '${named.map(({ link }) => link.type).join("', '")}'.`;
  const ofType = all.filter(({ link }) => link.type === wanted.type);
  return ofType.length === 0
    ? 'and no job of the instance provides one of that type.'
    : `and no job of the instance provides it under that name; of that type there are '${ofType.map(({ name }) => name).join("', '")}'.`;
}

function explainImplicit(ofType: readonly Provider[]): string {
  return ofType.length === 0
    ? 'and no job of the instance provides one.'
    : `and several jobs provide that type (${jobNames(ofType)}), none under that name alone.`;
}

const jobNames = (providers: readonly Provider[]) => providers.map(({ job }) => job.ref.name).join(', ');
