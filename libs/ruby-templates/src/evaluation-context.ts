import type { Json, JsonObject } from '@microbosh/errors';
import type {
  DeploymentModel,
  JobManifest,
  JobRef,
  LocateProperty,
  MicroModel,
  PropertyMap,
  PropertyOrigin,
  ReleaseCloud,
} from '@microbosh/spec';
import { microIaasKey, microOverrides } from '@microbosh/spec';
import { resolveLinks } from './resolve-links.ts';

/** Properties of one place in the manifest. */
export interface PropertyLayer {
  /** Where they stand, in the operator's words. */
  readonly path: string;
  readonly properties: JsonObject;
  /** Whether this layer counts for the job (a job with own properties ignores the others). */
  readonly isVisible: boolean;
  /** Whether a property can be set here; absent: any can. */
  readonly takes?: (name: string) => boolean;
  /** Where a property is, or would be, in the manifest. */
  readonly locate?: (keys: readonly string[]) => PropertyOrigin;
}

/** Everything that the templates of one job can see, and what is needed to explain a failure. */
export interface TemplateContext {
  readonly job: string;
  /** What the interpreter gets; keys as create-env gives them. */
  readonly document: JsonObject;
  /** Declared property → default, null without one. Absent: every property is visible, whatever the job declares. */
  readonly defaults?: JsonObject;
  /** Highest precedence first. */
  readonly layers: readonly PropertyLayer[];
  /** Values that reach the job through links. */
  readonly linkValues: readonly { readonly properties: JsonObject }[];
  /** One sentence per link that the job consumes and that nothing in the instance provides. */
  readonly unresolvedLinks: readonly string[];
}

/** Who the one instance is. */
export interface InstanceIdentity {
  /** Stable over runs, so that the same input renders the same output. */
  readonly id: string;
  /** Address of the VM; absent for CPI jobs. */
  readonly address?: string;
}

export interface JobToRender {
  readonly ref: JobRef;
  readonly manifest: JobManifest;
}

type ModelPart = Pick<DeploymentModel, 'name' | 'properties' | 'group' | 'locate'>;

/** The contexts of the deployment's jobs, in their order, with links resolved between them. */
export function evaluationContexts(
  model: ModelPart,
  jobs: readonly JobToRender[],
  instance: InstanceIdentity,
): TemplateContext[] {
  const links = resolveLinks(
    model,
    jobs.map((job) => ({
      ...job,
      visible: visibleProperties(job.manifest, effectiveProperties(model, job.ref)),
    })),
    instance,
  );
  return jobs.map(({ ref, manifest }, index) => {
    const own = ref.properties;
    const group = `instance_groups[${model.group.name}]`;
    return buildContext({
      deployment: model.name,
      manifest,
      instance,
      global: model.properties,
      cluster: model.group.properties,
      ...(own === undefined ? {} : { own }),
      links: links[index] ?? { resolved: {}, unresolved: [] },
      layers: [
        {
          path: `${group}.jobs[${ref.name}].properties`,
          properties: own ?? {},
          isVisible: own !== undefined,
          ...located(model.locate, { job: ref.name }),
        },
        {
          path: `${group}.properties`,
          properties: model.group.properties,
          isVisible: own === undefined,
          ...located(model.locate, 'group'),
        },
        {
          path: 'properties',
          properties: model.properties,
          isVisible: own === undefined,
          ...located(model.locate, 'global'),
        },
      ],
    });
  });
}

/** The context of a CPI job that is rendered on this machine: only `cloud_provider.properties` count. */
export function cpiEvaluationContext(
  deployment: string,
  cloud: Pick<ReleaseCloud, 'properties' | 'locate'>,
  manifest: JobManifest,
  instance: Pick<InstanceIdentity, 'id'>,
): TemplateContext {
  return buildContext({
    deployment,
    manifest,
    instance,
    global: {},
    cluster: cloud.properties,
    links: { resolved: {}, unresolved: [] },
    layers: [
      {
        path: 'cloud_provider.properties',
        properties: cloud.properties,
        isVisible: true,
        ...located(cloud.locate, 'cloud'),
      },
    ],
  });
}

/** What `micro_bosh.yml` says of the properties in the apply spec. */
export interface MicroOrigin {
  readonly micro: MicroModel;
  readonly locate?: LocateProperty;
}

/**
 * The context of a micro deployment: the apply spec itself; every property is visible, the job's declarations do not
 * count (micro-deployer reference, section 8.5).
 */
export function applySpecEvaluationContext(
  job: string,
  applySpec: JsonObject,
  origin?: MicroOrigin,
): TemplateContext {
  const properties = applySpec['properties'];
  return {
    job,
    document: applySpec,
    layers: [
      ...(origin === undefined ? [] : microLayers(origin)),
      { path: 'the apply spec', properties: isMap(properties) ? properties : {}, isVisible: true },
    ],
    linkValues: [],
    unresolvedLinks: [],
  };
}

