import { OperationalError } from '@microbosh/errors';
import { formatPosition, type Position } from './source-file.ts';

/** The text is not YAML, or not YAML that the dialect allows. */
export class YamlSyntaxError extends OperationalError {
  readonly code = 'E_YAML_SYNTAX';
  readonly position: Position;

  /** `problem` never quotes a value: it may be a secret. */
  constructor(problem: string, position: Position) {
    super(`${formatPosition(position)}: ${problem}`, {
      details: { ...position },
      advice: 'Correct the YAML at this place.',
    });
    this.position = position;
  }
}

/** A map that becomes JSON has a key that is not a string. */
export class NonStringKey extends OperationalError {
  readonly code = 'E_YAML_NON_STRING_KEY';

  constructor(key: string, position: Position) {
    super(`${formatPosition(position)}: Map contains non-string key '${key}'`, {
      details: { ...position },
      advice: 'Put the key into quotes.',
    });
  }
}

/** A number that JSON cannot express. */
export class UnrepresentableValue extends OperationalError {
  readonly code = 'E_YAML_UNREPRESENTABLE';

  constructor(value: string, position: Position) {
    super(`${formatPosition(position)}: The number '${value}' cannot be expressed in JSON`, {
      details: { ...position },
      advice: 'Use a finite number or a string.',
    });
  }
}
