import { existsSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { DeploymentModel, EvaluatedManifest } from '@microbosh/spec';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { textOption } from '../cli/context.ts';
import { ManifestUnsupported, MicroRefused } from '../errors.ts';
import { imagePrefix, loadModel } from '../inputs/load-model.ts';
import { evaluateInputs, hasInputFlags, readInputFlags } from '../inputs/manifest-inputs.ts';
import { environmentPaths } from '../state/environment-paths.ts';
import type { EnvironmentPaths } from '../state/environment-paths.ts';
import type { EnvironmentState, RememberedInputs } from '../state/environment-state.ts';
import { importLegacyState, legacyFileOf } from '../state/legacy-import.ts';
import { StateStore } from '../state/state-store.ts';
import { MicroConfig } from './micro-config.ts';

/** The deployment that a `micro` command works on, from its manifest and its state only. */
export interface MicroDeployment {
  readonly config: MicroConfig;
  readonly manifest: string;
  readonly paths: EnvironmentPaths;
  readonly state: EnvironmentState;
  /** VM, stemcell or disk is on record. */
  readonly exists: boolean;
}

export async function selectedDeployment(
  context: CommandContext,
  options: CommandOptions,
): Promise<MicroDeployment> {
  const config = await MicroConfig.open(options, context);
  const given = textOption(options, 'deployment');
  const manifest =
    given === undefined ? config.selected(textOption(options, 'target')) : manifestPath(given, context.cwd);
  if (manifest === undefined) {
    throw new MicroRefused('Deployment not set', {
      advice: 'Select one: microbosh micro deployment NAME, a folder with micro_bosh.yml, or a manifest.',
    });
  }
  const paths = environmentPaths(manifest, undefined, context.cwd);
  // What the original recorded in its own file counts until our own state file takes its place.
  const { current: state } = await StateStore.open(paths, async () => {
    if (!existsSync(legacyFileOf(manifest, context.cwd))) return undefined;
    const { model } = await evaluateMicro(manifest, undefined, options, context);
    return (await importLegacyState({ manifest, name: model.name }))?.state;
  });
  const exists =
    state.current_vm_cid !== '' || (state.stemcells?.length ?? 0) > 0 || (state.disks?.length ?? 0) > 0;
  return { config, manifest, paths, state, exists };
}

/** A folder stands for its `micro_bosh.yml`. */
export function manifestPath(name: string, cwd: string): string {
  const path = resolve(cwd, name);
  const isFolder = statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  const manifest = isFolder ? join(path, 'micro_bosh.yml') : path;
  if (!existsSync(manifest)) {
    throw new MicroRefused(`Missing manifest for '${name}' (tried '${manifest}')`, {
      details: { path: manifest },
      advice: 'Name a folder that holds micro_bosh.yml, or the manifest itself.',
    });
  }
  return manifest;
}

export interface EvaluatedDeployment {
  readonly evaluated: EvaluatedManifest;
  readonly model: DeploymentModel;
  readonly inputs: RememberedInputs;
}

/** Evaluates the manifest; a stemcell need not be known. */
export async function evaluateMicro(
  manifest: string,
  remembered: RememberedInputs | undefined,
  options: CommandOptions,
  context: CommandContext,
): Promise<EvaluatedDeployment> {
  const flags = readInputFlags(options, context.cwd);
  const inputs = remembered === undefined || hasInputFlags(flags) ? flags : remembered;
  const evaluated = await evaluateInputs(manifest, inputs, context);
  const model = await loadModel(evaluated, manifest, context, { ...inputs, stemcellOptional: true });
  if (model.source !== 'micro') {
    throw new ManifestUnsupported(`'${manifest}' is no manifest of micro`, {
      details: { path: manifest },
      advice: 'Deploy it with: microbosh create-env MANIFEST',
    });
  }
  return { evaluated, model, inputs };
}

/** `https://<ip>:25555`: where the original says that its director is. */
export function targetOf(model: DeploymentModel, state: EnvironmentState): string {
  const address = model.micro?.clientServicesIp ?? state.own.vm?.address ?? '';
  return `https://${address.includes(':') ? `[${address}]` : address}:25555`;
}

/**
 * The stemcell as a command line names it: a tarball (path or URL), `image:ID`, or a bare word that is no file and
 * does not look like one, which the original takes for the id of an image.
 */
export function stemcellArgument(argument: string, cwd: string): string {
  if (argument.startsWith(imagePrefix)) return argument;
  if (/^(https?|file):/.test(argument)) return argument;
  const path = resolve(cwd, argument);
  if (existsSync(path)) return pathToFileURL(path).href;
  if (/\.(tgz|tar|tar\.gz|gz)$/.test(argument) || /^[./~]/.test(argument)) {
    throw new MicroRefused(`There is no stemcell '${argument}'`, {
      details: { path },
      advice: `Check the path. The id of an image in the cloud is written ${imagePrefix}ID.`,
    });
  }
  return `${imagePrefix}${argument}`;
}

/** `HH:MM:SS` */
export function clockText(durationMs: number): string {
  const seconds = Math.floor(durationMs / 1_000);
  return [Math.floor(seconds / 3_600), Math.floor(seconds / 60) % 60, seconds % 60]
    .map((part) => String(part).padStart(2, '0'))
    .join(':');
}
