import { describe, expect, it } from 'vitest';
import type { JsonObject } from '@microbosh/errors';
import { parseYaml, propertyLocator } from '@microbosh/spec';
import {
  applySpecEvaluationContext,
  cpiEvaluationContext,
  evaluationContexts,
  type TemplateContext,
} from './evaluation-context.ts';
import { explainProperty } from './explain-property.ts';

function context(
  layers: { own?: JsonObject; group?: JsonObject; global?: JsonObject },
  manifest?: string,
): TemplateContext {
  const [built] = evaluationContexts(
    {
      name: 'dep',
      ...(manifest === undefined ? {} : { locate: propertyLocator(parseYaml(manifest, { file: 'm.yml' })) }),
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

describe('explainProperty with the manifest at hand', () => {
  const text = (group: string, job = '') =>
    `name: m\ninstance_groups:\n- name: main\n  jobs:\n  - name: web${job}\n  properties:\n    ${group}\n`;

  it.each<[string, Parameters<typeof context>[0], string, string]>([
    [
      'where it is set',
      { group: { db: { port: 1 } } },
      text('db:\n      port: 1'),
      "'db.port' is set in instance_groups[main].properties (m.yml:8:7) (a number).",
    ],
    [
      'near what it would go, and where the lower layer would begin',
      { group: { db: { user: 'x' } } },
      text('db: {user: x}'),
      "Nothing sets 'db.port' and job 'web' has no default for it: set it in instance_groups[main].properties near 'db' (m.yml:7:5) or properties (m.yml:1:1).",
    ],
    [
      'which value is in the way',
      { group: { db: 'x' } },
      text('db: x'),
      "'db' in instance_groups[main].properties (m.yml:7:5) is a string, so there is no 'db.port' in it.",
    ],
    [
      'both places of a hidden one',
      { own: {}, group: { db: { port: 1 } } },
      text('db: {port: 1}', '\n    properties: {}'),
      "'db.port' is set in instance_groups[main].properties (m.yml:8:10), but job 'web' has properties of its own, and then only those count: set it in instance_groups[main].jobs[web].properties (m.yml:6:5).",
    ],
  ])('names %s', (_name, layers, manifest, expected) => {
    expect(explainProperty(context(layers, manifest), 'db.port')).toBe(expected);
  });
});

describe('explainProperty for a CPI job', () => {
  it('names the place in cloud_provider', () => {
    const locate = propertyLocator(
      parseYaml('name: m\ncloud_provider:\n  properties:\n    db: {user: x}\n', { file: 'm.yml' }),
    );
    const properties = { 'db.port': {}, 'db.user': {} };
    const manifest = { name: 'cpi', templates: {}, packages: [], properties, consumes: [], provides: [] };
    const cpi = cpiEvaluationContext('m', { properties: { db: { user: 'x' } }, locate }, manifest, {
      id: 'i',
    });

    expect(explainProperty(cpi, 'db.port')).toBe(
      "Nothing sets 'db.port' and job 'cpi' has no default for it: set it in cloud_provider.properties near 'db' (m.yml:4:5).",
    );
    expect(explainProperty(cpi, 'db.user')).toBe(
      "'db.user' is set in cloud_provider.properties (m.yml:4:10) (a string).",
    );
  });
});

describe('explainProperty for a micro deployment', () => {
  const text = `name: m
cloud:
  plugin: openstack
  properties:
    openstack: {username: u}
apply_spec:
  agent: {nats: {user: a}}
  properties:
    director: {port: 1}
`;
  const micro = {
    plugin: 'openstack',
    applySpec: { agent: { nats: { user: 'a' } }, properties: { director: { port: 1 } } },
    cloudProperties: { openstack: { username: 'u' } },
  };
  const spec = {
    properties: { agent: { nats: { user: 'a' } }, director: { port: 1 }, postgres: { user: 'x' } },
  };
  const context = applySpecEvaluationContext('director', spec, {
    micro,
    locate: propertyLocator(parseYaml(text, { file: 'micro_bosh.yml', dialect: 'psych' })),
  });

  it.each([
    ['director.port', "'director.port' is set in apply_spec.properties (micro_bosh.yml:9:16) (a number)."],
    [
      'director.name',
      "Nothing sets 'director.name': set it in apply_spec.properties near 'director' (micro_bosh.yml:9:5) or the apply spec.",
    ],
    ['agent.nats.user', "'agent.nats.user' is set in apply_spec (micro_bosh.yml:7:18) (a string)."],
    [
      'agent.nats.password',
      "Nothing sets 'agent.nats.password': set it in apply_spec near 'agent.nats' (micro_bosh.yml:7:11) or the apply spec.",
    ],
    [
      'openstack.api_key',
      "Nothing sets 'openstack.api_key': set it in apply_spec.properties (micro_bosh.yml:8:3) or cloud.properties near 'openstack' (micro_bosh.yml:5:5) or the apply spec.",
    ],
    ['postgres.user', "'postgres.user' is set in the apply spec (a string)."],
    ['postgres.password', "Nothing sets 'postgres.password': set it in the apply spec."],
  ])('of %s', (name, wanted) => {
    expect(explainProperty(context, name)).toBe(wanted);
  });
});
