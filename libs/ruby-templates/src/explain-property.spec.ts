import { describe, expect, it } from 'vitest';
import type { JsonObject } from '@microbosh/errors';
import { evaluationContexts, type TemplateContext } from './evaluation-context.ts';
import { explainProperty } from './explain-property.ts';

function context(layers: { own?: JsonObject; group?: JsonObject; global?: JsonObject }): TemplateContext {
  const [built] = evaluationContexts(
    {
      name: 'dep',
      properties: layers.global ?? {},
      group: { name: 'main', jobs: [], properties: layers.group ?? {} },
    },
    [
      {
        ref: { name: 'web', release: 'r', ...(layers.own === undefined ? {} : { properties: layers.own }) },
        manifest: {
          name: 'web',
          templates: {},
          packages: [],
          properties: { 'db.port': {}, 'db.user': { default: 'root' } },
          consumes: [],
          provides: [],
        },
      },
    ],
    { id: 'x' },
  );
  if (built === undefined) throw new Error('no context');
  return built;
}

describe('explainProperty', () => {
  it.each<[string, Parameters<typeof context>[0], string, string]>([
    [
      'not declared',
      {},
      'db.prot',
      "Job 'web' does not declare the property 'db.prot' in its spec, so its templates cannot see it. It declares 'db.port'.",
    ],
    [
      'set nowhere',
      {},
      'db.port',
      "Nothing sets 'db.port' and job 'web' has no default for it: set it in instance_groups[main].properties or properties.",
    ],
    [
      'default',
      {},
      'db.user',
      "'db.user' is not set in the manifest; the job's default for 'db.user' counts.",
    ],
    [
      'group',
      { group: { db: { port: 1 } } },
      'db.port',
      "'db.port' is set in instance_groups[main].properties (a number).",
    ],
    ['global', { global: { db: { port: [1] } } }, 'db.port', "'db.port' is set in properties (a list)."],
    [
      'hidden by own properties',
      { own: {}, group: { db: { port: 1 } } },
      'db.port',
      "'db.port' is set in instance_groups[main].properties, but job 'web' has properties of its own, and then only those count: set it in instance_groups[main].jobs[web].properties.",
    ],
    [
      'parent of the wrong shape',
      { group: { db: 'x' } },
      'db.port',
      "'db' in instance_groups[main].properties is a string, so there is no 'db.port' in it.",
    ],
  ])('says why: %s', (_name, layers, property, expected) => {
    expect(explainProperty(context(layers), property)).toBe(expected);
  });
});
