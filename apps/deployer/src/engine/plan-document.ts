import { readFile } from 'node:fs/promises';
import { Type } from 'typebox';
import { Value } from 'typebox/value';
import { messageOf } from '@microbosh/errors';
import { PlanOutdated } from '../errors.ts';
import type { RememberedInputs } from '../state/environment-state.ts';
import { rememberedInputs } from '../state/environment-state.ts';
import type { DeployPlan } from './plan-env.ts';

/** What `plan --out` writes. */
export interface PlanDocument extends DeployPlan {
  readonly manifest: string;
  readonly state: string;
  readonly inputs: RememberedInputs;
  readonly flags: { readonly recreate: boolean; readonly recreateDisk: boolean };
}

const schema = Type.Object({
  manifest: Type.String(),
  state: Type.String(),
  inputs: rememberedInputs,
  flags: Type.Object({ recreate: Type.Boolean(), recreateDisk: Type.Boolean() }),
  manifestSha: Type.String(),
  deployed: Type.String(),
  serial: Type.Integer(),
  observed: Type.Object({
    vm: Type.String(),
    agent: Type.String(),
    disks: Type.Record(Type.String(), Type.String()),
  }),
  steps: Type.Array(Type.Object({ kind: Type.String() })),
  changes: Type.Optional(Type.Array(Type.Object({ path: Type.String(), change: Type.String() }))),
});

/** Observation and steps are only ever compared with new ones, never executed as they stand in the file. */
export async function readPlanDocument(path: string): Promise<PlanDocument> {
  let document: unknown;
  try {
    document = JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    throw new PlanOutdated(`The plan '${path}' cannot be read: ${messageOf(error)}`, { details: { path } });
  }
  if (!Value.Check(schema, document)) {
    throw new PlanOutdated(`'${path}' is not a plan of this version`, {
      details: { path },
      advice: 'Make it with: microbosh plan MANIFEST --out PLAN',
    });
  }
  return document as PlanDocument;
}
