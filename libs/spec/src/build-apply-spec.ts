import { isJsonObject, type JsonObject } from '@microbosh/errors';
import type { ApplySpec, BlobRef, PackageRef } from './apply-spec.ts';
import type { DeploymentModel } from './deployment-model.ts';
import type { NetworksSpec } from './networks.ts';

/** What create-env sends in a field of the spec that agents want and nobody reads. */
const CONFIGURATION_HASH = 'unused-configuration-hash';

/** The first apply: it only lets the agent settle its network (reference create-env §8.8). */
export function buildInitialApplySpec(model: DeploymentModel): ApplySpec {
  return buildApplySpec(model, {
    networks: model.networks,
    templates: [],
    packages: {},
    renderedTemplates: { blobstore_id: '', sha1: '' },
    configurationHash: '',
  });
}

/** The spec of the deployment as create-env sends it, all keys (reference create-env §8.10). */
export function buildApplySpec(
  model: DeploymentModel,
  content: {
    readonly networks: NetworksSpec;
    /** Release jobs in manifest order. */
    readonly templates: readonly { readonly name: string; readonly version: string }[];
    readonly packages: Readonly<Record<string, PackageRef>>;
    readonly renderedTemplates: BlobRef;
    readonly configurationHash?: string;
  },
): ApplySpec {
  return {
    deployment: model.name,
    name: model.group.name,
    index: 0,
    id: '0',
    az: 'unknown',
    networks: content.networks,
    job: {
      name: model.group.name,
      templates: content.templates.map(({ name, version }) => ({
        name,
        version,
        sha1: '',
        blobstore_id: '',
      })),
    },
    packages: content.packages,
    rendered_templates_archive: content.renderedTemplates,
    configuration_hash: content.configurationHash ?? CONFIGURATION_HASH,
  };
}

/** `env` for create_vm: the resource pool's, with the deployment's tags at `env.bosh.tags` (§8.6). */
export function buildVmEnv(model: DeploymentModel): JsonObject {
  if (Object.keys(model.tags).length === 0) return model.vm.env;
  const bosh = model.vm.env['bosh'];
  return { ...model.vm.env, bosh: { ...(isJsonObject(bosh) ? bosh : {}), tags: model.tags } };
}

/** `set_vm_metadata` as create-env sends it; tags win (§8.6). `createdAt` is RFC 3339. */
export function buildVmMetadata(model: DeploymentModel, createdAt: string): Readonly<Record<string, string>> {
  return {
    deployment: model.name,
    job: model.group.name,
    instance_group: model.group.name,
    index: '0',
    director: 'bosh-init',
    name: `${model.group.name}/0`,
    created_at: createdAt,
    ...model.tags,
  };
}
