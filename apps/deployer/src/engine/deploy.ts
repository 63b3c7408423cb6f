import { errorCode, isJsonObject } from '@microbosh/errors';
import type { JsonObject } from '@microbosh/errors';
import { buildVmEnv, toJson } from '@microbosh/spec';
import type { DeploymentModel, EvaluatedManifest, SshTunnel, TimeLimits } from '@microbosh/spec';
import { agentAccess, instanceAddress, isUnknownAddress } from '../access/agent-access.ts';
import type { AgentAccess } from '../access/agent-access.ts';
import { startRegistry } from '../access/deploy-registry.ts';
import type { DeployRegistry } from '../access/deploy-registry.ts';
import {
  checkUnreachable,
  namedRegistry,
  namesRegistry,
  usesRegistry,
  withoutRegistry,
} from '../access/registry-use.ts';
import type { RegistryChoice } from '../access/registry-use.ts';
import { tunnelKey } from '../access/tunnel-key.ts';
import { externalWitness } from '../access/registry-witness.ts';
import type { RegistryWitness } from '../access/registry-witness.ts';
import type { CommandContext } from '../cli/context.ts';
import type { Environment } from '../environment.ts';
import { PersistentDiskLost, PlanOutdated } from '../errors.ts';
import { manifestProperties } from '../inputs/manifest-properties.ts';
import type { DeployerDependencies, OpenedArtifacts } from '../ports/deployer-dependencies.ts';
import type { AgentEndpoint, RememberedInputs } from '../state/environment-state.ts';
import { canonicalJson, digestOf, plainJson } from '../state/state-document.ts';
import { DeployRun, limitsOf } from './deploy-run.ts';
import type { DeployInputs, Limits } from './deploy-run.ts';
import { Effects } from './effects.ts';
import type { Cloud } from './effects.ts';
import { executeDeploy } from './execute.ts';
import { checkNeeds } from './check-needs.ts';
import { limitedCloud } from './limited-cloud.ts';
import { observe } from './observe.ts';
import { planDeploy } from './plan.ts';
import type { DesiredEnvironment, Observation, Step } from './plan.ts';
import { refuseSmallDisk } from './refuse-small-disk.ts';
import { rollBack, rollBackFailed } from './roll-back.ts';
import { metadataDigest } from './steps/vm-steps.ts';

export interface DeployFlags {
  readonly recreate: boolean;
  readonly recreateDisk: boolean;
  readonly skipDrain: boolean;
  readonly registry: RegistryChoice;
  /** A VM that fails stays the current one, the old one beside it. */
  readonly noRollback?: boolean;
  /** After going back, the VM that failed stays for a look at it. */
  readonly keepBroken?: boolean;
  /** `--limit`: stronger than the manifest. */
  readonly limits?: TimeLimits;
}

export interface Deployment {
  readonly model: DeploymentModel;
  readonly artifacts: OpenedArtifacts;
  readonly access: AgentAccess;
  readonly inputs: DeployInputs;
  readonly desired: DesiredEnvironment;
}

export type EngineContext = Pick<CommandContext, 'events' | 'signal' | 'secrets' | 'env'>;

/** Stage `validating`: everything that can fail before something is touched. */
export async function validateDeployment(
  model: DeploymentModel,
  evaluated: Pick<EvaluatedManifest, 'root'>,
  environment: Environment,
  dependencies: DeployerDependencies,
  flags: DeployFlags,
  context: EngineContext,
): Promise<Deployment> {
  const { own, current_manifest_sha: deployedSha } = environment.store.current;
  return context.events.stage('validating', async (stage) => {
    await stage.step('Validating cpi release', () => dependencies.checkCloud(model.cloud));
    const address = model.micro?.clientServicesIp ?? instanceAddress(model.networks);
    const access = await stage.step('Validating deployment manifest', () =>
      agentAccess(model, address, own.agent, dependencies.now()),
    );
    for (const secret of secretsOf(access)) context.secrets.add(secret);
    const artifacts = await dependencies.openArtifacts(model, own.instance_id, {
      stage,
      signal: context.signal,
      wasDeployed: deployedSha === model.manifestSha,
      onWarning: (text) => context.events.message(text, { level: 'warning' }),
    });
    try {
      const rendered = await stage.step('Validating job templates', () =>
        // What a stemcell has baked in is rendered when its agent is there.
        artifacts.content.baked === undefined
          ? artifacts.content.render(address ?? '')
          : Promise.resolve({ digest: artifacts.content.baked.digest }),
      );
      const applied = digestOf({
        name: model.name,
        group: model.group.name,
        templates: rendered.digest,
        packages: artifacts.content.packages.map((pkg) => [pkg.name, pkg.key]),
      });
      const inputs: DeployInputs = {
        model,
        stemcell: artifacts.stemcell,
        content: artifacts.content,
        releases: artifacts.releases.map(({ name, version }) => ({ name, version })),
        vmFingerprint: vmFingerprint(model, artifacts.stemcell.digest),
        properties: manifestProperties(toJson(evaluated.root), own.instance_id),
        applied,
        env: access.env,
        address: address ?? (isUnknownAddress(access.endpoint) ? '' : new URL(access.endpoint.mbus).hostname),
        endpoint: access.endpoint,
      };
      const limits = limitsOf(dependencies.limits, model.limits, flags.limits);
      const desired = desiredEnvironment(model, artifacts, inputs, flags, limits, dependencies.now());
      return { model, artifacts, access, inputs, desired };
    } catch (error) {
      await artifacts.close();
      throw error;
    }
  });
}

