import { describe, expect, it } from 'vitest';
import {
  evaluateManifest,
  ManifestInvalid,
  translateCreateEnvManifest,
  type JobManifest,
} from '@microbosh/spec';
import { evaluationContexts } from './evaluation-context.ts';
import { LinksUnresolved } from './resolve-links.ts';

/** What the jobs' specs say: two databases of one type, a cache, and an application that consumes. */
const specs: Readonly<Record<string, Partial<JobManifest>>> = {
  main_db: {
    properties: { port: { default: 5432 }, 'users.admin': {} },
    provides: [{ name: 'db', type: 'sql', properties: ['port', 'users.admin'] }],
  },
  spare_db: {
    properties: { port: { default: 5433 } },
    provides: [{ name: 'spare', type: 'sql', properties: ['port'] }],
  },
  cache: { properties: { ttl: { default: 60 } } },
  app: {
    consumes: [
      { name: 'database', type: 'sql' },
      { name: 'store', type: 'kv', optional: true },
    ],
  },
};

/** Contexts of a manifest with these lines under its jobs. */
async function contextsOf(jobs: Readonly<Record<string, string>>) {
  const text = `name: m
releases: [{name: r, url: "file:///r.tgz"}]
resource_pools: [{name: p, network: n, stemcell: {url: "file:///s.tgz"}}]
networks: [{name: n, type: dynamic}]
instance_groups:
- name: g
  instances: 1
  resource_pool: p
  networks: [{name: n}]
  properties: {users: {admin: root}}
  jobs:
${Object.entries(jobs)
  .map(([name, more]) => `  - {name: ${name}, release: r${more === '' ? '' : `, ${more}`}}`)
  .join('\n')}
cloud_provider: {plugin: local}
`;
  const evaluated = await evaluateManifest({ text, file: 'm.yml' });
  const paths = { file: 'm.yml', manifestDirectory: '/', homeDirectory: '/' };
  const { model, warnings } = translateCreateEnvManifest(evaluated, { ...paths, strict: true });
  expect(warnings).toEqual([]);
  return evaluationContexts(
    model,
    model.group.jobs.map((ref) => ({
      ref,
      manifest: {
        name: ref.name,
        templates: {},
        packages: [],
        properties: {},
        consumes: [],
        provides: [],
        ...specs[ref.name],
      },
    })),
    { id: 'the-id', address: '10.0.0.6' },
  );
}

/** Links of the application, and what is said about those that it has not. */
async function linksOf(jobs: Readonly<Record<string, string>>) {
  const context = (await contextsOf(jobs)).find(({ job }) => job === 'app');
  return { links: context?.document['links'], unresolved: context?.unresolvedLinks };
}

const portsOf = (link: unknown) => (link as { properties: { port: number } } | undefined)?.properties.port;

