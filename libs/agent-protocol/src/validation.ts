import type { Json } from '@microbosh/errors';
import { OperationalError } from '@microbosh/errors';
import { Compile, type Validator } from 'typebox/schema';
import type { TSchema } from 'typebox';
import { methodDefinition, type MethodArguments, type MethodName, type MethodResult } from './methods.ts';

/** The arguments of a request do not fit the method. Texts as the Go agent's where clients may look at them. */
export class ArgumentsInvalid extends OperationalError {
  readonly code = 'E_ARGUMENTS';
}

/** A value that an agent answered is not what the protocol says. */
export class ResultInvalid extends OperationalError {
  readonly code = 'E_AGENT_ANSWER';
}

/** Validators are made at first use: most runs need few of them. */
const validators = new WeakMap<TSchema, Validator>();

function validatorOf(schema: TSchema): Validator {
  const known = validators.get(schema);
  if (known) return known;
  const made = Compile(schema);
  validators.set(schema, made);
  return made;
}

/** The first thing that is wrong with a value, as `path: problem`; undefined when it fits. Values are not shown. */
export function firstProblem(schema: TSchema, value: unknown): string | undefined {
  const validator = validatorOf(schema);
  if (validator.Check(value)) return undefined;
  const [, problems] = validator.Errors(value);
  const problem = problems.at(-1) ?? problems[0];
  return `${problem?.instancePath ?? ''}: ${problem?.message ?? 'does not fit'}`.replace(/^: /, '');
}

/** Checks the `arguments` of a request. Null and absent are no arguments; surplus ones are ignored. */
export function parseArguments<M extends MethodName>(method: M, sent: Json): MethodArguments<M> {
  const list: Json = sent ?? [];
  if (!Array.isArray(list)) {
    throw new ArgumentsInvalid(
      'Extracting json arguments: Unmarshalling payload arguments to interface{} types: json: cannot unmarshal a value that is not an array into Go value of type []interface {}',
    );
  }
  const { parameters } = methodDefinition(method);
  const least = parameters.filter((parameter) => !parameter.optional).length;
  if (list.length < least) {
    throw new ArgumentsInvalid(
      `Extracting method arguments from payload: Not enough arguments, expected ${least}, got ${list.length}`,
    );
  }
  const values = list.slice(0, parameters.length) as Json[];
  values.forEach((value, index) => {
    const parameter = parameters[index];
    if (!parameter || (parameter.optional && value === null)) return;
    const problem = firstProblem(parameter.schema, value);
    if (problem === undefined) return;
    throw new ArgumentsInvalid(
      `Extracting method arguments from payload: Unmarshalling action argument: json: argument ${index} (${parameter.name})${problem.startsWith('/') ? ` at ${problem}` : ` ${problem}`}`,
      { details: { method, argument: parameter.name } },
    );
  });
  // Each element was just checked against its schema.
  return values.map((value) => value ?? undefined) as MethodArguments<M>;
}

/** Checks the final value of a method, on the client's side. */
export function parseResult<M extends MethodName>(method: M, value: Json): MethodResult<M> {
  const problem = firstProblem(methodDefinition(method).result, value);
  if (problem !== undefined) {
    throw new ResultInvalid(`The agent's answer to '${method}' is not what the protocol says: ${problem}`, {
      details: { method },
      advice: 'The peer is not a compatible agent, or something between rewrites its answers.',
    });
  }
  return value as MethodResult<M>;
}