function secretsOf(access: AgentAccess): readonly string[] {
  const password = decodeURIComponent(new URL(access.endpoint.mbus).password);
  return [password, access.generated?.private_key ?? ''];
}

function desiredEnvironment(
  model: DeploymentModel,
  artifacts: OpenedArtifacts,
  inputs: DeployInputs,
  flags: DeployFlags,
  limits: Limits,
  now: Date,
): DesiredEnvironment {
  const { name, version, digest } = artifacts.stemcell;
  return {
    group: model.group.name,
    stemcell: { name, version, digest },
    vmFingerprint: inputs.vmFingerprint,
    metadata: metadataDigest(model),
    disk: model.persistentDisk,
    applied: inputs.applied,
    deployed: deployedDigest(model, artifacts),
    readiness: model.readiness.map((check) => check.url),
    recreate: flags.recreate,
    recreateDisk: flags.recreateDisk,
    addresses: Object.values(model.networks).flatMap(({ ip }) => (ip === undefined ? [] : [ip])),
    agentHost: isUnknownAddress(inputs.endpoint) ? undefined : new URL(inputs.endpoint.mbus).hostname,
    vmStrategy: model.vmStrategy ?? 'create-swap-delete',
    diskStrategy: model.diskStrategy ?? 'copy',
    oldDiskMs: limits.oldDiskMs,
    now: now.toISOString(),
  };
}

export function deployedDigest(
  model: DeploymentModel,
  artifacts: Pick<OpenedArtifacts, 'files' | 'stemcell'>,
): string {
  return digestOf({
    manifest: model.manifestSha,
    artifacts: artifacts.files.map(({ url, digest }) => [url, digest]),
    ...(artifacts.stemcell.existing === undefined ? {} : { image: artifacts.stemcell.existing }),
  });
}

/** Everything that a VM takes from its creation. Tags travel as metadata and need no new VM. */
function vmFingerprint(model: DeploymentModel, stemcellDigest: string): string {
  const { properties } = model.cloud;
  return digestOf({
    cloud: model.cloud.kind === 'built-in' ? model.cloud.plugin : model.cloud.templates,
    stemcell: stemcellDigest,
    networks: plainJson(model.networks),
    cloudProperties: model.vm.cloudProperties,
    env: buildVmEnv({ ...model, tags: {} }),
    settings: properties['agent'] ?? {},
    mbus: model.cloud.mbus ?? '',
    mbusCa: model.cloud.mbusCa ?? '',
  });
}

const loopback = '127.0.0.1';

async function usableTunnel(tunnel: SshTunnel | undefined): Promise<SshTunnel | undefined> {
  if (tunnel?.privateKey === undefined) return tunnel;
  return { ...tunnel, privateKey: await tunnelKey(tunnel.privateKey) };
}

/** Cloud, registry and effects of one run, opened and closed together. */
export class Session {
  readonly run: DeployRun;
  readonly #registry: DeployRegistry | undefined;
  readonly #clouds: ReadonlySet<Cloud>;

  private constructor(run: DeployRun, registry: DeployRegistry | undefined, clouds: ReadonlySet<Cloud>) {
    this.run = run;
    this.#registry = registry;
    this.#clouds = clouds;
  }

