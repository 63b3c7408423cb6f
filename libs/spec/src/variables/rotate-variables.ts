import { OperationalError } from '@microbosh/errors';
import { evaluateManifest, type EvaluateManifestInput } from '../evaluate-manifest.ts';
import { readCertificateOptions } from './generate/certificate-options.ts';
import type { VariableDefinition } from './variable-definitions.ts';
import { VarsStore, type VarsStorePort } from './vars-store.ts';

/** A variable cannot be generated again. */
export class RotationImpossible extends OperationalError {
  readonly code = 'E_ROTATION_IMPOSSIBLE';
}

export interface RotateInput extends EvaluateManifestInput {
  readonly varsStore: VarsStorePort;
  readonly names: readonly string[];
  /** Leave certificates alone that a named CA signs. Default: they are made again too. */
  readonly only?: boolean;
}

/** Runs `work` while no other process changes the store. */
export async function withStore<T>(port: VarsStorePort, work: () => Promise<T>): Promise<T> {
  if (port.exclusively === undefined) return work();
  let result: { readonly value: T } | undefined;
  await port.exclusively(async () => {
    result = { value: await work() };
  });
  if (result === undefined) throw new Error('the store was not opened');
  return result.value;
}

/**
 * Generates variables again and stores all new values at once, or none. Gives the names in the order of the manifest.
 * Throws what `evaluateManifest` throws, and `RotationImpossible`.
 */
export async function rotateVariables(input: RotateInput): Promise<string[]> {
  return withStore(input.varsStore, () => rotate(input));
}

/** Within `withStore`. `keep`: certificates that stay although a named CA signs them. */
export async function rotate(input: RotateInput, keep: ReadonlySet<string> = new Set()): Promise<string[]> {
  const { varsStore: port, ...withoutStore } = input;
  const store = await VarsStore.open(port);
  // Evaluated without the store, so that nothing is generated yet.
  const { definitions, variable } = await evaluateManifest({
    ...withoutStore,
    requireAll: false,
    requireUsed: false,
  });
  for (const name of input.names) {
    const definition = definitions.find((candidate) => candidate.name === name);
    if (definition === undefined || definition.type === '') {
      throw new RotationImpossible(`The manifest does not define how to generate variable '${name}'`, {
        advice: 'Only variables with a type in the variables section can be rotated.',
      });
    }
    if (variable(name) !== undefined) {
      throw new RotationImpossible(
        `Variable '${name}' is given by a flag or a variables file, not by the vars-store`,
        {
          advice: 'Change the value where it is given.',
        },
      );
    }
  }
  const names =
    input.only === true ? new Set(input.names) : withSignedCertificates(input.names, definitions, keep);
  let pending = store.textWithout(names);
  const buffer: VarsStorePort = {
    file: port.file,
    load: () => Promise.resolve(pending),
    save: (text) => {
      pending = text;
      return Promise.resolve();
    },
  };
  const { generated } = await evaluateManifest({
    ...input,
    varsStore: buffer,
    requireAll: false,
    requireUsed: false,
  });
  const failed = [...names].find((name) => !generated.includes(name));
  if (failed !== undefined) {
    throw new RotationImpossible(
      `Variable '${failed}' cannot be generated: a variable that its options need has no value`,
      {
        advice: 'Give all variables that the manifest needs.',
      },
    );
  }
  await port.save(pending);
  return generated.filter((name) => names.has(name));
}

/** The names, and every certificate that one of them signs, directly or not. */
function withSignedCertificates(
  names: readonly string[],
  definitions: readonly VariableDefinition[],
  keep: ReadonlySet<string>,
): Set<string> {
  const result = new Set(names);
  for (let before = -1; before !== result.size;) {
    before = result.size;
    for (const definition of definitions) {
      if (definition.type !== 'certificate' || keep.has(definition.name)) continue;
      const { ca } = readCertificateOptions(definition.options);
      if (ca !== undefined && result.has(ca)) result.add(definition.name);
    }
  }
  return result;
}
