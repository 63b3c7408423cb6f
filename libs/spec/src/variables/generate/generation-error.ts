/** Why a value cannot be generated; the caller adds which variable and where it is defined. */
export class GenerationError extends Error {}

export function invalidParameters(type: string, problem: string): GenerationError {
  return new GenerationError(`Failed to generate ${type}, parameters are invalid: ${problem}`);
}