  static async open(options: {
    readonly cloud: DeploymentModel['cloud'];
    /** For a run that may make a VM. */
    readonly delivery:
      | {
          readonly networks: DeploymentModel['networks'];
          readonly registry: RegistryChoice;
        }
      | undefined;
    readonly group: string;
    readonly settings: JsonObject;
    readonly inputs: DeployInputs | undefined;
    readonly stemcellApiVersion: number;
    readonly environment: Environment;
    readonly dependencies: DeployerDependencies;
    readonly skipDrain: boolean;
    readonly watch?: DeploymentModel['updateWatchTimeMs'];
    readonly limits?: readonly (TimeLimits | undefined)[];
    /** For a state of create-env, which does not say where its VM's agent answers. */
    readonly fallbackEndpoint: AgentEndpoint | undefined;
    readonly context: EngineContext;
  }): Promise<Session> {
    const { environment, dependencies, context, fallbackEndpoint } = options;
    const { own, current_vm_cid: vmCid } = environment.store.current;
    if (own.endpoint === undefined && vmCid !== '' && fallbackEndpoint !== undefined) {
      await environment.store.update({ own: { endpoint: fallbackEndpoint } });
    }
    const limits = limitsOf(dependencies.limits, ...(options.limits ?? []));
    const open = async (registry: DeployRegistry | undefined, described = options.cloud) =>
      limitedCloud(
        await dependencies.openCloud(
          described,
          { agent: options.settings, registry: registry?.access },
          environment.store,
          context,
        ),
        limits.cpiMs,
        context.events,
      );
    const sshTunnel = await usableTunnel(options.delivery && options.cloud.sshTunnel);
    const first = await open(undefined);
    let cloud = first;
    const effectsOf = (of: Cloud) =>
      new Effects({
        cloud: of,
        store: environment.store,
        journal: environment.journal,
        events: context.events,
        signal: context.signal,
        stemcellApiVersion: options.stemcellApiVersion,
      });
    let registry: DeployRegistry | undefined;
    let witness: RegistryWitness | undefined;
    const { delivery } = options;
    if (delivery !== undefined) {
      try {
        const callContext = effectsOf(first).context();
        const { api_version: cpiApiVersion } = await first.info(callContext);
        const uses = usesRegistry({
          choice: delivery.registry,
          cloud: options.cloud,
          stemcellApiVersion: options.stemcellApiVersion,
          cpiApiVersion,
        });
        const named = namesRegistry(options.cloud);
        const external = uses ? namedRegistry(options.cloud) : undefined;
        if (external !== undefined) witness = externalWitness(external, dependencies.now());
        if (!uses && named) cloud = await open(undefined, withoutRegistry(options.cloud));
        const reachable =
          uses && !named ? await first.hostAddress?.(callContext, delivery.networks) : undefined;
        // A VM that cannot reach this machine finds the registry at its own loopback interface, through the tunnel.
        const address = uses && !named && sshTunnel !== undefined ? loopback : reachable;
        if (uses && !named && address === undefined) checkUnreachable(delivery.registry);
        if (address !== undefined) {
          registry = await context.events.step('Starting registry', () =>
            startRegistry(environment.store, address),
          );
          witness = registry.witness;
          cloud = await open(registry);
          if (registry.movedFrom !== undefined && vmCid !== '') {
            context.events.message(
              `The registry moved: VM '${vmCid}' knows it at ${registry.movedFrom}, and it is at ${registry.access.endpoint} now. ` +
                'The VM lives from the settings that it has; a new one (--recreate) gets the new address.',
              { level: 'warning' },
            );
          }
        }
      } catch (error) {
        await registry?.close();
        await first.dispose?.();
        throw error;
      }
    }
    const run = new DeployRun({
      inputs: options.inputs,
      effects: effectsOf(cloud),
      events: context.events,
      connectAgent: dependencies.connectAgent,
      route: dependencies.route,
      compiledPackages: dependencies.compiledPackages,
      limits: {
        ...limits,
        ...(options.watch === undefined
          ? {}
          : { watchMinMs: options.watch.min, watchMaxMs: options.watch.max }),
      },
      group: options.group,
      skipDrain: options.skipDrain,
      ...(witness === undefined ? {} : { registryWitness: witness }),
      ...(registry === undefined || sshTunnel === undefined
        ? {}
        : { tunnel: { ...sshTunnel, registryPort: registry.port } }),
    });
    await run.openTunnel();
    return new Session(run, registry, new Set([first, cloud]));
  }

  async close(): Promise<void> {
    await this.run.close();
    await this.#registry?.close();
    for (const cloud of this.#clouds) await cloud.dispose?.();
  }
}

/** What the CPI merges into the VM's settings: the manifest's own, and what it leaves out. */
export function settingsOf(cloud: DeploymentModel['cloud'], mbus: string): JsonObject {
  const given = isJsonObject(cloud.properties['agent']) ? cloud.properties['agent'] : {};
  return {
    blobstore: { provider: 'local', options: { blobstore_path: '/var/vcap/micro_bosh/data/cache' } },
    ntp: [],
    mbus,
    // The defaults of micro hold nulls, which stand for what we fill in.
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== null)),
  };
}

