import { homedir } from 'node:os';
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import {
  checkVariables,
  formatPosition,
  formatProblem,
  referencedFiles,
  translateCreateEnvManifest,
} from '@microbosh/spec';
import type { DeploymentModel, EvaluatedManifest } from '@microbosh/spec';
import type { CommandContext } from '../cli/context.ts';

/** Checks an evaluated manifest and makes the model that is deployed. What the original ignores silently is said. */
export async function loadModel(
  evaluated: EvaluatedManifest,
  manifestPath: string,
  context: Pick<CommandContext, 'cwd' | 'env' | 'events'>,
): Promise<DeploymentModel> {
  const paths = {
    manifestDirectory: dirname(resolve(context.cwd, manifestPath)),
    homeDirectory: context.env.HOME ?? homedir(),
  };
  const files = new Map<string, string>();
  for (const file of referencedFiles(evaluated.root, paths)) {
    // A file that cannot be read is reported with its place in the manifest by the translation.
    const text = await readFile(file, 'utf8').catch(() => undefined);
    if (text !== undefined) files.set(file, text);
  }
  const options = { ...paths, file: manifestPath, files };
  const { model, warnings } = translateCreateEnvManifest(evaluated, options);
  // A manifest for create-env may hold keys for others; one of ours holds what we know, or a typing error.
  if (model.cloud.kind === 'built-in' && warnings.length > 0) {
    translateCreateEnvManifest(evaluated, { ...options, strict: true });
  }
  for (const warning of warnings) context.events.message(formatProblem(warning), { level: 'warning' });
  // Generated values are never made again by themselves: the operator has to hear of those that should be.
  for (const { position, message } of checkVariables(evaluated, { now: new Date() })) {
    context.events.message(`${formatPosition(position)}: ${message}`, { level: 'warning' });
  }
  return model;
}
