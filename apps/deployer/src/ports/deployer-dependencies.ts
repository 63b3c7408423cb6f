import type { JsonObject } from '@microbosh/errors';
import type { DeploymentModel } from '@microbosh/spec';
import type { RegistryAccess } from '../access/deploy-registry.ts';
import type { ProxyRoute } from '../access/proxy-route.ts';
import type { CommandContext } from '../cli/context.ts';
import type { Limits } from '../engine/deploy-run.ts';
import type { Cloud } from '../engine/effects.ts';
import type { StageScope } from '../events/event-bus.ts';
import type { ArtifactRecord } from '../state/environment-state.ts';
import type { StateStore } from '../state/state-store.ts';
import type { AgentConnector } from './agent.ts';
import type { CompiledPackages, InstanceContent, OpenedStemcell } from './instance-content.ts';

/** Releases and stemcell of a deployment, downloaded, checked and opened. */
export interface OpenedArtifacts {
  readonly stemcell: OpenedStemcell;
  readonly releases: readonly { readonly name: string; readonly version: string; readonly digest: string }[];
  readonly content: InstanceContent;
  /** Files that were read, to recognise them without reading them again. */
  readonly files: readonly ArtifactRecord[];
  /** Removes what was unpacked. */
  close(): Promise<void>;
}

/** `settings` of the VM that the CPI delivers, and where to. */
export interface CloudAccess {
  /** Merged into every VM's settings. */
  readonly agent: JsonObject;
  readonly registry: RegistryAccess | undefined;
}

export interface OpenArtifactsOptions {
  /** `validating`: steps are shown in it. */
  readonly stage: StageScope;
  readonly signal: AbortSignal;
  /** The last deploy was of this very manifest. */
  readonly wasDeployed: boolean;
  readonly onWarning: (text: string) => void;
}

/** What the engine needs of the world. `compose-deployer.ts` has the real ones. */
export interface DeployerDependencies {
  readonly openArtifacts: (
    model: DeploymentModel,
    instanceId: string,
    options: OpenArtifactsOptions,
  ) => Promise<OpenedArtifacts>;
  /** Begins to load what a deploy to this cloud will need, while other things are done. */
  readonly warmUp: (cloud: DeploymentModel['cloud']) => void;
  /** Throws when the manifest's CPI is not to be had; changes nothing. */
  readonly checkCloud: (cloud: DeploymentModel['cloud']) => Promise<void>;
  /** Shows its steps in a stage of its own when the CPI has to be installed. */
  readonly openCloud: (
    cloud: DeploymentModel['cloud'],
    access: CloudAccess,
    store: StateStore,
    context: Pick<CommandContext, 'events' | 'signal' | 'secrets' | 'env'>,
  ) => Promise<Cloud>;
  readonly connectAgent: AgentConnector;
  /** The way to VMs; undefined: directly. */
  readonly route?: ProxyRoute | undefined;
  readonly compiledPackages: CompiledPackages;
  readonly limits: Limits;
  readonly now: () => Date;
}
