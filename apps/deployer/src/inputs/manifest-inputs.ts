import { resolve } from 'node:path';
import { evaluateManifest, isMicroManifest, splitAssignment } from '@microbosh/spec/documents';
import type { EvaluateManifestInput, EvaluatedManifest } from '@microbosh/spec/documents';
import { limitNames, parseLimit } from '@microbosh/spec/documents';
import type { TimeLimits } from '@microbosh/spec';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { listOption, textOption } from '../cli/context.ts';
import type { RememberedInputs } from '../state/environment-state.ts';
import { InputUnreadable, readInput } from './read-input.ts';
import { varsStoreFile } from './vars-store-file.ts';

/** Variable and ops flags with absolute paths, so that they mean the same from any folder. */
export function readInputFlags(options: CommandOptions, cwd: string): RememberedInputs {
  const varsStore = textOption(options, 'varsStore');
  return {
    var: [...listOption(options, 'var')],
    varFile: listOption(options, 'varFile').map((flag) => {
      const { name, value } = splitAssignment(flag, 'path');
      return `${name}=${resolve(cwd, value)}`;
    }),
    varsFile: listOption(options, 'varsFile').map((path) => resolve(cwd, path)),
    varsEnv: [...listOption(options, 'varsEnv')],
    ...(varsStore === undefined ? {} : { varsStore: resolve(cwd, varsStore) }),
    opsFile: listOption(options, 'opsFile').map((path) => resolve(cwd, path)),
  };
}

/** `--limit name=duration`, given any number of times. */
export function limitFlags(options: CommandOptions): TimeLimits {
  return Object.assign(
    {},
    ...listOption(options, 'limit').map((flag) => {
      const limit = parseLimit(flag);
      if (limit === undefined) {
        throw new InputUnreadable(`--limit ${flag} is not a time limit`, {
          advice: `Give one as NAME=DURATION, for example agent=20m. Names: ${Object.keys(limitNames).join(', ')}.`,
        });
      }
      return limit;
    }),
  ) as TimeLimits;
}

export function hasInputFlags(inputs: RememberedInputs): boolean {
  return (
    inputs.varsStore !== undefined ||
    [inputs.var, inputs.varFile, inputs.varsFile, inputs.varsEnv, inputs.opsFile].some(
      (list) => list.length > 0,
    )
  );
}

/** Reads the manifest and everything that the flags name, once, and evaluates it. */
export async function evaluateInputs(
  manifestPath: string,
  inputs: RememberedInputs,
  context: Pick<CommandContext, 'cwd' | 'env' | 'readStdin'>,
): Promise<EvaluatedManifest> {
  return evaluateManifest(await readManifestInputs(manifestPath, inputs, context));
}

/** Reads the manifest and everything that the flags name, once; `-` is standard input. */
export async function readManifestInputs(
  manifestPath: string,
  inputs: RememberedInputs,
  context: Pick<CommandContext, 'cwd' | 'env' | 'readStdin'>,
): Promise<EvaluateManifestInput> {
  const [read, ops, files, contents] = await Promise.all([
    manifestPath === '-'
      ? context.readStdin()
      : readInput(resolve(context.cwd, manifestPath), 'manifest', manifestPath),
    Promise.all(inputs.opsFile.map(async (file) => ({ file, text: await readInput(file, 'ops file') }))),
    Promise.all(
      inputs.varsFile.map(async (file) => ({ file, text: await readInput(file, 'variables file') })),
    ),
    Promise.all(
      inputs.varFile.map(async (flag) => {
        const { name, value: file } = splitAssignment(flag, 'path');
        return { name, file, text: await readInput(file, 'variable file') };
      }),
    ),
  ]);
  const micro = isMicroManifest(read);
  const text = micro && read.includes('<%') ? await evaluateErb(read, manifestPath) : read;
  return {
    text,
    file: manifestPath,
    ...(micro ? { dialect: 'psych' as const } : {}),
    ops,
    variables: {
      prefixes: inputs.varsEnv,
      environment: context.env,
      files,
      contents,
      assignments: inputs.var,
    },
    ...(inputs.varsStore === undefined ? {} : { varsStore: varsStoreFile(inputs.varsStore, context.env) }),
  };
}

/** `micro_bosh.yml` is a template; it is evaluated where it can reach neither files nor the environment. */
async function evaluateErb(text: string, file: string): Promise<string> {
  const { applySpecEvaluationContext, startRenderer } = await import('@microbosh/ruby-templates');
  const renderer = await startRenderer({ workers: 1 });
  try {
    const context = applySpecEvaluationContext('micro', {});
    const [rendered] = await renderer.render([{ context, template: text, path: file }]);
    return rendered?.toString() ?? '';
  } finally {
    await renderer.close();
  }
}