describe('links of the one instance', () => {
  it('come from the only job that provides the type, with the properties that it shares', async () => {
    const { links, unresolved } = await linksOf({ main_db: '', app: '' });

    expect(links).toEqual({
      database: {
        deployment_name: 'm',
        instance_group: 'g',
        properties: { port: 5432, users: { admin: 'root' } },
        instances: [
          {
            name: 'g',
            index: 0,
            id: 'the-id',
            az: 'unknown',
            bootstrap: true,
            address: '10.0.0.6',
            properties: { port: 5432, users: { admin: 'root' } },
          },
        ],
      },
    });
    expect(unresolved).toEqual([
      "Job 'app' consumes the link 'store' of type 'kv', and no job of the instance provides one.",
    ]);
  });

  it.each([
    ['from: names the link', { main_db: '', spare_db: '', app: 'consumes: {database: {from: spare}}' }, 5433],
    [
      'as: gives it another name',
      {
        main_db: 'provides: {db: {as: primary, shared: true}}',
        spare_db: '',
        app: 'consumes: {database: {from: primary}}',
      },
      5432,
    ],
    ['provides: nil leaves the other', { main_db: 'provides: {db: nil}', spare_db: '', app: '' }, 5433],
    ['an empty value says nothing', { main_db: '', app: 'consumes: {database: }' }, 5432],
  ])('%s', async (_name, jobs, port) => {
    expect(portsOf(((await linksOf(jobs)).links as Record<string, unknown>)['database'])).toBe(port);
  });

  it('several of a type and no word from the manifest leave it open', async () => {
    expect((await linksOf({ main_db: '', spare_db: '', app: '' })).unresolved?.[0]).toContain(
      'several jobs provide that type (main_db, spare_db), none under that name alone',
    );
  });

  it('consumes: nil takes it away', async () => {
    const { links, unresolved } = await linksOf({ main_db: '', app: 'consumes: {database: nil}' });

    expect(links).toEqual({});
    expect(unresolved?.[0]).toBe(
      "Job 'app' consumes the link 'database' of type 'sql', and the manifest takes it away (nil).",
    );
  });

  it('given by hand are as they are given', async () => {
    const { links } = await linksOf({
      app: 'consumes: {database: {instances: [{address: 10.9.9.9, name: x}], properties: {port: 1}, address: db.example}, store: {instances: []}}',
    });

    expect(links).toEqual({
      database: {
        instances: [{ address: '10.9.9.9', name: 'x' }],
        properties: { port: 1 },
        address: 'db.example',
      },
      store: { instances: [], properties: {} },
    });
  });

  it('custom providers share properties of a job that provides nothing', async () => {
    const { links } = await linksOf({
      cache: 'custom_provider_definitions: [{name: kv, type: kv, properties: [ttl]}]',
      app: 'consumes: {store: {from: kv}}',
    });

    expect(links).toMatchObject({ store: { properties: { ttl: 60 }, instance_group: 'g' } });
  });

  it.each([
    [
      'a name that nothing has',
      { main_db: '', app: 'consumes: {database: {from: dbb}}' },
      "m.yml:13:57: Job 'app' consumes the link 'database' of type 'sql' from 'dbb', and no job of the instance provides it under that name; of that type there are 'db'.",
    ],
    [
      'a type that nothing provides',
      { app: 'consumes: {database: {from: db}}' },
      'and no job of the instance provides one of that type.',
    ],
    [
      'a link of another type',
      {
        cache: 'custom_provider_definitions: [{name: kv, type: kv}]',
        app: 'consumes: {database: {from: kv}}',
      },
      "and that link has the type 'kv'.",
    ],
    [
      'a name that two have',
      { main_db: '', spare_db: 'provides: {spare: {as: db}}', app: 'consumes: {database: {from: db}}' },
      'and several jobs provide it (main_db, spare_db).',
    ],
    [
      'a link that the consumer does not have',
      { main_db: '', app: 'consumes: {databse: nil}' },
      "The manifest says what link 'databse' of job 'app' consumes, and the job has none of that name (it has 'database', 'store').",
    ],
    [
      'a link that the provider does not have',
      { main_db: 'provides: {nope: {as: x}}', app: '' },
      "The manifest says what link 'nope' of job 'main_db' provides, and the job has none of that name (it has 'db').",
    ],
  ])('are refused before anything happens: %s', async (_name, jobs, message) => {
    const building = contextsOf(jobs);

    await expect(building).rejects.toThrow(LinksUnresolved);
    await expect(building).rejects.toThrow(message);
  });

  it.each([
    [
      '{from: x, instances: []}',
      "Cannot specify both 'instances' and 'from' keys for link 'database' in job 'app'",
    ],
    [
      '{properties: {a: 1}}',
      "Cannot specify 'properties' without 'instances' for link 'database' in job 'app'",
    ],
    ['{from: x, deployment: other}', "comes from deployment 'other', and there is no other deployment"],
    ['{instances: {}}', "The instances of link 'database' in job 'app' in instance group 'g' must be a list"],
    ['{instances: [x]}', "An instance of link 'database' in job 'app' in instance group 'g' must be a map"],
    ['{instances: [], properties: 1}', "The properties of link 'database' in job 'app'"],
    ['word', "Link 'database' in job 'app' in instance group 'g' must be a map, or nil"],
  ])('the manifest is checked: %s', async (link, message) => {
    const checking = contextsOf({ app: `consumes: {database: ${link}}` });

    await expect(checking).rejects.toThrow(ManifestInvalid);
    await expect(checking).rejects.toThrow(message);
  });
});
