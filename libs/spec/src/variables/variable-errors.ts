import { OperationalError } from '@microbosh/errors';
import { formatPosition, type Position } from '../yaml/source-file.ts';

/** A `--var`, `--var-file`, `--vars-file`, `--vars-env` argument, or what it names, cannot be used. */
export class VariableSourceInvalid extends OperationalError {
  readonly code = 'E_VARIABLE_SOURCE';
}

/** The vars-store file is not a map of values. */
export class VarsStoreInvalid extends OperationalError {
  readonly code = 'E_VARS_STORE';
}

/** The `variables` section is malformed, or a definition refers to itself. */
export class VariableDefinitionInvalid extends OperationalError {
  readonly code = 'E_VARIABLE_DEFINITION';
}

/** A value cannot be generated from its definition. */
export class VariableGenerationFailed extends OperationalError {
  readonly code = 'E_VARIABLE_GENERATION';
}

/** A reference names something that its variable does not contain, or that cannot stand where it is used. */
export class VariableReferenceInvalid extends OperationalError {
  readonly code = 'E_VARIABLE_REFERENCE';
}

export interface MissingReference {
  readonly name: string;
  /** The first place that refers to it. */
  readonly position: Position;
}

/** References without a value, or values without a reference; both lists can be filled. */
export class VariablesUnresolved extends OperationalError {
  readonly code = 'E_VARIABLES_UNRESOLVED';
  readonly missing: readonly MissingReference[];
  readonly unused: readonly string[];

  constructor(missing: readonly MissingReference[], unused: readonly string[]) {
    const sections = [
      missing.length === 0
        ? ''
        : `Expected to find variables:\n${missing
            .map(({ name, position }) => `  - ${name} (${formatPosition(position)})`)
            .join('\n')}`,
      unused.length === 0
        ? ''
        : `Expected to use variables:\n${unused.map((name) => `  - ${name}`).join('\n')}`,
    ];
    super(sections.filter((section) => section !== '').join('\n'), {
      details: { missing: missing.map(({ name }) => name), unused },
      advice:
        missing.length === 0
          ? 'Remove the variables that nothing refers to, or leave out --var-errs-unused.'
          : 'Give the values with --var, --var-file, --vars-file or --vars-env, or let --vars-store generate those ' +
            'that the variables section defines with a type.',
    });
    this.missing = missing;
    this.unused = unused;
  }
}
