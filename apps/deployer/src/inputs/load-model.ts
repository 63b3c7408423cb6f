import { homedir } from 'node:os';
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import {
  checkVariables,
  formatPosition,
  formatProblem,
  isMicroManifest,
  microReferencedFiles,
  referencedFiles,
  translateCreateEnvManifest,
  translateMicroManifest,
} from '@microbosh/spec';
import type { DeploymentModel, EvaluatedManifest } from '@microbosh/spec';
import type { CommandContext } from '../cli/context.ts';
import type { RememberedInputs } from '../state/environment-state.ts';

/** What a micro deployment takes from the command line. */
export interface StemcellInputs extends Pick<RememberedInputs, 'stemcell' | 'stemcellSha1'> {
  /** The model is looked at, not deployed. */
  readonly stemcellOptional?: boolean;
}

/** `image:ID` stands for an image that is in the cloud already. */
export const imagePrefix = 'image:';

/** Checks an evaluated manifest and makes the model that is deployed. What the original ignores silently is said. */
export async function loadModel(
  evaluated: EvaluatedManifest,
  manifestPath: string,
  context: Pick<CommandContext, 'cwd' | 'env' | 'events'>,
  inputs: StemcellInputs = {},
): Promise<DeploymentModel> {
  const paths = {
    manifestDirectory: dirname(resolve(context.cwd, manifestPath)),
    homeDirectory: context.env.HOME ?? homedir(),
  };
  const files = new Map<string, string>();
  const micro = isMicroManifest(evaluated.text);
  const referenced = micro ? microReferencedFiles : referencedFiles;
  for (const file of referenced(evaluated.root, paths)) {
    // A file that cannot be read is reported with its place in the manifest by the translation.
    const text = await readFile(file, 'utf8').catch(() => undefined);
    if (text !== undefined) files.set(file, text);
  }
  const options = { ...paths, file: manifestPath, files };
  const { model, warnings } = micro
    ? translateMicroManifest(evaluated.root, { ...options, ...microStemcell(inputs) })
    : translateCreateEnvManifest(evaluated, options);
  // A manifest for create-env may hold keys for others; one of ours holds what we know, or a typing error.
  if (!micro && model.cloud.kind === 'built-in' && warnings.length > 0) {
    translateCreateEnvManifest(evaluated, { ...options, strict: true });
  }
  for (const warning of warnings) context.events.message(formatProblem(warning), { level: 'warning' });
  // Generated values are never made again by themselves: the operator has to hear of those that should be.
  for (const { position, message } of checkVariables(evaluated, { now: new Date() })) {
    context.events.message(`${formatPosition(position)}: ${message}`, { level: 'warning' });
  }
  return model;
}

function microStemcell(inputs: StemcellInputs) {
  const { stemcell, stemcellSha1, stemcellOptional = false } = inputs;
  if (stemcell === undefined) return { stemcellOptional };
  if (stemcell.startsWith(imagePrefix)) return { image: stemcell.slice(imagePrefix.length) };
  return { stemcell: { url: stemcell, ...(stemcellSha1 === undefined ? {} : { sha1: stemcellSha1 }) } };
}