function microLayers({ micro, locate }: MicroOrigin): PropertyLayer[] {
  const { agent, properties } = micro.applySpec;
  const overrides = microOverrides(micro.plugin);
  const iaasKey = microIaasKey(micro.plugin);
  const layers: PropertyLayer[] = [
    {
      path: 'apply_spec',
      properties: { agent },
      isVisible: true,
      takes: (name) => /^agent\.(?:nats|blobstore)(?:\.|$)/.test(name),
      ...(locate === undefined
        ? {}
        : { locate: ([, ...keys]) => agentOrigin(locate('apply_spec.agent', keys)) }),
    },
    {
      path: 'apply_spec.properties',
      properties,
      isVisible: true,
      takes: (name) => overrides.includes(name.split('.')[0] ?? ''),
      ...located(locate, 'apply_spec.properties'),
    },
  ];
  if (iaasKey !== undefined && Object.hasOwn(micro.cloudProperties, iaasKey)) {
    layers.push({
      path: 'cloud.properties',
      properties: micro.cloudProperties,
      isVisible: true,
      takes: (name) => name.split('.')[0] === iaasKey,
      ...located(locate, 'cloud'),
    });
  }
  return layers;
}

/** Counts the key `agent` too. */
const agentOrigin = ({ position, found }: PropertyOrigin): PropertyOrigin => ({
  position,
  found: found === 0 ? 0 : found + 1,
});

function located(
  locate: LocateProperty | undefined,
  map: PropertyMap,
): Pick<PropertyLayer, 'locate'> | Record<string, never> {
  return locate === undefined ? {} : { locate: (keys) => locate(map, keys) };
}

interface ContextParts {
  readonly deployment: string;
  readonly manifest: JobManifest;
  readonly instance: InstanceIdentity;
  readonly global: JsonObject;
  readonly cluster: JsonObject;
  readonly own?: JsonObject;
  readonly links: { readonly resolved: JsonObject; readonly unresolved: readonly string[] };
  readonly layers: readonly PropertyLayer[];
}

function buildContext(parts: ContextParts): TemplateContext {
  const defaults = declaredDefaults(parts.manifest);
  return {
    job: parts.manifest.name,
    defaults,
    layers: parts.layers,
    linkValues: Object.values(parts.links.resolved).flatMap((link) =>
      isMap(link) && isMap(link['properties']) ? [{ properties: link['properties'] }] : [],
    ),
    unresolvedLinks: parts.links.unresolved,
    document: {
      index: 0,
      id: parts.instance.id,
      az: 'unknown',
      bootstrap: true,
      job: { name: parts.manifest.name },
      deployment: parts.deployment,
      ...(parts.instance.address === undefined ? {} : { address: parts.instance.address }),
      // create-env gives these constants, whatever the manifest says; templates in the field branch on them.
      networks: { default: { ip: '', netmask: '', gateway: '' } },
      global_properties: parts.global,
      cluster_properties: parts.cluster,
      job_properties: parts.own ?? null,
      default_properties: defaults,
      links: parts.links.resolved,
    },
  };
}

/** Byte order of the names decides which default is filled into which map. */
function declaredDefaults(manifest: JobManifest): Readonly<Record<string, Json>> {
  return Object.fromEntries(
    Object.entries(manifest.properties)
      .sort(([left], [right]) => Buffer.compare(Buffer.from(left), Buffer.from(right)))
      .map(([name, declaration]) => [name, declaration.default ?? null]),
  );
}

function effectiveProperties(model: ModelPart, ref: JobRef): JsonObject {
  return ref.properties ?? deepMerge(model.properties, model.group.properties);
}

function deepMerge(under: JsonObject, over: JsonObject): JsonObject {
  const merged: Record<string, Json> = { ...under };
  for (const [key, value] of Object.entries(over)) {
    const below = merged[key];
    merged[key] = isMap(below) && isMap(value) ? deepMerge(below, value) : value;
  }
  return merged;
}

/** What a provider can share: its declared properties with their values. Shapes that do not fit fail when it renders. */
function visibleProperties(manifest: JobManifest, given: JsonObject): JsonObject {
  const visible: Record<string, Json> = {};
  for (const [name, fallback] of Object.entries(declaredDefaults(manifest))) {
    const value = valueAt(given, name) ?? fallback;
    setAt(visible, name, value);
  }
  return visible;
}

export function valueAt(properties: JsonObject, name: string): Json | undefined {
  let current: Json | undefined = properties;
  for (const key of name.split('.')) current = isMap(current) ? current[key] : undefined;
  return current;
}

export function setAt(target: Record<string, Json>, name: string, value: Json): void {
  const keys = name.split('.');
  const last = keys.pop() ?? name;
  let holder = target;
  for (const key of keys) {
    const existing = holder[key];
    const next: Record<string, Json> = isMap(existing) ? { ...existing } : {};
    holder[key] = next;
    holder = next;
  }
  holder[last] = value;
}

function isMap(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