export interface Planned {
  readonly observed: Observation;
  readonly steps: readonly Step[];
}

/** Settles what an earlier run left open, looks, and plans. */
export async function planRun(run: DeployRun, desired: DesiredEnvironment): Promise<Planned> {
  await run.effects.settle();
  const observed = await observe(run);
  const plan = planDeploy(desired, run.state, observed);
  if ('obstacle' in plan) {
    throw new PersistentDiskLost(`The persistent disk '${plan.diskCid}' no longer exists`, {
      details: { diskCid: plan.diskCid },
      advice:
        'Restore it under the same id, or delete the environment and begin with an empty disk. A new disk is never made silently in its place.',
    });
  }
  const planned = { observed, steps: plan };
  if (desired.disk !== undefined) await refuseSmallDisk(run, desired.disk.sizeMiB, planned);
  return planned;
}

/** What `apply` was given; another plan now means that something moved in between. */
export interface ExpectedPlan {
  readonly observed: Observation;
  readonly steps: readonly Step[];
}

function refuseOutdated(planned: Planned, expected: ExpectedPlan): void {
  if (canonicalJson([planned.observed, planned.steps]) === canonicalJson([expected.observed, expected.steps]))
    return;
  throw new PlanOutdated('The cloud or the agent say something else than when the plan was made', {
    advice: 'Make a new plan: microbosh plan MANIFEST --out PLAN',
  });
}

/** Brings the environment to what the deployment says. */
export async function deploy(
  deployment: Deployment,
  environment: Environment,
  remembered: RememberedInputs,
  dependencies: DeployerDependencies,
  flags: DeployFlags,
  context: EngineContext,
  expected: ExpectedPlan | undefined,
): Promise<void> {
  const { model, access, inputs, desired, artifacts } = deployment;
  await environment.store.update({
    own: {
      inputs: remembered,
      cloud: plainJson(model.cloud),
      deployment: model.name,
      group: model.group.name,
      ...(access.generated === undefined ? {} : { agent: access.generated }),
    },
  });
  const session = await Session.open({
    cloud: model.cloud,
    delivery: { networks: model.networks, registry: flags.registry },
    group: model.group.name,
    settings: settingsOf(model.cloud, access.settingsMbus),
    inputs,
    stemcellApiVersion: artifacts.stemcell.apiVersion,
    environment,
    dependencies,
    skipDrain: flags.skipDrain,
    watch: model.updateWatchTimeMs,
    limits: [model.limits, flags.limits],
    fallbackEndpoint: access.endpoint,
    context,
  });
  try {
    const planned = await planRun(session.run, desired);
    if (expected !== undefined) refuseOutdated(planned, expected);
    await checkNeeds(session.run.effects, model, planned.steps);
    await executeOrGoBack(session.run, planned.steps, desired.deployed, flags);
    if (session.run.mustCopy) {
      session.run.mustCopy = false;
      const { steps } = await planRun(session.run, { ...desired, recreate: false, diskStrategy: 'copy' });
      await checkNeeds(session.run.effects, model, steps);
      await executeOrGoBack(session.run, steps, desired.deployed, flags);
    }
    await environment.store.update({ own: { artifacts: [...artifacts.files] } });
  } finally {
    await session.close();
  }
}

async function executeOrGoBack(
  run: DeployRun,
  steps: readonly Step[],
  deployed: string,
  flags: DeployFlags,
): Promise<void> {
  try {
    await executeDeploy(run, steps, deployed);
  } catch (error) {
    const { own } = run.state;
    const isProven = own.deployed === deployed;
    if (own.previous === undefined || isProven || run.signal.aborted || cannotRecord(error)) throw error;
    if (flags.noRollback === true) {
      run.events.message(
        `VM '${run.state.current_vm_cid}' stays as it is, VM '${own.previous.vm.cid}' beside it; the next deploy goes on with the new one.`,
        { level: 'warning' },
      );
      throw error;
    }
    try {
      await rollBack(run, { keepBroken: flags.keepBroken === true });
    } catch (second) {
      run.events.message(rollBackFailed(second), { level: 'warning' });
    }
    throw error;
  }
}

/** Without a journal nothing may be changed. */
function cannotRecord(error: unknown): boolean {
  const code = errorCode(error);
  return code === 'E_STATE_NOT_WRITTEN' || code === 'E_JOURNAL_DAMAGED';
}
