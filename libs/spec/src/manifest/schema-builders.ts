import { Type, type TSchema } from 'typebox';

/** A text field: takes any scalar, a number or boolean counts as its text (reference create-env §2.1). */
export const Text = (description: string): TSchema =>
  Type.Unsafe<string>({ type: ['string', 'number', 'boolean'], description });

export const Whole = (description: string): TSchema => Type.Integer({ description });

/** A map that is passed on as it is (to the CPI, the agent, a template); keys must be strings. */
export const FreeMap = (description: string): TSchema =>
  Type.Unsafe<object>({ type: 'object', additionalProperties: true, description });

/** Accepted, and not used by a one-VM deployment. */
export const Unused = (): TSchema => Type.Unsafe({ description: 'Accepted and not used.' });

/** A map with known keys, all optional: required ones are checked with the original's texts. */
export const object = (description: string, properties: Record<string, TSchema>): TSchema =>
  Type.Object(optional(properties), { description, additionalProperties: false });

export const list = (description: string, items: TSchema): TSchema => Type.Array(items, { description });

function optional(properties: Record<string, TSchema>): Record<string, TSchema> {
  return Object.fromEntries(
    Object.entries(properties).map(([name, schema]) => [name, Type.Optional(schema)]),
  );
}
